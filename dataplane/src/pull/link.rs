//! Rights to content: what links say, and how a group without a link proves its own right upstream.

use std::sync::Arc;

use http::HeaderValue;
use roadstead_proto::{Digest, Reference};

use super::{Pull, Puller, control_failed, references};
use crate::{
    control::{ContentKind, ControlError, Link, Recorded},
    respond::OciError,
    singleflight::Role,
    storage::StoredBlob,
    upstream::{Accept, UpstreamError},
};

/// What asking upstream for a proof came to; `None` where upstream has no answer to a HEAD.
pub(super) type ProofResult = Result<Option<Proof>, UpstreamError>;

/// What asking the control plane for a link came to.
pub(super) type LinkResult = Result<Option<Arc<Link>>, Arc<ControlError>>;

/// Upstream's word that a group may have content: it answered a HEAD with the group's own credentials.
#[derive(Clone, Debug)]
pub(super) struct Proof {
    /// Size in bytes, where upstream told it.
    pub(super) size_bytes: Option<u64>,
    /// Media type, where upstream told one.
    pub(super) media_type: Option<String>,
}

impl Puller {
    /// The group's link to `digest`, from memory or from the control plane; concurrent requests share the question.
    pub(super) async fn link(&self, pull: &Pull, digest: &Digest) -> Result<Option<Arc<Link>>, OciError> {
        let repository = &pull.wanted.repository;
        if let Some(link) = self.control.remembered_link(repository, digest) {
            return Ok(Some(link));
        }
        let (control, place, digest) = (Arc::clone(&self.control), repository.clone(), *digest);
        let ask = move || async move { control.link(&place, &digest).await.map_err(Arc::new) };
        let (link, _role) = self.links.run((repository.clone(), digest, pull.target.link_epoch), ask).await?;
        link.map_err(|error| control_failed(&error))
    }

    /// Asks upstream by HEAD whether the group may have `digest`; concurrent requests share the question.
    pub(super) async fn prove(&self, pull: &Pull, digest: Digest, kind: ContentKind) -> Result<ProofResult, OciError> {
        pull.wanted.may_ask_upstream()?;
        let (upstream, target) = (Arc::clone(&self.upstream), pull.target.clone());
        let accept = pull.wanted.accept().into_lines();
        let ask = move || async move {
            Ok(match kind {
                ContentKind::Blob => {
                    let size_bytes = match upstream.head_blob(&target, &digest).await? {
                        Some(head) => head.size_bytes,
                        // It answers no HEAD, or its redirect's target does not: the headers of a GET will do.
                        None => upstream.get_blob(&target, &digest, 0).await?.total,
                    };
                    Some(Proof { size_bytes, media_type: None })
                }
                ContentKind::Manifest => upstream
                    .head_manifest(&target, &Reference::Digest(digest), Accept::Widened(&accept))
                    .await?
                    .map(|head| Proof { size_bytes: head.size_bytes, media_type: head.media_type }),
            })
        };
        let key = (pull.wanted.repository.clone(), digest, kind, pull.target.link_epoch);
        let (proof, _role): (ProofResult, Role) = self.proofs.run(key, ask).await?;
        Ok(proof)
    }

    /// Records a right to stored content. False if the content is just being deleted, so that it counts as not
    /// stored. A proof that was overtaken by a purge is good for the pull that brought it, and for no later one.
    pub(super) async fn record(
        &self,
        pull: &Pull,
        digest: Digest,
        blob: &Arc<StoredBlob>,
        media_type: Option<&str>,
    ) -> Result<bool, OciError> {
        let kind = if media_type.is_some() { ContentKind::Manifest } else { ContentKind::Blob };
        let references = match kind {
            ContentKind::Blob => Vec::new(),
            ContentKind::Manifest => {
                let content = blob.read_all().await.map_err(|error| {
                    super::storage_failed(&crate::storage::StorageError::from_io(format!("read {digest}"), error))
                })?;
                references::parse(&content).map(|parsed| parsed.references).unwrap_or_default()
            }
        };
        let media_type = media_type.unwrap_or_default().to_owned();
        let link = Link { digest, kind, size_bytes: blob.size, media_type };
        let (at, proven_at) = (&pull.wanted.repository, pull.target.link_epoch);
        let recorded = self.keeper.link(at, proven_at, &link, &references, None, blob).await;
        Ok(recorded.map_err(|error| control_failed(&error))? != Recorded::BeingDeleted)
    }
}

/// A media type as a header's value; what is none becomes the type of unknown bytes.
pub(super) fn media_type_header(media_type: &str) -> HeaderValue {
    HeaderValue::try_from(media_type).unwrap_or(OCTET_STREAM)
}

/// The type of blobs: registries do not know what they are.
pub(super) const OCTET_STREAM: HeaderValue = HeaderValue::from_static("application/octet-stream");
