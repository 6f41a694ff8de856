//! Pulls while the control plane cannot be asked: what it told before decides, for as long as that holds.
//!
//! Served is what this node remembers a link to and has stored; by tag, what the control plane last said that it means,
//! marked as stale. Nothing is fetched: no right to it could be recorded. The snapshot has decided on access before.

use std::sync::Arc;

use roadstead_proto::{Digest, Reference, Tag};

use super::{
    control_failed, references,
    request::Wanted,
    rights::{OCTET_STREAM, media_type_header},
    stored::Stored,
};
use crate::{
    control::{ContentKind, ControlError, Link, Links, Tags},
    respond::{Answer, CacheStatus, Freshness, OciError},
    route::Resource,
};

/// The flow of a pull while the control plane is unavailable.
pub struct Outage {
    pub links: Arc<Links>,
    pub tags: Arc<Tags>,
    pub stored: Arc<Stored>,
}

impl Outage {
    /// Answers from what is remembered, or says that the control plane is missing.
    pub async fn answer(&self, wanted: &Wanted, error: &ControlError) -> Result<Answer, OciError> {
        wanted.note_trouble(format_args!("the control plane is unavailable: {error}"));
        let found = match &wanted.permitted.resource {
            _ if !error.retryable() => None,
            Resource::Blob(digest) => self.remembered(wanted, digest).await?,
            Resource::Manifest(Reference::Digest(digest)) => self.remembered(wanted, digest).await?,
            Resource::Manifest(Reference::Tag(tag)) => self.remembered_tag(wanted, tag).await?,
            Resource::Tags(_) | Resource::Referrers { .. } => None,
        };
        found.ok_or_else(|| control_failed(error))
    }

    /// Content by digest that the group is remembered to have.
    async fn remembered(&self, wanted: &Wanted, digest: &Digest) -> Result<Option<Answer>, OciError> {
        let Some(link) = self.links.remembered(&wanted.repository, digest) else { return Ok(None) };
        let is_manifest = matches!(wanted.permitted.resource, Resource::Manifest(_));
        if is_manifest && link.media_type.is_empty() {
            return Ok(None);
        }
        self.linked(wanted, &link, is_manifest, None).await
    }

    async fn remembered_tag(&self, wanted: &Wanted, tag: &Tag) -> Result<Option<Answer>, OciError> {
        let serve = match self.tags.remembered(&wanted.repository, tag) {
            None => return Ok(None),
            Some(Err(refused)) => return Err(OciError::from_refusal(&refused)),
            Some(Ok(serve)) => serve,
        };
        let freshness =
            Freshness { status: CacheStatus::Stale, age: Some(serve.age), stale: serve.stale, immutable: false };
        if !wanted.accept().takes(&serve.manifest.media_type)
            && let Some(link) = self.usual_of(wanted, &serve.manifest).await?
        {
            return self.linked(wanted, &link, true, Some(freshness)).await;
        }
        self.linked(wanted, &serve.manifest, true, Some(freshness)).await
    }

    /// The entry of an index for linux/amd64, for clients that accept no index.
    async fn usual_of(&self, wanted: &Wanted, index: &Link) -> Result<Option<Arc<Link>>, OciError> {
        let Some(blob) = self.stored.open(&index.digest).await? else { return Ok(None) };
        let Ok(content) = blob.read_all().await else { return Ok(None) };
        let listed = references::parse(&content).map(|parsed| parsed.references).unwrap_or_default();
        let usual = listed.iter().find(|it| it.kind == ContentKind::Manifest && it.platform == "linux/amd64");
        let link = usual.and_then(|usual| self.links.remembered(&wanted.repository, &usual.digest));
        Ok(link.filter(|link| wanted.accept().takes(&link.media_type)))
    }

    /// Linked content, if it is stored whole. `freshness` is that of the tag it was found by.
    async fn linked(
        &self,
        wanted: &Wanted,
        link: &Link,
        is_manifest: bool,
        freshness: Option<Freshness>,
    ) -> Result<Option<Answer>, OciError> {
        let Some(blob) = self.stored.open(&link.digest).await?.filter(|blob| blob.size == link.size_bytes) else {
            return Ok(None);
        };
        let media_type = if is_manifest { media_type_header(&link.media_type) } else { OCTET_STREAM };
        let freshness = freshness.unwrap_or_else(|| Freshness::of_stored(CacheStatus::Hit));
        Ok(Some(self.stored.serve(wanted, &link.digest, &blob, media_type, freshness)))
    }
}
