//! Errors as clients see them: `{"errors":[{"code","message","detail"}]}`, OCI distribution-spec 1.1, "Error Codes".

use http::{HeaderValue, StatusCode, header};
use serde_json::{Value, json};

use super::{Answer, json as json_answer};
use crate::{
    access::AccessError,
    control::{ControlError, RefusalReason, Refused, SignInRefusal, SignInRefused},
    fill::FillError,
    route::RouteError,
    storage::StorageError,
    upstream::{Said, UpstreamError},
};

/// A code of the distribution spec, and the two that its reference implementation adds for servers in trouble.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    /// No such blob.
    BlobUnknown,
    /// The caller may not do this.
    Denied,
    /// The digest in the request is malformed.
    DigestInvalid,
    /// No such manifest.
    ManifestUnknown,
    /// Upstream's answer is not a manifest.
    ManifestInvalid,
    /// The name in the request is malformed.
    NameInvalid,
    /// No such repository, group, or path.
    NameUnknown,
    /// Slow down.
    TooManyRequests,
    /// Sign in first.
    Unauthorized,
    /// Something a server in working order would not say.
    Unknown,
    /// We, or upstream, cannot do this now.
    Unavailable,
    /// We never do this.
    Unsupported,
}

impl Code {
    const fn as_str(self) -> &'static str {
        match self {
            Self::BlobUnknown => "BLOB_UNKNOWN",
            Self::Denied => "DENIED",
            Self::DigestInvalid => "DIGEST_INVALID",
            Self::ManifestUnknown => "MANIFEST_UNKNOWN",
            Self::ManifestInvalid => "MANIFEST_INVALID",
            Self::NameInvalid => "NAME_INVALID",
            Self::NameUnknown => "NAME_UNKNOWN",
            Self::TooManyRequests => "TOOMANYREQUESTS",
            Self::Unauthorized => "UNAUTHORIZED",
            Self::Unknown => "UNKNOWN",
            Self::Unavailable => "UNAVAILABLE",
            Self::Unsupported => "UNSUPPORTED",
        }
    }
}

/// An error as it goes out.
#[derive(Clone, Debug)]
pub struct OciError {
    /// HTTP status.
    pub status: StatusCode,
    /// The spec's code.
    pub code: Code,
    /// For the person at the client, in a sentence.
    pub message: String,
    /// Details for programs, or `null`.
    pub detail: Value,
    /// Seconds to wait before trying again.
    pub retry_after: Option<u64>,
    /// The `WWW-Authenticate` of a 401.
    pub challenge: Option<HeaderValue>,
    /// The code to show instead of `code`: upstream's own, bounded and checked.
    pub upstream_code: Option<String>,
    /// The cause for the log, where it says more than `message`.
    pub cause: Option<String>,
    /// The client sent no token, and is told where to sign in.
    pub is_first_challenge: bool,
}

impl OciError {
    /// An error without extras.
    pub fn new(status: StatusCode, code: Code, message: impl Into<String>) -> Self {
        let (detail, message) = (Value::Null, message.into());
        let (retry_after, challenge, upstream_code, cause) = (None, None, None, None);
        Self { status, code, message, detail, retry_after, challenge, upstream_code, cause, is_first_challenge: false }
    }

