//! A blob: linked and stored → from the store; stored from the same upstream → proof by a HEAD there, then from the store;
//! otherwise → a fill, also of what is stored from another upstream, whose bytes nothing but a whole download opens.

use std::sync::Arc;

use http::header;
use roadstead_proto::Digest;

use super::{
    request::Pull,
    rights::{OCTET_STREAM, Rights},
    stored::Stored,
};
use crate::{
    access::Read,
    control::{ContentKind, LinkLookup},
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
        match self.rights.link(pull, &digest).await? {
            LinkLookup::Linked(link) => {
                if let Some(blob) = self.stored.open_linked(&digest, link.size_bytes).await? {
                    let freshness = Freshness::of_stored(CacheStatus::Hit);
                    return Ok(self.stored.serve_blob(&pull.wanted, &digest, &blob, freshness).await);
                }
                return self.fill(pull, digest).await;
            }
            // Whether it is stored for others is not for a HEAD to tell.
            LinkLookup::Unlinked { .. } if pull.wanted.permitted.read == Read::Head => {
                return self.describe_upstream(pull, digest).await;
            }
            LinkLookup::Unlinked { is_from_upstream: true } => {
                if let Some(answer) = self.proven_here(pull, digest).await? {
                    return Ok(answer);
                }
            }
            LinkLookup::Unlinked { is_from_upstream: false } => {}
        }
        match self.fills.running(&digest, &pull.target) {
            None => self.fill(pull, digest).await,
            Some(Running::Proven(fill)) => self.follow(pull, digest, fill, CacheStatus::Join).await,
            Some(Running::Foreign(fill)) => self.join_foreign(pull, digest, fill).await,
        }
    }

    /// Answers with bytes that others had from the same upstream, after that upstream has named their size to this group's HEAD.
    /// The answer looks like one to a first pull, so that it tells nothing of those others. `None` if that proves nothing: then a
    /// download does.
    async fn proven_here(&self, pull: &Pull, digest: Digest) -> Result<Option<Answer>, OciError> {
        let Some(blob) = self.stored.open(&digest).await? else { return Ok(None) };
        // Of another size than upstream says: one of them is wrong, and a download tells. What others have is not put aside for
        // that.
        let size = self.proven_size(pull, digest).await?;
        if size != Some(blob.size) || !self.rights.record_head(pull, digest, &blob, None).await? {
            return Ok(None);
        }
        let freshness = Freshness::of_stored(CacheStatus::Proven);
        Ok(Some(self.stored.serve(&pull.wanted, &digest, &blob, OCTET_STREAM, freshness)))
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
                Some(Running::Proven(fill)) => self.follow(pull, digest, fill, CacheStatus::Join).await,
                None => self.join_foreign(pull, digest, there).await,
            },
        }
    }

    /// Joins a fill from the same upstream that another group or repository started, after proving a right of its own:
    /// upstream names the size of just that blob. Without a size, or with another, only a download of its own proves the
    /// right.
    async fn join_foreign(&self, pull: &Pull, digest: Digest, fill: Arc<Fill>) -> Result<Answer, OciError> {
        let Some(size) = self.proven_size(pull, digest).await? else { return self.fill_alone(pull, digest).await };
        if !fill.add_proven(pull.target.clone(), size)
            && let Some(blob) = self.stored.open(&digest).await?
            && blob.size == size
        {
            // It ended meanwhile and records no more links.
            self.rights.record_head(pull, digest, &blob, None).await?;
        }
        match fill.headers(&pull.target).await {
            Ok(total) if total != Some(size) => self.fill_alone(pull, digest).await,
            _ => {
                // Whether others pull the same is nothing to tell.
                let is_own = fill.was_started_by(&pull.target.group);
                let status = if is_own { CacheStatus::Join } else { CacheStatus::JoinedOther };
                self.follow(pull, digest, fill, status).await
            }
        }
    }

    /// Downloads the blob for this repository alone.
    async fn fill_alone(&self, pull: &Pull, digest: Digest) -> Result<Answer, OciError> {
        pull.wanted.may_ask_upstream()?;
        let fill = self.fills.start_alone(digest, pull.target.clone());
        self.follow(pull, digest, fill, CacheStatus::Fill).await
    }

    /// The size that upstream names to the group's own credentials.
    async fn proven_size(&self, pull: &Pull, digest: Digest) -> Result<Option<u64>, OciError> {
        let head = self.rights.head(pull, digest, ContentKind::Blob).await?;
        let head = head.map_err(|error| OciError::from_upstream(&error, Code::BlobUnknown))?;
        Ok(head.and_then(|head| head.size_bytes))
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
        let content = Content::of_digest(&digest, OCTET_STREAM, Freshness::of_arriving(status));
        let answer = if pull.wanted.permitted.read == Read::Head
            && let Some(size) = size
        {
            content.described(size)
        } else {
            let counter = self.stored.counter(&pull.wanted);
            content.selected(size, &pull.wanted.conditions(), |start, end| {
                Body::followed(fill.follow(start, end)).counted(counter)
            })
        };
        Ok(self.stored.count(&pull.wanted, &digest, status, answer))
    }

    /// A HEAD of what is not here costs upstream a HEAD.
    async fn describe_upstream(&self, pull: &Pull, digest: Digest) -> Result<Answer, OciError> {
        let size = self.proven_size(pull, digest).await?;
        let content = Content::of_digest(&digest, OCTET_STREAM, Freshness::of_arriving(CacheStatus::Proven));
        let mut answer = content.described(size.unwrap_or_default());
        if size.is_none() {
            // Upstream itself does not tell the size, not even with the content.
            answer.headers_mut().remove(header::CONTENT_LENGTH);
        }
        Ok(self.stored.count(&pull.wanted, &digest, CacheStatus::Proven, answer))
    }
}
