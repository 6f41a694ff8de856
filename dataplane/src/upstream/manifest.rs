//! Manifests, by tag and by digest. Protocol: OCI distribution-spec 1.1.

use bytes::Bytes;
use http::{HeaderMap, Method};
use roadstead_proto::{Digest, Reference};

use super::{
    Accept, Target, UpstreamClient, UpstreamError,
    header::{content_digest, content_length, media_type},
    metrics::RequestKind,
};
use crate::upstream::transport::exchange::within;

/// Largest manifest we buffer, in bytes. OCI distribution-spec 1.1 asks registries to accept at least 4 MiB.
pub const MAX_MANIFEST_BYTES: u64 = 4 * 1024 * 1024;
/// The answer to a HEAD of a manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManifestHead {
    /// Its digest.
    pub digest: Digest,
    /// Its media type.
    pub media_type: Option<String>,
    /// Its size in bytes.
    pub size_bytes: Option<u64>,
}

/// A manifest, complete as far as its length tells, but not verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// Its bytes, at most [`MAX_MANIFEST_BYTES`].
    pub body: Bytes,
    /// Its media type.
    pub media_type: Option<String>,
    /// Its digest, as upstream has it.
    pub digest: Option<Digest>,
}

impl UpstreamClient {
    /// Asks for the digest of a reference. `None` where HEAD is refused or tells nothing usable: then GET decides.
    pub async fn head_manifest(
        &self,
        target: &Target,
        reference: &Reference,
        accept: Accept<'_>,
    ) -> Result<Option<ManifestHead>, UpstreamError> {
        let mut headers = HeaderMap::new();
        accept.write(&mut headers);
        let resource = format!("manifests/{reference}");
        self.bounded(target, async {
            let Some(answer) = self.ask_by_head(target, RequestKind::ManifestHead, &resource, headers).await? else {
                return Ok(None);
            };
            let response = self.exchange.accepted(target.host(), answer, &target.name_of(reference)).await?;
            let headers = response.headers();
            let media_type = media_type(headers);
            if media_type.as_deref().is_some_and(is_signed_schema1) {
                return Err(schema1(target, reference));
            }
            // No manifest is empty: some servers say so to a HEAD, since it has no body.
            let size_bytes = content_length(headers).filter(|size| *size > 0);
            Ok(content_digest(headers).map(|digest| ManifestHead { digest, media_type, size_bytes }))
        })
        .await
    }

    /// Fetches a manifest.
    pub async fn get_manifest(
        &self,
        target: &Target,
        reference: &Reference,
        accept: Accept<'_>,
    ) -> Result<Manifest, UpstreamError> {
        let mut headers = HeaderMap::new();
        accept.write(&mut headers);
        self.bounded(target, async {
            let broken = match self.manifest(target, reference, headers.clone()).await? {
                Ok(manifest) => return Ok(manifest),
                Err(error) => error,
            };
            tracing::debug!(%reference, error = %broken, "a manifest ended early; fetching it once more");
            self.manifest(target, reference, headers).await?
        })
        .await
    }

    /// One try; the inner error is a body that ended early, or stopped arriving.
    async fn manifest(
        &self,
        target: &Target,
        reference: &Reference,
        headers: HeaderMap,
    ) -> Result<Result<Manifest, UpstreamError>, UpstreamError> {
        let resource = format!("manifests/{reference}");
        let answer = self.ask(target, RequestKind::ManifestGet, Method::GET, (&resource, None), headers).await?;
        let response = self.exchange.whole_content(target.host(), answer, &target.name_of(reference)).await?;
        self.accounts.of(target).spent(target);
        let (media_type, digest) = (media_type(response.headers()), content_digest(response.headers()));
        let want = match reference {
            Reference::Digest(digest) => Some(*digest),
            Reference::Tag(_) => digest,
        };
        let body = self.exchange.whole(target.host(), response, MAX_MANIFEST_BYTES, want.as_ref());
        // Half of the time, so that some is left for another try.
        match within(self.exchange.timeouts.whole / 2, target.host(), body).await {
            Ok(_) if media_type.as_deref().is_some_and(is_signed_schema1) => Err(schema1(target, reference)),
            Ok(body) => Ok(Ok(Manifest { body, media_type, digest })),
            Err(error @ (UpstreamError::Cut { .. } | UpstreamError::Timeout { .. })) => Ok(Err(error)),
            Err(error) => Err(error),
        }
    }
}

/// Returns whether a manifest has Docker's signed schema 1, whose digest is not that of its bytes.
fn is_signed_schema1(media_type: &str) -> bool {
    media_type
        .trim_start()
        .to_ascii_lowercase()
        .starts_with("application/vnd.docker.distribution.manifest.v1+prettyjws")
}

fn schema1(target: &Target, reference: &Reference) -> UpstreamError {
    UpstreamError::Schema1 { upstream: target.host().clone(), content: target.name_of(reference) }
}