    /// The node answers as many requests as it can.
    pub fn busy() -> Self {
        let message = "this node is answering as many requests as it can; try again";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, Code::TooManyRequests, message).with_retry_after(Some(1))
    }

    /// One client has as many requests in progress as it may.
    pub fn too_many_of_client() -> Self {
        let message = "your address has as many requests in progress as it may; try again, or sign in";
        Self::new(StatusCode::TOO_MANY_REQUESTS, Code::TooManyRequests, message).with_retry_after(Some(1))
    }

    /// The token service cannot read the request.
    pub fn bad_sign_in(message: &str) -> Self {
        Self::new(StatusCode::BAD_REQUEST, Code::Unsupported, message)
    }

    /// The token service's form did not arrive in time.
    pub fn slow_form() -> Self {
        Self::new(StatusCode::REQUEST_TIMEOUT, Code::Unknown, "the form took too long to arrive")
    }

    /// The token service's form is too long, or was cut off.
    pub fn long_form() -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, Code::Unknown, "the form is too long, or was cut off")
    }

    /// The token service asks for other credentials.
    pub fn wrong_credentials(message: impl Into<String>) -> Self {
        let mut refused = Self::new(StatusCode::UNAUTHORIZED, Code::Unauthorized, message);
        refused.challenge = Some(HeaderValue::from_static("Basic realm=\"roadstead\""));
        refused
    }

    /// The token service has no such service or image.
    pub fn unknown_scope(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, Code::NameUnknown, message)
    }

    /// Credentials cannot be checked while the control plane is unavailable.
    pub fn unchecked_credentials(message: &str) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, Code::Unavailable, message).with_retry_after(Some(10))
    }

    /// Adds detail for programs.
    pub fn with_detail(mut self, detail: Value) -> Self {
        self.detail = detail;
        self
    }

    /// Adds the cause for the log.
    fn because(mut self, cause: &dyn std::fmt::Display) -> Self {
        self.cause = Some(cause.to_string());
        self
    }

    /// The cause, in a sentence.
    pub fn cause(&self) -> &str {
        self.cause.as_deref().unwrap_or(&self.message)
    }

    /// True if it only tells a client without a token where to sign in, as every pull begins.
    pub const fn is_challenge(&self) -> bool {
        self.is_first_challenge
    }

    /// Adds `Retry-After`.
    pub fn with_retry_after(mut self, seconds: Option<u64>) -> Self {
        self.retry_after = seconds.filter(|seconds| *seconds > 0);
        self
    }

    /// The answer to send.
    pub fn into_answer(self) -> Answer {
        let code = self.upstream_code.as_deref().unwrap_or_else(|| self.code.as_str());
        let error = json!({ "code": code, "message": self.message, "detail": self.detail });
        let mut answer = json_answer(self.status, &json!({ "errors": [error] }));
        let headers = answer.headers_mut();
        if let Some(seconds) = self.retry_after {
            headers.insert(header::RETRY_AFTER, seconds.into());
        }
        if let Some(challenge) = self.challenge {
            headers.insert(header::WWW_AUTHENTICATE, challenge);
        }
        if self.status == StatusCode::METHOD_NOT_ALLOWED {
            headers.insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
        }
        answer
    }

    /// Upstream's trouble, where `missing` is what its 404 means here.
    pub fn from_upstream(error: &UpstreamError, missing: Code) -> Self {
        let unavailable = |status| Self::new(status, Code::Unavailable, error.to_string());
        let built = match error {
            UpstreamError::NotFound { .. } => Self::new(StatusCode::NOT_FOUND, missing, error.to_string()),
            UpstreamError::Unauthorized { .. } | UpstreamError::Forbidden { .. } => {
                Self::new(StatusCode::FORBIDDEN, Code::Denied, error.to_string())
            }
            UpstreamError::Schema1 { .. } => {
                Self::new(StatusCode::BAD_REQUEST, Code::ManifestInvalid, error.to_string())
            }
            UpstreamError::RateLimited { .. } => {
                Self::new(StatusCode::TOO_MANY_REQUESTS, Code::TooManyRequests, error.to_string())
            }
            UpstreamError::Connect { .. } | UpstreamError::CircuitOpen { .. } => {
                unavailable(StatusCode::SERVICE_UNAVAILABLE)
            }
            UpstreamError::Timeout { .. } => unavailable(StatusCode::GATEWAY_TIMEOUT),
            UpstreamError::TokenService { status: Some(429), .. } => {
                Self::new(StatusCode::TOO_MANY_REQUESTS, Code::TooManyRequests, error.to_string())
            }
            UpstreamError::TokenService { status: Some(503), .. } => unavailable(StatusCode::SERVICE_UNAVAILABLE),
            // Its other answers say nothing of the content.
            UpstreamError::TokenService { .. } => unavailable(StatusCode::BAD_GATEWAY),
            _ => match error.status().and_then(|status| StatusCode::from_u16(status).ok()) {
                // A redirect's target refuses: nothing that signing in here would mend.
                Some(StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::PROXY_AUTHENTICATION_REQUIRED) => {
                    unavailable(StatusCode::BAD_GATEWAY)
                }
                // Upstream's own word on the request, or on when to come back, is passed on.
                Some(status) if status.is_client_error() => Self {
                    upstream_code: error.said().and_then(Said::code).map(str::to_owned),
                    ..Self::new(status, Code::Unknown, error.to_string())
                },
                Some(StatusCode::SERVICE_UNAVAILABLE) => unavailable(StatusCode::SERVICE_UNAVAILABLE),
                _ => unavailable(StatusCode::BAD_GATEWAY),
            },
        };
        built
            .with_retry_after(error.retry_after().map(|wait| wait.as_secs().max(1)))
            .with_detail(json!({ "upstream": error.kind() }))
    }

    /// A fill's trouble.
    pub fn from_fill(error: &FillError) -> Self {
        match error {
            FillError::Upstream(error) => Self::from_upstream(error, Code::BlobUnknown),
            FillError::Storage(error) => Self::from_storage(error),
            FillError::Aborted => Self::new(StatusCode::INTERNAL_SERVER_ERROR, Code::Unknown, error.to_string()),
            FillError::AlreadyCached | FillError::Busy | FillError::GivenUp => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, Code::Unavailable, error.to_string())
                    .with_retry_after(Some(5))
            }
            FillError::DigestMismatch { .. } | FillError::WrongLength { .. } => {
                Self::new(StatusCode::BAD_GATEWAY, Code::Unavailable, error.to_string())
            }
        }
    }

    /// The store's trouble.
    pub fn from_storage(error: &StorageError) -> Self {
        let built = match error {
            StorageError::Full => Self::new(
                StatusCode::INSUFFICIENT_STORAGE,
                Code::Unavailable,
                "the cache's disk is full: what is cached can be pulled, new content cannot be fetched",
            ),
            StorageError::ReadOnly => Self::new(
                StatusCode::INSUFFICIENT_STORAGE,
                Code::Unavailable,
                "the cache's disk is read-only: what is cached can be pulled, new content cannot be fetched",
            ),
            StorageError::Remote { .. } => Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                Code::Unavailable,
                "the cache's object store does not answer right now; try again",
            )
            .with_retry_after(Some(5)),
            _ => Self::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                Code::Unknown,
                "the cache's blob store failed; see the log",
            ),
        };
        built.because(error)
    }

    /// The control plane's trouble.
    pub fn from_control(error: &ControlError) -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            Code::Unavailable,
            "the control plane of this cache is unavailable: only content that this node knows to be cached can be pulled; try again",
        )
        .with_detail(json!({ "control": error.kind() }))
        .with_retry_after(Some(5))
        .because(&format_args!("the control plane is unavailable: {error}"))
    }

    /// A sign-in that the control plane refused.
    pub fn from_sign_in(refused: SignInRefused) -> Self {
        let (status, code) = match refused.reason {
            SignInRefusal::Unauthenticated => return Self::wrong_credentials(refused.message),
            SignInRefusal::Denied => (StatusCode::FORBIDDEN, Code::Denied),
            SignInRefusal::NotFound => (StatusCode::NOT_FOUND, Code::NameUnknown),
            SignInRefusal::TooManyRequests => (StatusCode::TOO_MANY_REQUESTS, Code::TooManyRequests),
            SignInRefusal::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, Code::Unavailable),
        };
        Self::new(status, code, refused.message).with_retry_after(refused.retry_after.map(|wait| wait.as_secs()))
    }

    /// A refusal that the control plane decided.
    pub fn from_refusal(refused: &Refused) -> Self {
        let (status, code) = match refused.reason {
            RefusalReason::NotFound => (StatusCode::NOT_FOUND, Code::ManifestUnknown),
            RefusalReason::UpstreamUnauthorized | RefusalReason::UpstreamForbidden => {
                (StatusCode::FORBIDDEN, Code::Denied)
            }
            RefusalReason::Frozen | RefusalReason::GroupUnavailable | RefusalReason::Denied => {
                (StatusCode::FORBIDDEN, Code::Denied)
            }
            RefusalReason::RateLimited => (StatusCode::TOO_MANY_REQUESTS, Code::TooManyRequests),
            RefusalReason::UpstreamUnavailable | RefusalReason::TooStale => {
                (StatusCode::SERVICE_UNAVAILABLE, Code::Unavailable)
            }
        };
        Self::new(status, code, refused.message.clone())
            .with_retry_after(refused.retry_after.map(|wait| wait.as_secs()))
    }
}

