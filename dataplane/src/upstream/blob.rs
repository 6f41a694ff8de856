//! Blobs: whether upstream has one, and its bytes, from wherever they are wanted.

use bytes::Bytes;
use futures_util::stream::BoxStream;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use reqwest::Response;
use roadstead_proto::Digest;

use super::{Target, UpstreamClient, UpstreamError, metrics::RequestKind};
use crate::upstream::{
    manifest::{check_status, refuses_method},
    transport::{
        encoding::{Encoding, gunzip_stream},
        header::{content_length, content_range},
    },
};

/// What a HEAD tells of a blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlobHead {
    /// Its size in bytes.
    pub size_bytes: Option<u64>,
}

/// A blob that is arriving.
pub struct BlobBody {
    /// Its whole size in bytes, wherever the body starts.
    pub total: Option<u64>,
    /// Where the body starts; 0 if upstream ignored the range.
    pub offset: u64,
    /// Which version of the content it is, to be told when the rest is asked for.
    pub etag: Option<HeaderValue>,
    /// The body. It ends in an error if it is cut off or idle.
    pub stream: BoxStream<'static, Result<Bytes, UpstreamError>>,
}

impl UpstreamClient {
    /// Asks whether upstream has a blob for these credentials. `None` if it answers HEAD not at all: then GET tells.
    pub async fn head_blob(&self, target: &Target, digest: &Digest) -> Result<Option<BlobHead>, UpstreamError> {
        let resource = format!("blobs/{digest}");
        self.bounded(target, async {
            let answer =
                self.ask(target, RequestKind::BlobHead, Method::HEAD, (&resource, &[]), HeaderMap::new()).await?;
            let status = answer.response.status();
            // Where upstream redirects to may take signed GETs only.
            let refused_there = !answer.from_upstream && matches!(status.as_u16(), 400 | 401 | 403);
            if refuses_method(status) || refused_there {
                return Ok(None);
            }
            let response = check_status(answer.response, target.host(), answer.from_upstream)?;
            Ok(Some(BlobHead { size_bytes: content_length(response.headers()) }))
        })
        .await
    }

    /// Opens a blob at byte `from`. Upstreams that know no ranges start at byte 0.
    pub async fn get_blob(&self, target: &Target, digest: &Digest, from: u64) -> Result<BlobBody, UpstreamError> {
        self.resume_blob(target, digest, from, None).await
    }

    /// The same for the rest of what began with this `etag`. If upstream has something else now, or sends another part
    /// than was asked for, it starts at byte 0: parts of different versions are never put together unseen.
    pub async fn resume_blob(
        &self,
        target: &Target,
        digest: &Digest,
        from: u64,
        etag: Option<&HeaderValue>,
    ) -> Result<BlobBody, UpstreamError> {
        self.bounded(target, async {
            let part = self.open(target, digest, from, etag).await?;
            match part {
                Err(_) if from > 0 => self.open(target, digest, 0, None).await?,
                part => part,
            }
            .map_err(|problem| UpstreamError::BadAnswer { upstream: target.host().clone(), problem })
        })
        .await
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
        let answer = self.ask(target, RequestKind::BlobGet, Method::GET, (&resource, &[]), headers).await?;
        let response = check_status(answer.response, target.host(), answer.from_upstream)?;
        let encoding = Encoding::of(response.headers(), target.host())?;
        let (offset, total) = match extent(&response, from, etag, encoding) {
            Ok(extent) => extent,
            Err(problem) => return Ok(Err(problem)),
        };
        let etag = response.headers().get(header::ETAG).cloned();
        let stream = self.exchange.stream(target.host().clone(), response);
        let stream = match encoding {
            Encoding::Identity => stream,
            Encoding::Gzip => gunzip_stream(target.host().clone(), stream),
        };
        Ok(Ok(BlobBody { total, offset, etag, stream }))
    }
}

/// Where a blob's body starts, and how large the whole blob is, if that is known and what was asked for.
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
