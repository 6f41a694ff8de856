//! Fetching a manifest: bounded, verified, kept, recorded; once for all who want it at the same moment.

use std::sync::Arc;

use bytes::Bytes;
use http::HeaderValue;
use roadstead_proto::{Algorithm, Digest, Reference, Tag, UpstreamHost};
use tokio::time::timeout;

use super::{accept::ClientAccept, references, request::Pull};
use crate::{
    control::{ContentKind, Link, Links, Proof, ProofKind, Recorded, RepositoryRef, TagOutcome},
    fill::{Fills, ManifestFill},
    links::recorder::LinkRecorder,
    respond::{Code, OciError},
    singleflight::{Role, Singleflight},
    storage::{BlobStore, StorageError, StoredBlob},
    upstream::{Accept, Manifest, Target, UpstreamClient, UpstreamError},
};

/// The result of a fetch, for everybody who waited for it.
pub type FetchResult = Result<Fetched, Arc<FetchError>>;

/// A manifest that was fetched, verified and kept.
#[derive(Clone, Debug)]
pub struct Fetched {
    pub digest: Digest,
    pub media_type: String,
    pub blob: Arc<StoredBlob>,
}

/// The reason for which a manifest could not be fetched.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// Upstream refused, failed, or sent something other than a manifest.
    #[error(transparent)]
    Upstream(#[from] UpstreamError),
    /// It could not be kept.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// Upstream sent something else than was asked for.
    #[error("manifest {want} from {upstream}: got {got}")]
    DigestMismatch { want: Digest, got: Digest, upstream: UpstreamHost },
    /// Upstream sent something other than a manifest.
    #[error("{reference} from {upstream} is {reason}")]
    NotAManifest { reference: String, upstream: UpstreamHost, reason: String },
}

impl FetchError {
    /// Returns the report of a tag to the control plane: upstream's answer, or the lack of a usable one.
    pub fn tag_outcome(&self) -> TagOutcome {
        let unavailable = |kind| TagOutcome::Unavailable { kind, retry_after: None };
        match self {
            Self::Upstream(error) => error.tag_outcome(),
            Self::Storage(_) => unavailable("storage"),
            Self::DigestMismatch { .. } => unavailable("digest_mismatch"),
            Self::NotAManifest { .. } => unavailable("not_a_manifest"),
        }
    }

    /// Returns whether the content was missing or wrong, so that asking for it in another way may bring the right one.
    pub const fn is_about_content(&self) -> bool {
        matches!(self, Self::Upstream(UpstreamError::NotFound { .. }) | Self::DigestMismatch { .. })
    }

    pub fn to_answer(&self) -> OciError {
        match self {
            Self::Upstream(error) => OciError::from_upstream(error, Code::ManifestUnknown),
            Self::Storage(error) => OciError::from_storage(error),
            Self::DigestMismatch { .. } | Self::NotAManifest { .. } => {
                OciError::new(http::StatusCode::BAD_GATEWAY, Code::ManifestInvalid, self.to_string())
            }
        }
    }
}

/// The dependencies of fetches.
#[derive(Clone)]
pub struct FetchTools {
    pub upstream: Arc<UpstreamClient>,
    pub links: Arc<Links>,
    pub store: Arc<dyn BlobStore>,
    pub recorder: Arc<LinkRecorder>,
    pub fills: Arc<Fills>,
}

/// Fetches manifests, each once for all who want it at the same moment.
pub struct ManifestFetcher {
    tools: FetchTools,
    // Who shares a fetch began at the same link epoch: what was fetched before a purge is nobody's answer after it.
    running: Singleflight<(RepositoryRef, Reference, i64), FetchResult>,
}

/// One fetch; it owns what it needs, because it belongs to no request.
struct Fetch {
    tools: FetchTools,
    target: Target,
    accept: ClientAccept,
    tag: Option<Tag>,
}

impl ManifestFetcher {
    pub fn new(tools: FetchTools) -> Self {
        Self { tools, running: Singleflight::default() }
    }

    /// Fetches `reference`; `tag` is the tag that it was found by.
    pub async fn fetch(
        &self,
        pull: &Pull,
        reference: Reference,
        tag: Option<Tag>,
    ) -> Result<(FetchResult, Role), OciError> {
        pull.wanted.may_ask_upstream()?;
        let (tools, target) = (self.tools.clone(), pull.target.clone());
        let fetch = Fetch { tools, target, accept: pull.wanted.accept(), tag };
        let key = (pull.wanted.repository.clone(), reference.clone(), pull.target.link_epoch);
        let work = move || async move {
            fetch.run(&reference).await.map_err(|error| {
                tracing::warn!(%reference, %error, "manifest could not be fetched");
                Arc::new(error)
            })
        };
        Ok(self.running.run(key, work).await?)
    }
}

