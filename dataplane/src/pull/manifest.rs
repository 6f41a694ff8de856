//! A manifest by digest: as a blob, but small enough to be fetched whole.

use std::sync::Arc;

use roadstead_proto::{Digest, Reference};

use super::{
    Pull, Puller,
    fetch::Fetched,
    link::{Proof, media_type_header},
};
use crate::{
    access::Read,
    control::{ContentKind, Link},
    respond::{Answer, CacheStatus, Code, Content, Freshness, OciError},
    singleflight::Role,
};

impl Puller {
    pub(super) async fn manifest_by_digest(&self, pull: &Pull, digest: Digest) -> Result<Answer, OciError> {
        // A link that was made for it as a blob does not say its media type.
        if let Some(link) = self.link(pull, &digest).await?.filter(|link| !link.media_type.is_empty()) {
            return self.linked_manifest(pull, &link, None).await;
        }
        let stored = self.open(&digest).await?;
        if stored.is_some() || pull.wanted.permitted.read == Read::Head {
            let proof = self.prove(pull, digest, ContentKind::Manifest).await?;
            let proof = proof.map_err(|error| OciError::from_upstream(&error, Code::ManifestUnknown))?;
            if let Some(Proof { size_bytes, media_type: Some(media_type) }) = proof {
                if let Some(blob) = stored.filter(|blob| size_bytes.is_none_or(|size| size == blob.size))
                    && self.record(pull, digest, &blob, Some(&media_type)).await?
                {
                    let freshness = Freshness::of_stored(CacheStatus::Revalidated, &blob);
                    return Ok(self.serve(&pull.wanted, &digest, &blob, media_type_header(&media_type), freshness));
                }
                if let (Read::Head, Some(size)) = (pull.wanted.permitted.read, size_bytes) {
                    return Ok(self.described(pull, &digest, size, &media_type, true));
                }
            }
            // A HEAD will not do.
        }
        self.fetched_manifest(pull, Reference::Digest(digest)).await
    }

    /// Serves a linked manifest; what is missing or damaged in the store is fetched again. `freshness` is that of
    /// the tag it was found by.
    pub(super) async fn linked_manifest(
        &self,
        pull: &Pull,
        link: &Link,
        freshness: Option<Freshness>,
    ) -> Result<Answer, OciError> {
        match self.open_linked(&link.digest, link.size_bytes).await? {
            Some(blob) => {
                let freshness = freshness.unwrap_or_else(|| Freshness::of_stored(CacheStatus::Hit, &blob));
                Ok(self.serve(&pull.wanted, &link.digest, &blob, media_type_header(&link.media_type), freshness))
            }
            None => self.fetched_manifest(pull, Reference::Digest(link.digest)).await,
        }
    }

    async fn fetched_manifest(&self, pull: &Pull, reference: Reference) -> Result<Answer, OciError> {
        let (fetched, role) = self.fetch_manifest(pull, reference, None).await?;
        match fetched {
            Ok(fetched) => Ok(self.arrived(pull, &fetched, role, true)),
            Err(error) => Err(error.to_answer()),
        }
    }

    /// Answers with a manifest that has just arrived.
    pub(super) fn arrived(&self, pull: &Pull, fetched: &Fetched, role: Role, immutable: bool) -> Answer {
        let status = if role == Role::Started { CacheStatus::Fill } else { CacheStatus::Join };
        let freshness = Freshness { immutable, ..Freshness::of_arriving(status) };
        let media_type = media_type_header(&fetched.media_type);
        self.serve(&pull.wanted, &fetched.digest, &Arc::clone(&fetched.blob), media_type, freshness)
    }

    /// Answers a HEAD with what upstream said to ours.
    pub(super) fn described(
        &self,
        pull: &Pull,
        digest: &Digest,
        size: u64,
        media_type: &str,
        immutable: bool,
    ) -> Answer {
        let freshness = Freshness { immutable, ..Freshness::of_arriving(CacheStatus::Revalidated) };
        self.count(&pull.wanted, digest, CacheStatus::Revalidated);
        Content::of_digest(digest, media_type_header(media_type), freshness).described(size)
    }
}
