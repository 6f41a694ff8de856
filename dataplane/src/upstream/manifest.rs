//! What registries are asked for: manifests, blobs, tags, referrers. Protocol: OCI distribution-spec 1.1.

use std::time::SystemTime;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use reqwest::Response;
use roadstead_proto::{Digest, Reference, UpstreamHost};
use url::form_urlencoded;

use super::{Accept, Target, UpstreamClient, UpstreamError, metrics::RequestKind};
use crate::upstream::transport::{
    exchange::within,
    header::{content_digest, content_length, media_type, next_page_query, retry_after},
};

/// Largest manifest we buffer, in bytes. OCI distribution-spec 1.1 asks registries to accept at least 4 MiB.
pub const MAX_MANIFEST_BYTES: u64 = 4 * 1024 * 1024;
/// Largest list of tags or referrers we buffer, in bytes.
const MAX_LISTING_BYTES: u64 = 4 * 1024 * 1024;
/// Most pages of referrers that are put together.
const MAX_REFERRERS_PAGES: usize = 20;

/// What a HEAD tells of a manifest.
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

/// A page of tags or referrers, not looked into.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listing {
    /// Its bytes.
    pub body: Bytes,
    /// Its media type.
    pub media_type: Option<String>,
    /// `OCI-Filters-Applied`.
    pub filters_applied: Option<HeaderValue>,
    /// The query that asks for the next page: `n=2&last=b`.
    pub next_query: Option<String>,
}

impl UpstreamClient {
    /// Asks what a reference means. `None` if upstream answers HEAD not at all, or without a digest: then GET tells.
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
            let answer = self.ask(target, RequestKind::ManifestHead, Method::HEAD, (&resource, &[]), headers).await?;
            if refuses_method(answer.response.status()) {
                return Ok(None);
            }
            let response = check_status(answer.response, target.host(), answer.from_upstream)?;
            let headers = response.headers();
            Ok(content_digest(headers).map(|digest| ManifestHead {
                digest,
                media_type: media_type(headers),
                size_bytes: content_length(headers),
            }))
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
        let resource = format!("manifests/{reference}");
        self.bounded(target, async {
            let broken = match self.manifest(target, &resource, headers.clone()).await? {
                Ok(manifest) => return Ok(manifest),
                Err(error) => error,
            };
            tracing::debug!(%reference, error = %broken, "a manifest broke off; fetching it once more");
            self.manifest(target, &resource, headers).await?
        })
        .await
    }

    /// One try; the inner error is a body that broke off, or stopped coming.
    async fn manifest(
        &self,
        target: &Target,
        resource: &str,
        headers: HeaderMap,
    ) -> Result<Result<Manifest, UpstreamError>, UpstreamError> {
        let answer = self.ask(target, RequestKind::ManifestGet, Method::GET, (resource, &[]), headers).await?;
        let response = whole_content(answer.response, target.host(), answer.from_upstream)?;
        self.standings.of(target).spent(target);
        let (media_type, digest) = (media_type(response.headers()), content_digest(response.headers()));
        let body = self.exchange.whole(target.host(), response, MAX_MANIFEST_BYTES);
        // Half of the time, so that some is left for another try.
        match within(self.exchange.timeouts.whole / 2, target.host(), body).await {
            Ok(body) => Ok(Ok(Manifest { body, media_type, digest })),
            Err(error @ (UpstreamError::Cut { .. } | UpstreamError::Timeout { .. })) => Ok(Err(error)),
            Err(error) => Err(error),
        }
    }

    /// Fetches a page of tags: at most `n`, after `last`.
    pub async fn get_tags(
        &self,
        target: &Target,
        n: Option<u64>,
        last: Option<&str>,
    ) -> Result<Listing, UpstreamError> {
        let n = n.map(|n| n.to_string());
        let query: Vec<_> = n.iter().map(|n| ("n", &**n)).chain(last.map(|last| ("last", last))).collect();
        self.listing(target, RequestKind::Tags, "tags/list", &query).await
    }

    /// Fetches what refers to a manifest, page by page, within one operation's time and one listing's size; never
    /// without a page. Not found also where upstream does not know this question.
    pub async fn get_referrers(
        &self,
        target: &Target,
        digest: &Digest,
        artifact_type: Option<&str>,
    ) -> Result<Vec<Bytes>, UpstreamError> {
        let resource = format!("referrers/{digest}");
        let first: Vec<_> = artifact_type.iter().map(|artifact_type| ("artifactType", *artifact_type)).collect();
        let bad = |problem: String| UpstreamError::BadAnswer { upstream: target.host().clone(), problem };
        self.bounded(target, async {
            let mut left = MAX_LISTING_BYTES;
            let mut page = self.page(target, RequestKind::Referrers, &resource, &first).await?;
            let mut pages = Vec::with_capacity(1);
            loop {
                left = left.checked_sub(page.body.len() as u64).ok_or_else(|| UpstreamError::TooLarge {
                    upstream: target.host().clone(),
                    limit_bytes: MAX_LISTING_BYTES,
                })?;
                pages.push(page.body);
                let Some(query) = page.next_query else { return Ok(pages) };
                if pages.len() == MAX_REFERRERS_PAGES {
                    return Err(bad(format!("referrers of more than {MAX_REFERRERS_PAGES} pages")));
                }
                let query: Vec<_> = form_urlencoded::parse(query.as_bytes()).collect();
                let query: Vec<_> = query.iter().map(|(key, value)| (&**key, &**value)).collect();
                page = match self.page(target, RequestKind::Referrers, &resource, &query).await {
                    // There are referrers: a page that is gone must not pass for "knows no referrers".
                    Err(UpstreamError::NotFound { .. }) => {
                        return Err(bad("a next page of referrers that is not there".to_owned()));
                    }
                    page => page?,
                };
            }
        })
        .await
    }

    async fn listing(
        &self,
        target: &Target,
        kind: RequestKind,
        resource: &str,
        query: &[(&str, &str)],
    ) -> Result<Listing, UpstreamError> {
        self.bounded(target, self.page(target, kind, resource, query)).await
    }

    async fn page(
        &self,
        target: &Target,
        kind: RequestKind,
        resource: &str,
        query: &[(&str, &str)],
    ) -> Result<Listing, UpstreamError> {
        let answer = self.ask(target, kind, Method::GET, (resource, query), HeaderMap::new()).await?;
        let response = whole_content(answer.response, target.host(), answer.from_upstream)?;
        let headers = response.headers();
        let filters_applied = headers.get("oci-filters-applied").cloned();
        let (media_type, next_query) = (media_type(headers), next_page_query(headers));
        let body = self.exchange.whole(target.host(), response, MAX_LISTING_BYTES).await?;
        Ok(Listing { body, media_type, filters_applied, next_query })
    }
}

