//! Answers that carry (or describe) content of a known digest.

use std::{sync::Arc, time::Duration};

use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};
use roadstead_proto::Digest;
use url::Url;

use super::{API_VERSION, Answer, Body, Code, Conditions, OciError, Selection};
use crate::{cache_status::CacheStatus, control::StaleReason, metrics::BodyBytes, storage::StoredBlob};

const CONTENT_DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");
const X_CACHE: HeaderName = HeaderName::from_static("x-cache");
/// Content under its digest never changes; it is only for whoever was allowed to ask.
const IMMUTABLE: HeaderValue = HeaderValue::from_static("private, max-age=31536000, immutable");
/// An address that is good for minutes, and only for whoever was allowed to ask.
const NEVER_KEPT: HeaderValue = HeaderValue::from_static("no-store");
/// Content under a tag may be kept, but must be asked about.
const ASK_AGAIN: HeaderValue = HeaderValue::from_static("private, no-cache");

/// The freshness of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Freshness {
    /// Its source.
    pub status: CacheStatus,
    /// Since when upstream has not confirmed it; `None` for what has just arrived.
    pub age: Option<Duration>,
    /// The reason that it was not confirmed, where it should have been.
    pub stale: Option<StaleReason>,
    /// True if it was asked for by digest.
    pub immutable: bool,
}

impl Freshness {
    /// Content asked for by digest and served from the store. It does not age; since when it is stored would tell that
    /// another group had it before.
    pub const fn of_stored(status: CacheStatus) -> Self {
        let age = if matches!(status, CacheStatus::Proven) { None } else { Some(Duration::ZERO) };
        Self { status, age, stale: None, immutable: true }
    }

    /// Content asked for by digest that is only arriving.
    pub const fn of_arriving(status: CacheStatus) -> Self {
        Self { status, age: None, stale: None, immutable: true }
    }
}

/// The description of an answer's content.
#[derive(Clone, Debug)]
pub struct Content {
    /// The digest as asked for, or as the tag means it.
    pub digest: HeaderValue,
    /// The digest in quotes.
    pub etag: HeaderValue,
    /// The media type, exactly as upstream has it.
    pub media_type: HeaderValue,
    /// Its source.
    pub freshness: Freshness,
}

impl Content {
    /// Describes a stored blob.
    pub fn of_stored(blob: &StoredBlob, media_type: HeaderValue, freshness: Freshness) -> Self {
        Self { digest: blob.digest_header.clone(), etag: blob.etag.clone(), media_type, freshness }
    }