impl From<AccessError> for OciError {
    fn from(error: AccessError) -> Self {
        let (status, code) = match &error {
            AccessError::TokenMissing | AccessError::TokenInvalid | AccessError::InsufficientScope(_) => {
                (StatusCode::UNAUTHORIZED, Code::Unauthorized)
            }
            AccessError::ControlOutage(_) => (StatusCode::SERVICE_UNAVAILABLE, Code::Unavailable),
            AccessError::GroupGone => (StatusCode::NOT_FOUND, Code::NameUnknown),
            AccessError::GroupDisabled(_)
            | AccessError::NoDefaultUpstream(_)
            | AccessError::UpstreamDenied(..)
            | AccessError::ImageDenied(_) => (StatusCode::FORBIDDEN, Code::Denied),
        };
        let wait = matches!(error, AccessError::ControlOutage(_)).then_some(10);
        let is_first_challenge = error == AccessError::TokenMissing;
        Self { is_first_challenge, ..Self::new(status, code, error.to_string()).with_retry_after(wait) }
    }
}

impl From<RouteError> for OciError {
    fn from(error: RouteError) -> Self {
        let (status, code) = match &error {
            RouteError::Unsupported(_) | RouteError::Push(_) => (StatusCode::METHOD_NOT_ALLOWED, Code::Unsupported),
            RouteError::TooLong => (StatusCode::URI_TOO_LONG, Code::NameInvalid),
            RouteError::UnknownPath => (StatusCode::NOT_FOUND, Code::NameUnknown),
            RouteError::Group(_) | RouteError::Image(_) => (StatusCode::BAD_REQUEST, Code::NameInvalid),
            RouteError::Digest(_) => (StatusCode::BAD_REQUEST, Code::DigestInvalid),
            RouteError::Tag(_) => (StatusCode::NOT_FOUND, Code::ManifestUnknown),
            RouteError::Query(_) => (StatusCode::BAD_REQUEST, Code::Unsupported),
        };
        Self::new(status, code, error.to_string())
    }
}
