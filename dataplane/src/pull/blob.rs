//! A blob: linked and stored → from the store; stored → proof, then from the store; otherwise → a fill.

use std::sync::Arc;

use http::StatusCode;
use roadstead_proto::Digest;

use super::{
    request::Pull,
    rights::{OCTET_STREAM, Rights},
    stored::Stored,
};
use crate::{
    access::Read,
    control::ContentKind,
    fill::{Fill, FillError, Fills, Running},
    respond::{Answer, Body, CacheStatus, Code, Content, Freshness, OciError},
};

/// The flow of a blob.
pub struct Blobs {
    pub rights: Arc<Rights>,
    pub stored: Arc<Stored>,
    pub fills: Arc<Fills>,
}

impl Blobs {
    /// Answers with a blob.
    pub async fn answer(&self, pull: &Pull, digest: Digest) -> Result<Answer, OciError> {
        // A fill that this group has a right to needs no question to anybody.
        if let Some(Running::Proven(fill)) = self.fills.running(&digest, &pull.target) {
            return self.follow(pull, digest, fill, CacheStatus::Join).await;
        }
        if let Some(link) = self.rights.link(pull, &digest).await? {
            if let Some(blob) = self.stored.open_linked(&digest, link.size_bytes).await? {
                return Ok(self
                    .stored
                    .serve_blob(&pull.wanted, &digest, &blob, Freshness::of_stored(CacheStatus::Hit))
                    .await);
            }
            return self.fill(pull, digest).await;
        }
        if let Some(blob) = self.stored.open(&digest).await? {
            // Of another size than upstream says: one of them is wrong, and a download tells. What others have is not put
            // aside for that.
            let size = self.prove_blob(pull, digest).await?;
            if size.is_none_or(|size| size == blob.size) && self.rights.record(pull, digest, &blob, None).await? {
                return Ok(self
                    .stored
                    .serve_blob(&pull.wanted, &digest, &blob, Freshness::of_stored(CacheStatus::Proven))
                    .await);
            }
        }
        if pull.wanted.permitted.read == Read::Head {
            return self.describe_upstream(pull, digest).await;
        }
        match self.fills.running(&digest, &pull.target) {
            None => self.fill(pull, digest).await,
            Some(Running::Proven(fill)) => self.follow(pull, digest, fill, CacheStatus::Join).await,
            Some(Running::Foreign(fill)) => self.join_foreign(pull, digest, fill).await,
        }
    }

    /// Fetches the blob, or joins whoever is just doing that.
    async fn fill(&self, pull: &Pull, digest: Digest) -> Result<Answer, OciError> {
        if pull.wanted.permitted.read == Read::Head {
            return self.describe_upstream(pull, digest).await;
        }
        pull.wanted.may_ask_upstream()?;
        match self.fills.start(digest, pull.target.clone()) {
            Ok(fill) => self.follow(pull, digest, fill, CacheStatus::Fill).await,
            Err(there) => match self.fills.running(&digest, &pull.target) {
                Some(Running::Foreign(fill)) => self.join_foreign(pull, digest, fill).await,
                _ => self.follow(pull, digest, there, CacheStatus::Join).await,
            },
        }
    }

    /// Joins a fill that another group or repository started, after proving a right of its own.
    async fn join_foreign(&self, pull: &Pull, digest: Digest, fill: Arc<Fill>) -> Result<Answer, OciError> {
        self.prove_blob(pull, digest).await?;
        if !fill.add_proven(pull.target.clone())
            && let Some(blob) = self.stored.open(&digest).await?
        {
            // It ended meanwhile and records no more links.
            self.rights.record(pull, digest, &blob, None).await?;
        }
        self.follow(pull, digest, fill, CacheStatus::JoinedOther).await
    }

    /// Proves the group's right; answers the size that upstream tells.
    async fn prove_blob(&self, pull: &Pull, digest: Digest) -> Result<Option<u64>, OciError> {
        let proof = self.rights.prove(pull, digest, ContentKind::Blob).await?;
        let proof = proof.map_err(|error| OciError::from_upstream(&error, Code::BlobUnknown))?;
        Ok(proof.and_then(|proof| proof.size_bytes))
    }

    /// Follows a fill from wherever the client wants.
    async fn follow(
        &self,
        pull: &Pull,
        digest: Digest,
        fill: Arc<Fill>,
        status: CacheStatus,
    ) -> Result<Answer, OciError> {
        let size = match fill.headers(&pull.target).await {
            Ok(size) => size,
            // Now there is a link, and the next look finds it.
            Err(error) if matches!(*error, FillError::AlreadyCached) => {
                return Box::pin(self.answer(pull, digest)).await;
            }
            Err(error) => return Err(OciError::from_fill(&error)),
        };
        self.stored.count(&pull.wanted, &digest, status);
        let content = Content::of_digest(&digest, OCTET_STREAM, Freshness::of_arriving(status));
        if pull.wanted.permitted.read == Read::Head
            && let Some(size) = size
        {
            return Ok(content.described(size));
        }
        let counter = self.stored.counter(&pull.wanted);
        Ok(content.selected(size, &pull.wanted.conditions(), |start, end| {
            Body::followed(fill.follow(start, end)).counted(counter)
        }))
    }

    /// A HEAD of what is not here costs upstream a HEAD.
    async fn describe_upstream(&self, pull: &Pull, digest: Digest) -> Result<Answer, OciError> {
        let proof = self.rights.prove(pull, digest, ContentKind::Blob).await?;
        let proof = proof.map_err(|error| OciError::from_upstream(&error, Code::BlobUnknown))?;
        let size = proof.and_then(|proof| proof.size_bytes).ok_or_else(|| unknown_size(pull))?;
        let freshness = Freshness::of_arriving(CacheStatus::Proven);
        self.stored.count(&pull.wanted, &digest, CacheStatus::Proven);
        Ok(Content::of_digest(&digest, OCTET_STREAM, freshness).described(size))
    }
}

/// A HEAD must tell the size, and upstream does not.
fn unknown_size(pull: &Pull) -> OciError {
    let message = format!("{} does not tell the size of this blob", pull.target.host());
    OciError::new(StatusCode::BAD_GATEWAY, Code::Unavailable, message)
}