    /// Describes content that is not stored, or not yet.
    pub fn of_digest(digest: &Digest, media_type: HeaderValue, freshness: Freshness) -> Self {
        // The characters of a digest are all good in a header.
        let header = |text: String| HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static(""));
        Self { digest: header(digest.to_string()), etag: header(format!("\"{digest}\"")), media_type, freshness }
    }

    /// Answers with what `conditions` select of a stored blob.
    pub fn stored(self, blob: &Arc<StoredBlob>, conditions: &Conditions, counter: BodyBytes) -> Answer {
        self.selected(Some(blob.size), conditions, |start, end| {
            Body::stored(Arc::clone(blob), start, end).counted(counter)
        })
    }

    /// Answers with what `conditions` select of content of `size` bytes, if that is known; `body` makes the body of
    /// `start..end`, where `end` is `u64::MAX` while the size is unknown.
    pub fn selected(self, size: Option<u64>, conditions: &Conditions, body: impl FnOnce(u64, u64) -> Body) -> Answer {
        let Some(size) = size else {
            let mut answer = Response::new(body(0, u64::MAX));
            self.describe(&mut answer);
            return answer;
        };
        match conditions.select(&self.etag, size) {
            Selection::Whole => {
                let mut answer = Response::new(body(0, size));
                self.describe(&mut answer);
                answer.headers_mut().insert(header::CONTENT_LENGTH, size.into());
                answer
            }
            Selection::Part { start, end } => {
                let mut answer = Response::new(body(start, end));
                *answer.status_mut() = StatusCode::PARTIAL_CONTENT;
                self.describe(&mut answer);
                let headers = answer.headers_mut();
                headers.insert(header::CONTENT_LENGTH, (end - start).into());
                if let Ok(range) = HeaderValue::try_from(format!("bytes {start}-{}/{size}", end - 1)) {
                    headers.insert(header::CONTENT_RANGE, range);
                }
                answer
            }
            Selection::NotModified => {
                let mut answer = Response::new(Body::default());
                *answer.status_mut() = StatusCode::NOT_MODIFIED;
                self.describe(&mut answer);
                answer
            }
            Selection::Unsatisfiable => {
                let message = format!("the range lies outside the {size} bytes there are");
                let mut answer =
                    OciError::new(StatusCode::RANGE_NOT_SATISFIABLE, Code::Unsupported, message).into_answer();
                if let Ok(range) = HeaderValue::try_from(format!("bytes */{size}")) {
                    answer.headers_mut().insert(header::CONTENT_RANGE, range);
                }
                answer
            }
        }
    }

    /// Marks the answer as one to a request by tag, which may resolve to something else later.
    pub fn found_by_tag(mut answer: Answer) -> Answer {
        answer.headers_mut().insert(header::CACHE_CONTROL, ASK_AGAIN);
        answer
    }

    /// Sends a client elsewhere for a blob, for minutes; `None` if the URL does not fit in a header.
    pub fn redirected(digest: &Digest, url: &Url, status: CacheStatus) -> Option<Answer> {
        let mut answer = Response::new(Body::default());
        *answer.status_mut() = StatusCode::TEMPORARY_REDIRECT;
        let headers = answer.headers_mut();
        headers.insert(header::LOCATION, HeaderValue::try_from(url.as_str()).ok()?);
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from_static("0"));
        headers.insert(CONTENT_DIGEST, HeaderValue::try_from(digest.to_string()).ok()?);
        headers.insert(API_VERSION.0, API_VERSION.1);
        headers.insert(header::CACHE_CONTROL, NEVER_KEPT);
        headers.insert(X_CACHE, HeaderValue::from_static(status.shown()));
        Some(answer)
    }

    /// Answers a HEAD: what a GET would say, without the body.
    pub fn described(self, size: u64) -> Answer {
        let mut answer = Response::new(Body::default());
        self.describe(&mut answer);
        answer.headers_mut().insert(header::CONTENT_LENGTH, size.into());
        answer
    }

    fn describe(self, answer: &mut Answer) {
        let headers = answer.headers_mut();
        headers.insert(header::CONTENT_TYPE, self.media_type);
        headers.insert(header::ETAG, self.etag);
        headers.insert(CONTENT_DIGEST, self.digest);
        headers.insert(API_VERSION.0, API_VERSION.1);
        headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
        headers.insert(header::CACHE_CONTROL, if self.freshness.immutable { IMMUTABLE } else { ASK_AGAIN });
        headers.insert(X_CACHE, HeaderValue::from_static(self.freshness.status.shown()));
        if let Some(age) = self.freshness.age {
            headers.insert(header::AGE, age.as_secs().into());
        }
        if let Some(reason) = self.freshness.stale {
            headers.insert(header::WARNING, warning(reason));
        }
    }
}

/// Marks an answer as stale; `age` is the time since upstream confirmed it, where that is known.
pub fn stale_headers(headers: &mut HeaderMap, age: Option<Duration>, reason: StaleReason) {
    headers.insert(X_CACHE, HeaderValue::from_static(CacheStatus::Stale.as_str()));
    headers.insert(header::WARNING, warning(reason));
    if let Some(age) = age {
        headers.insert(header::AGE, age.as_secs().into());
    }
}

/// `Warning`: RFC 7234, section 5.5; HTTP has dropped the header, but people and tools still read it.
const fn warning(reason: StaleReason) -> HeaderValue {
    HeaderValue::from_static(match reason {
        StaleReason::UpstreamUnavailable => "111 roadstead \"Revalidation Failed: upstream unavailable\"",
        StaleReason::RateLimited => "111 roadstead \"Revalidation Failed: upstream pull limit\"",
        StaleReason::ControlUnavailable => "111 roadstead \"Revalidation Failed: control plane unavailable\"",
        StaleReason::Frozen => "110 roadstead \"Response is Stale: the group is frozen\"",
        StaleReason::Reserve => "110 roadstead \"Response is Stale: upstream pull limit nearly reached\"",
        StaleReason::Missing => "110 roadstead \"Response is Stale: the tag is gone upstream\"",
        StaleReason::Cooldown => "110 roadstead \"Response is Stale: the tag moved and is cooling down\"",
    })
}