impl Fetch {
    async fn run(self, reference: &Reference) -> Result<Fetched, FetchError> {
        if let Reference::Digest(digest) = reference
            && let Some(fetched) = self.fetched_meanwhile(digest).await?
        {
            return Ok(fetched);
        }
        let (answer, fill) = match reference {
            Reference::Tag(_) => (self.get(reference).await?, None),
            Reference::Digest(digest) => {
                let mut fill = self.tools.fills.manifest(*digest, self.target.host().clone());
                (self.bring(&mut fill, reference, digest).await?, Some(fill))
            }
        };
        let digest = self.verified(reference, &answer)?;
        let (media_type, references) = self.understood(reference, &answer)?;
        let blob = self.keep(&digest, &answer.body).await?;
        let link = Link { digest, kind: ContentKind::Manifest, size_bytes: blob.size, media_type: media_type.clone() };
        let repository = self.target.repository_ref();
        // Its upstream sent it, here or to the node that was followed.
        let proof = Proof { kind: ProofKind::Fetched, link_epoch: self.target.link_epoch };
        let recorded = self.tools.recorder.link(&repository, proof, &link, &references, self.tag.as_ref(), &blob).await;
        match recorded {
            Ok(Recorded::Recorded) => {
                tracing::info!(manifest.digest = %digest, size_bytes = blob.size, "manifest cached")
            }
            Ok(Recorded::Outdated | Recorded::Unproven) => {
                tracing::info!(manifest.digest = %digest, "the group was purged meanwhile; served, not linked");
            }
            // Its bytes go, or are told of as garbage.
            Ok(Recorded::BeingDeleted) => {
                tracing::info!(manifest.digest = %digest, "manifest is being collected; served, not cached");
            }
            // It is here and it is right: it is served. What is not recorded is asked for again.
            Err(error) => tracing::warn!(manifest.digest = %digest, %error, "a link could not be recorded"),
        }
        if let Some(mut fill) = fill {
            fill.done();
        }
        Ok(Fetched { digest, media_type, blob })
    }

    /// From another node that has fetched it, or from upstream. A right that that node does not know to be proven is proven
    /// upstream first: by a HEAD that names the digest and size of what the other node had from the same upstream.
    async fn bring(
        &self,
        fill: &mut ManifestFill,
        reference: &Reference,
        digest: &Digest,
    ) -> Result<Manifest, FetchError> {
        if let Some(found) = fill.offered(&self.target).await {
            if found.media_type.is_some() {
                return Ok(Manifest { body: found.body, media_type: found.media_type, digest: None });
            }
            let accept = Accept::Widened(self.accept.lines());
            match self.tools.upstream.head_manifest(&self.target, reference, accept).await? {
                Some(head) if head.digest == *digest && head.size_bytes == Some(found.body.len() as u64) => {
                    return Ok(Manifest { body: found.body, media_type: head.media_type, digest: None });
                }
                // Only a GET tells here.
                _ => fill.by_itself(),
            }
        }
        let late = || UpstreamError::Timeout { upstream: self.target.host().clone(), phase: "whole answer" };
        timeout(fill.time_left(), self.get(reference)).await.map_err(|_| late())?
    }

    async fn get(&self, reference: &Reference) -> Result<Manifest, FetchError> {
        let accept = Accept::Widened(self.accept.lines());
        Ok(self.tools.upstream.get_manifest(&self.target, reference, accept).await?)
    }

    /// The manifest that another fetch brought between the requester's look and this one's start.
    async fn fetched_meanwhile(&self, digest: &Digest) -> Result<Option<Fetched>, FetchError> {
        let link = self.tools.links.remembered(&self.target.repository_ref(), digest);
        let Some(link) = link.filter(|link| !link.media_type.is_empty()) else { return Ok(None) };
        let blob = self.tools.store.open(digest).await?.filter(|blob| blob.size == link.size_bytes);
        Ok(blob.map(|blob| Fetched { digest: *digest, media_type: link.media_type.clone(), blob }))
    }

    /// The digest of what came, which must be the one asked for and the one that upstream says it is.
    fn verified(&self, reference: &Reference, answer: &Manifest) -> Result<Digest, FetchError> {
        let wanted = match reference {
            Reference::Digest(digest) => Some(*digest),
            Reference::Tag(_) => answer.digest,
        };
        let got = Digest::of(wanted.map_or(Algorithm::Sha256, |digest| digest.algorithm()), &answer.body);
        match wanted {
            Some(_) if references::is_signed_schema1(&answer.body) => {
                let content = self.target.name_of(reference);
                Err(UpstreamError::Schema1 { upstream: self.target.host().clone(), content }.into())
            }
            Some(want) if want != got => {
                Err(FetchError::DigestMismatch { want, got, upstream: self.target.host().clone() })
            }
            _ => Ok(got),
        }
    }

    /// The media type, exactly as upstream gave it, and what the manifest refers to.
    fn understood(
        &self,
        reference: &Reference,
        answer: &Manifest,
    ) -> Result<(String, Vec<crate::control::Reference>), FetchError> {
        let wrong = |reason: String| FetchError::NotAManifest {
            reference: reference.to_string(),
            upstream: self.target.host().clone(),
            reason,
        };
        let stated = answer.media_type.clone();
        let is_web_page =
            stated.as_deref().is_some_and(|it| it.trim_start().to_ascii_lowercase().starts_with("text/html"));
        let parsed = references::parse(&answer.body).map_err(|error| match is_web_page {
            true => wrong("a web page".to_owned()),
            false => wrong(error.to_string()),
        })?;
        let media_type = stated
            .filter(|media_type| !is_web_page && HeaderValue::from_str(media_type).is_ok())
            .or(parsed.media_type)
            .ok_or_else(|| wrong("a document without a media type".to_owned()))?;
        Ok((media_type, parsed.references))
    }

    async fn keep(&self, digest: &Digest, body: &Bytes) -> Result<Arc<StoredBlob>, StorageError> {
        match self.tools.store.open(digest).await {
            Ok(Some(blob)) if blob.size == body.len() as u64 => return Ok(blob),
            // What is there and cannot be read, this takes the place of.
            Ok(_) => {}
            Err(error) if error.is_unreadable() => {}
            Err(error) => return Err(error),
        }
        let staged = self.tools.store.stage(Some(body.len() as u64)).await?;
        let (writer, content) = (Arc::clone(&staged), body.clone());
        tokio::task::spawn_blocking(move || writer.write_at(&content, 0))
            .await
            .map_err(|error| StorageError::from_io("write manifest", std::io::Error::other(error)))??;
        self.tools.store.commit(&staged, digest, body.len() as u64).await
    }
}
