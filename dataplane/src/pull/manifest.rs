//! A manifest by digest: as a blob, but small enough to be fetched whole.

use std::sync::Arc;

use roadstead_proto::{Digest, Reference};

use super::{
    fetch::{Fetched, ManifestFetcher},
    request::Pull,
    rights::{Head, Rights, media_type_header},
    stored::Stored,
};
use crate::{
    access::Read,
    control::{ContentKind, Link, LinkLookup},
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
        let is_from_upstream = match self.rights.link(pull, &digest).await? {
            LinkLookup::Linked(link) if !link.media_type.is_empty() => return self.linked(pull, &link, None).await,
            // A link that was made for it as a blob does not say its media type.
            LinkLookup::Linked(_) => true,
            LinkLookup::Unlinked { is_from_upstream } => is_from_upstream,
        };
        let is_head = pull.wanted.permitted.read == Read::Head;
        // Whether it is stored for others is not for a HEAD to tell; nor what came from elsewhere for this upstream to open.
        let stored = if is_from_upstream && !is_head { self.stored.open(&digest).await? } else { None };
        if stored.is_some() || is_head {
            let head = self.rights.head(pull, digest, ContentKind::Manifest).await?;
            let head = head.map_err(|error| OciError::from_upstream(&error, Code::ManifestUnknown))?;
            if let Some(Head { size_bytes: Some(size), media_type: Some(media_type) }) = head {
                if is_head {
                    return Ok(self.described(pull, &digest, size, &media_type, true));
                }
                if let Some(blob) = stored.filter(|blob| blob.size == size)
                    && self.rights.record_head(pull, digest, &blob, Some(&media_type)).await?
                {
                    // As to a first pull: the answer tells nothing of who else has it.
                    let freshness = Freshness::of_stored(CacheStatus::Proven);
                    let media_type = media_type_header(&media_type);
                    return Ok(self.stored.serve(&pull.wanted, &digest, &blob, media_type, freshness));
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
        let answer = Content::of_digest(digest, media_type_header(media_type), freshness).described(size);
        self.stored.count(&pull.wanted, digest, CacheStatus::Proven, answer)
    }
}
