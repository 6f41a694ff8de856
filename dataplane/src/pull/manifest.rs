//! A manifest by digest: as a blob, but small enough to be fetched whole.

use std::sync::Arc;

use roadstead_proto::{Digest, Reference};

use super::{
    fetch::{Fetched, ManifestFetcher},
    request::Pull,
    rights::{Proof, Rights, media_type_header},
    stored::Stored,
};
use crate::{
    access::Read,
    control::{ContentKind, Link},
    respond::{Answer, CacheStatus, Code, Content, Freshness, OciError},
    singleflight::Role,
};

/// The flow of a manifest by digest, and what the flow by tag shares with it.
pub struct Manifests {
    pub rights: Arc<Rights>,
    pub stored: Arc<Stored>,
    pub fetcher: ManifestFetcher,
}

impl Manifests {
    /// Answers with the manifest `digest`.
    pub async fn by_digest(&self, pull: &Pull, digest: Digest) -> Result<Answer, OciError> {
        // A link that was made for it as a blob does not say its media type.
        if let Some(link) = self.rights.link(pull, &digest).await?.filter(|link| !link.media_type.is_empty()) {
            return self.linked(pull, &link, None).await;
        }
        let stored = self.stored.open(&digest).await?;
        if stored.is_some() || pull.wanted.permitted.read == Read::Head {
            let proof = self.rights.prove(pull, digest, ContentKind::Manifest).await?;
            let proof = proof.map_err(|error| OciError::from_upstream(&error, Code::ManifestUnknown))?;
            if let Some(Proof { size_bytes, media_type: Some(media_type) }) = proof {
                if let Some(blob) = stored.filter(|blob| size_bytes.is_none_or(|size| size == blob.size))
                    && self.rights.record(pull, digest, &blob, Some(&media_type)).await?
                {
                    let freshness = Freshness::of_stored(CacheStatus::Proven);
                    return Ok(self.stored.serve(
                        &pull.wanted,
                        &digest,
                        &blob,
                        media_type_header(&media_type),
                        freshness,
                    ));
                }
                if let (Read::Head, Some(size)) = (pull.wanted.permitted.read, size_bytes) {
                    return Ok(self.described(pull, &digest, size, &media_type, true));
                }
            }
            // A HEAD will not do.
        }
        self.fetched(pull, Reference::Digest(digest)).await
    }

    /// Serves a linked manifest; what is missing or damaged in the store is fetched again. `freshness` is that of
    /// the tag it was found by.
    pub async fn linked(&self, pull: &Pull, link: &Link, freshness: Option<Freshness>) -> Result<Answer, OciError> {
        match self.stored.open_linked(&link.digest, link.size_bytes).await? {
            Some(blob) => {
                let freshness = freshness.unwrap_or_else(|| Freshness::of_stored(CacheStatus::Hit));
                Ok(self.stored.serve(&pull.wanted, &link.digest, &blob, media_type_header(&link.media_type), freshness))
            }
            None => self.fetched(pull, Reference::Digest(link.digest)).await,
        }
    }

    async fn fetched(&self, pull: &Pull, reference: Reference) -> Result<Answer, OciError> {
        let (fetched, role) = self.fetcher.fetch(pull, reference, None).await?;
        match fetched {
            Ok(fetched) => Ok(self.arrived(pull, &fetched, role, true)),
            Err(error) => Err(error.to_answer()),
        }
    }

    /// Answers with a manifest that has just arrived.
    pub fn arrived(&self, pull: &Pull, fetched: &Fetched, role: Role, immutable: bool) -> Answer {
        let status = if role == Role::Started { CacheStatus::Fill } else { CacheStatus::Join };
        let freshness = Freshness { immutable, ..Freshness::of_arriving(status) };
        let media_type = media_type_header(&fetched.media_type);
        self.stored.serve(&pull.wanted, &fetched.digest, &Arc::clone(&fetched.blob), media_type, freshness)
    }

    /// Answers a HEAD with what upstream said to ours.
    pub fn described(&self, pull: &Pull, digest: &Digest, size: u64, media_type: &str, immutable: bool) -> Answer {
        let freshness = Freshness { immutable, ..Freshness::of_arriving(CacheStatus::Proven) };
        self.stored.count(&pull.wanted, digest, CacheStatus::Proven);
        Content::of_digest(digest, media_type_header(media_type), freshness).described(size)
    }
}
