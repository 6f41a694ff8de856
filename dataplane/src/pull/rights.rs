//! Rights to content: what links say, and how a group without a link proves its own right upstream.

use std::sync::Arc;

use http::HeaderValue;
use roadstead_proto::{Digest, Reference, UpstreamHost};

use super::{control_failed, references, request::Pull};
use crate::{
    access::authorize::Permitted,
    control::{
        ContentKind, Control, ControlError, Credential, GroupId, Link, LinkLookup, Proof, ProofKind, Recorded,
        RepositoryRef,
    },
    links::recorder::LinkRecorder,
    respond::OciError,
    singleflight::{Role, SharedWorkLost, Singleflight},
    storage::StoredBlob,
    upstream::{Accept, Target, UpstreamClient, UpstreamError},
};

/// The result of asking upstream for a proof; `None` if upstream does not answer a HEAD, or answers about something else.
type HeadResult = Result<Option<Head>, UpstreamError>;

/// The result of asking the control plane for a link.
type LinkResult = Result<LinkLookup, Arc<ControlError>>;

/// Upstream's answer to a HEAD with the group's own credentials. It proves a right to content of just that size (and, for a
/// manifest, digest) that came from the same upstream, and to nothing else.
#[derive(Clone, Debug)]
pub struct Head {
    /// Size in bytes, where upstream told it.
    pub size_bytes: Option<u64>,
    /// Media type, where upstream told one.
    pub media_type: Option<String>,
}

/// The result of asking the control plane for a group's credentials.
type CredentialResult = Result<Option<Arc<Credential>>, Arc<ControlError>>;

/// Finds out what a group may have, and records it.
pub struct Rights {
    control: Arc<Control>,
    upstream: Arc<UpstreamClient>,
    recorder: Arc<LinkRecorder>,
    // Who shares an answer began at the same link epoch: what was asked before a purge is nobody's answer after it.
    credentials: Singleflight<(GroupId, UpstreamHost), CredentialResult>,
    first_links: Singleflight<(RepositoryRef, i64), (Digest, LinkResult)>,
    links: Singleflight<(RepositoryRef, Digest, i64), (Digest, LinkResult)>,
    heads: Singleflight<(RepositoryRef, Digest, ContentKind, i64), HeadResult>,
}

impl Rights {
    pub fn new(control: Arc<Control>, upstream: Arc<UpstreamClient>, recorder: Arc<LinkRecorder>) -> Arc<Self> {
        let (credentials, heads) = (Singleflight::default(), Singleflight::default());
        let (first_links, links) = (Singleflight::default(), Singleflight::default());
        Arc::new(Self { control, upstream, recorder, credentials, first_links, links, heads })
    }

    /// The upstream's side of a pull, with the group's own credentials.
    pub async fn target(&self, permitted: &Permitted) -> Result<Result<Target, Arc<ControlError>>, SharedWorkLost> {
        let (group, upstream) = (&permitted.group, &permitted.upstream);
        let credential = match self.control.credentials.remembered(&group.id, &upstream.host) {
            Some(credential) => credential,
            None => {
                let (credentials, key) =
                    (Arc::clone(&self.control.credentials), (group.id.clone(), upstream.host.clone()));
                let (group_id, host) = key.clone();
                let ask = move || async move { credentials.get(&group_id, &host).await.map_err(Arc::new) };
                let (credential, _role) = self.credentials.run(key, ask).await?;
                match credential {
                    Ok(credential) => credential,
                    Err(error) => return Ok(Err(error)),
                }
            }
        };
        let repository = permitted.repository.clone();
        // As of now: the group may have been looked up before links were removed.
        let link_epoch =
            self.control.policy.current().group_by_id(&group.id).map_or(group.link_epoch, |now| now.link_epoch);
        Ok(Ok(Target { group: group.id.clone(), upstream: Arc::clone(upstream), repository, credential, link_epoch }))
    }

