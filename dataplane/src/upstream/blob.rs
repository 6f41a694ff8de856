//! Blobs: whether upstream has one, and its bytes, from wherever they are wanted.

use bytes::Bytes;
use futures_util::{
    StreamExt,
    stream::{BoxStream, empty},
};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use reqwest::Response;
use roadstead_proto::{Digest, Reference};
use tracing::debug;

use super::{
    Target, UpstreamClient, UpstreamError,
    header::{content_length, content_range, unsatisfied_range},
    metrics::RequestKind,
};
use crate::upstream::transport::encoding::Encoding;

/// The answer to a HEAD of a blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlobHead {
    /// Its size in bytes.
    pub size_bytes: Option<u64>,
}

/// A blob that is arriving.
pub struct BlobBody {
    /// Its whole size in bytes, wherever the body starts.
    pub total: Option<u64>,
    /// Start of the body; 0 if upstream ignored the range.
    pub offset: u64,
    /// Which version of the content it is, to be told when the rest is asked for.
    pub etag: Option<HeaderValue>,
    /// It may be encoded or not: what has come of it is of no use before its end, which may be [`UpstreamError::Encoded`].
    pub is_undecided: bool,
    /// The body. It ends in an error if it is cut off or idle.
    pub stream: BoxStream<'static, Result<Bytes, UpstreamError>>,
}

impl UpstreamClient {
    /// Asks whether the upstream has a blob for these credentials. `None` where HEAD is refused or fails: then GET decides.
    pub async fn head_blob(&self, target: &Target, digest: &Digest) -> Result<Option<BlobHead>, UpstreamError> {
        let resource = format!("blobs/{digest}");
        self.bounded(target, async {
            let headers = HeaderMap::new();
            let Some(answer) = self.ask_by_head(target, RequestKind::BlobHead, &resource, headers).await? else {
                return Ok(None);
            };
            let response = self.exchange.accepted(target.host(), answer, &content(target, digest)).await?;
            // Some servers call everything empty that a HEAD asks for; only one blob is.
            let is_empty = || Digest::of(digest.algorithm(), b"") == *digest;
            let size_bytes = content_length(response.headers()).filter(|size| *size > 0 || is_empty());
            Ok(Some(BlobHead { size_bytes }))
        })
        .await
    }

    /// Opens a blob at byte `from`. Upstreams that know no ranges start at byte 0.
    pub async fn get_blob(&self, target: &Target, digest: &Digest, from: u64) -> Result<BlobBody, UpstreamError> {
        self.resume_blob(target, digest, from, None).await
    }

    /// Does the same for the rest of what began with this `etag`. If upstream has something else now, or sends another part
    /// than was asked for, it starts at byte 0: parts of different versions are never put together unseen.
    pub async fn resume_blob(
        &self,
        target: &Target,
        digest: &Digest,
        from: u64,
        etag: Option<&HeaderValue>,
    ) -> Result<BlobBody, UpstreamError> {
        self.bounded(target, async {
            if from > 0
                && let Some(rest) = self.rest(target, digest, from, etag).await?
            {
                return Ok(rest);
            }
            let whole = self.open(target, digest, 0, None).await?;
            whole.map_err(|problem| UpstreamError::BadAnswer { upstream: target.host().clone(), problem })
        })
        .await
    }

    /// The blob from byte `from`; `None` where only all of it is to be had. A refusal may be that of an address that has
    /// expired, or of a server that gives no parts: the upstream is asked for a new address first.
    async fn rest(
        &self,
        target: &Target,
        digest: &Digest,
        from: u64,
        etag: Option<&HeaderValue>,
    ) -> Result<Option<BlobBody>, UpstreamError> {
        let mut is_last_try = false;
        loop {
            match self.open(target, digest, from, etag).await {
                Ok(Ok(body)) => return Ok(Some(body)),
                Ok(Err(problem)) => {
                    debug!(blob.digest = %digest, problem, "the upstream sent another part; fetching the whole blob");
                    return Ok(None);
                }
                Err(error) if !is_last_try && error.may_be_an_expired_address() => is_last_try = true,
                Err(error) if error.refuses_request() => {
                    debug!(blob.digest = %digest, %error, "the upstream refuses to resume; fetching the whole blob");
                    return Ok(None);
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Sends one request for a blob; the inner error is what is wrong with the part that came.
    async fn open(
        &self,
        target: &Target,
        digest: &Digest,
        from: u64,
        etag: Option<&HeaderValue>,
    ) -> Result<Result<BlobBody, String>, UpstreamError> {
        let mut headers = HeaderMap::new();
        if from > 0 {
            let range = HeaderValue::try_from(format!("bytes={from}-"));
            headers.extend(range.ok().map(|range| (header::RANGE, range)));
            let strong = etag.filter(|etag| etag.as_bytes().starts_with(b"\""));
            headers.extend(strong.map(|etag| (header::IF_RANGE, etag.clone())));
        }
        let resource = format!("blobs/{digest}");
        let answer = self.ask(target, RequestKind::BlobGet, Method::GET, (&resource, None), headers).await?;
        if let Some(end) = end_of(&answer.response, from) {
            return Ok(Ok(end));
        }
        let response = self.exchange.accepted(target.host(), answer, &content(target, digest)).await?;
        let encoding = Encoding::of(response.headers());
        let (offset, total) = match extent(&response, from, etag, encoding) {
            Ok(extent) => extent,
            Err(problem) => return Ok(Err(problem)),
        };
        let etag = response.headers().get(header::ETAG).cloned();
        let is_undecided = encoding == Encoding::Gzip && !self.exchange.encoded.is_known(digest);
        let stream = self.exchange.stream(target.host().clone(), response);
        let stream = match encoding {
            Encoding::Gzip => self.exchange.encoded.undo(target.host().clone(), *digest, stream),
            // Whatever it is called, its digest tells whether it is right.
            Encoding::Identity | Encoding::Other => stream,
        };
        Ok(Ok(BlobBody { total, offset, etag, is_undecided, stream }))
    }
}

fn content(target: &Target, digest: &Digest) -> String {
    target.name_of(&Reference::Digest(*digest))
}

/// The end of a blob that is here already: upstream has nothing after byte `from`.
fn end_of(response: &Response, from: u64) -> Option<BlobBody> {
    let size = unsatisfied_range(response.headers())?;
    let is_end = from > 0 && size == from && response.status() == StatusCode::RANGE_NOT_SATISFIABLE;
    is_end.then(|| BlobBody {
        total: Some(size),
        offset: from,
        etag: None,
        is_undecided: false,
        stream: empty().boxed(),
    })
}

/// Returns the start of a blob's body, and the size of the whole blob, if it is known and the requested one.
fn extent(
    response: &Response,
    from: u64,
    etag: Option<&HeaderValue>,
    encoding: Encoding,
) -> Result<(u64, Option<u64>), String> {
    let headers = response.headers();
    let changed = etag.zip(headers.get(header::ETAG)).is_some_and(|(before, now)| before != now);
    let status = response.status();
    match status {
        StatusCode::OK => Ok((0, content_length(headers))),
        StatusCode::PARTIAL_CONTENT if encoding != Encoding::Identity => Err("a part of something encoded".to_owned()),
        StatusCode::PARTIAL_CONTENT if changed => Err("a part of another version".to_owned()),
        StatusCode::PARTIAL_CONTENT => content_range(headers)
            .filter(|(start, _)| *start == from)
            .ok_or_else(|| format!("status {} with a range that was not asked for", status.as_u16())),
        _ => Err(format!("status {}", status.as_u16())),
    }
}
