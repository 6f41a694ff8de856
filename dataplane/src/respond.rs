//! From outcomes to HTTP: error bodies in the registry's form, ranges, and the headers of content.
//! HTTP status codes are chosen here and nowhere else.

mod body;
mod content;
mod error;
mod range;

pub use crate::cache_status::CacheStatus;

pub use self::body::Body;
pub use self::content::{Content, Freshness, stale_headers};
pub use self::error::{Code, OciError};
pub use self::range::{Conditions, Selection};

use http::{HeaderName, HeaderValue, Response, StatusCode, header};

/// An answer of the registry port.
pub type Answer = Response<Body>;

/// The header by which a registry makes itself known; Docker's clients look for it on `GET /v2/`.
pub const API_VERSION: (HeaderName, HeaderValue) =
    (HeaderName::from_static("docker-distribution-api-version"), HeaderValue::from_static("registry/2.0"));

/// A small JSON answer with status 200.
pub fn ok_json(value: &serde_json::Value) -> Answer {
    json(StatusCode::OK, value)
}

/// A small JSON answer.
pub fn json(status: StatusCode, value: &serde_json::Value) -> Answer {
    let text = value.to_string();
    let length = text.len();
    let mut answer = Response::new(Body::from(text));
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    headers.insert(header::CONTENT_LENGTH, length.into());
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(API_VERSION.0, API_VERSION.1);
    answer
}