    /// The group's link to `digest`, from memory or from the control plane; concurrent requests share the question. One answer
    /// brings all that a manifest refers to: who asks for something of the same repository waits for the question under way
    /// before asking its own.
    pub async fn link(&self, pull: &Pull, digest: &Digest) -> Result<LinkLookup, OciError> {
        let (repository, epoch, digest) = (&pull.wanted.repository, pull.target.link_epoch, *digest);
        if let Some(known) = self.control.links.lookup(repository, &digest) {
            return Ok(known);
        }
        let ask = || {
            let (links, asked) = (Arc::clone(&self.control.links), repository.clone());
            move || async move { (digest, links.get(&asked, &digest).await.map_err(Arc::new)) }
        };
        let ((answered, mut link), _role) = self.first_links.run((repository.clone(), epoch), ask()).await?;
        if answered != digest {
            if let Some(known) = self.control.links.lookup(repository, &digest) {
                return Ok(known);
            }
            ((_, link), _) = self.links.run((repository.clone(), digest, epoch), ask()).await?;
        }
        link.map_err(|error| control_failed(&error))
    }

    /// Asks upstream by HEAD whether the group may have `digest`; concurrent requests share the question.
    pub async fn head(&self, pull: &Pull, digest: Digest, kind: ContentKind) -> Result<HeadResult, OciError> {
        pull.wanted.may_ask_upstream()?;
        let (upstream, target) = (Arc::clone(&self.upstream), pull.target.clone());
        let accept = pull.wanted.accept().into_lines();
        let ask = move || async move {
            Ok(match kind {
                ContentKind::Blob => {
                    let head = upstream.head_blob(&target, &digest).await?;
                    let size_bytes = match head.and_then(|head| head.size_bytes) {
                        Some(size) => Some(size),
                        // HEAD is refused, or does not tell the size: the headers of a GET decide.
                        None => upstream.get_blob(&target, &digest, 0).await?.total,
                    };
                    Some(Head { size_bytes, media_type: None })
                }
                ContentKind::Manifest => upstream
                    .head_manifest(&target, &Reference::Digest(digest), Accept::Widened(&accept))
                    .await?
                    .filter(|head| head.digest == digest)
                    .map(|head| Head { size_bytes: head.size_bytes, media_type: head.media_type }),
            })
        };
        let key = (pull.wanted.repository.clone(), digest, kind, pull.target.link_epoch);
        let (head, _role): (HeadResult, Role) = self.heads.run(key, ask).await?;
        Ok(head)
    }

    /// Records a right to stored content that a HEAD has proven. False if the content counts as not stored for this group: it is
    /// just being deleted, or it did not come from this upstream. A proof that was overtaken by a purge is good for the pull that
    /// brought it, and for no later one.
    pub async fn record_head(
        &self,
        pull: &Pull,
        digest: Digest,
        blob: &Arc<StoredBlob>,
        media_type: Option<&str>,
    ) -> Result<bool, OciError> {
        let kind = if media_type.is_some() { ContentKind::Manifest } else { ContentKind::Blob };
        let media_type = media_type.unwrap_or_default().to_owned();
        let link = Link { digest, kind, size_bytes: blob.size, media_type };
        let proof = Proof { kind: ProofKind::Head, link_epoch: pull.target.link_epoch };
        let repository = &pull.wanted.repository;
        let recorded = match kind {
            ContentKind::Blob => self.recorder.link_blob(repository, proof, &link, blob).await,
            ContentKind::Manifest => {
                let content = blob.read_all().await.map_err(|error| {
                    super::storage_failed(&crate::storage::StorageError::from_io(format!("read {digest}"), error))
                })?;
                let references = references::parse(&content).map(|parsed| parsed.references).unwrap_or_default();
                self.recorder.link(repository, proof, &link, &references, None, blob).await
            }
        };
        let recorded = recorded.map_err(|error| control_failed(&error))?;
        Ok(matches!(recorded, Recorded::Recorded | Recorded::Outdated))
    }
}

/// Returns a media type as a header's value; an invalid one becomes the type of unknown bytes.
pub fn media_type_header(media_type: &str) -> HeaderValue {
    HeaderValue::try_from(media_type).unwrap_or(OCTET_STREAM)
}

/// The type of blobs: registries do not know what they are.
pub const OCTET_STREAM: HeaderValue = HeaderValue::from_static("application/octet-stream");