/// The server does not know HEAD, here or at all.
pub(super) const fn refuses_method(status: StatusCode) -> bool {
    matches!(status, StatusCode::METHOD_NOT_ALLOWED | StatusCode::NOT_IMPLEMENTED)
}

/// Tells successes from errors. What is refused where upstream redirected to says nothing about the credentials.
pub(super) fn check_status(
    response: Response,
    upstream: &UpstreamHost,
    from_upstream: bool,
) -> Result<Response, UpstreamError> {
    let status = response.status();
    if status.is_success() {
        return Ok(response);
    }
    let upstream = upstream.clone();
    let retry_after = retry_after(response.headers(), SystemTime::now());
    Err(match status {
        StatusCode::NOT_FOUND => UpstreamError::NotFound { upstream },
        StatusCode::UNAUTHORIZED if from_upstream => UpstreamError::Unauthorized { upstream },
        StatusCode::FORBIDDEN if from_upstream => UpstreamError::Forbidden { upstream },
        StatusCode::TOO_MANY_REQUESTS => UpstreamError::RateLimited { upstream, retry_after },
        _ => UpstreamError::Status { upstream, status: status.as_u16(), retry_after },
    })
}

/// As [`check_status`], for answers that can only be whole: no other success has all of the content.
fn whole_content(response: Response, upstream: &UpstreamHost, from_upstream: bool) -> Result<Response, UpstreamError> {
    let response = check_status(response, upstream, from_upstream)?;
    if response.status() == StatusCode::OK {
        return Ok(response);
    }
    let problem = format!("status {}", response.status().as_u16());
    Err(UpstreamError::BadAnswer { upstream: upstream.clone(), problem })
}
