//! The errors of an upstream, distinguished by their handling.

use std::{error::Error, time::Duration};

use roadstead_proto::UpstreamHost;

use super::said::Said;
use crate::control::TagOutcome;

/// A place that requests must not go to.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{host} is at an address that is not public, and not listed for this upstream")]
pub(crate) struct UnsafeAddress {
    pub(crate) host: String,
}

/// An upstream gave no answer, or none that can be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UpstreamError {
    /// No connection could be made.
    #[error("{upstream} cannot be reached: {reason}")]
    Connect {
        /// Which upstream.
        upstream: UpstreamHost,
        /// The failed operation.
        reason: String,
    },
    /// The answer took longer than the time limit.
    #[error("{upstream} did not answer in time ({phase})")]
    Timeout {
        /// Which upstream.
        upstream: UpstreamHost,
        /// The operation that took too long.
        phase: &'static str,
    },
    /// Its certificate is not trusted, or the two sides cannot agree.
    #[error("no secure connection to {upstream}: {reason}")]
    Tls {
        /// Which upstream.
        upstream: UpstreamHost,
        /// The failed operation.
        reason: String,
    },
    /// The connection broke before the answer was complete.
    #[error("{upstream} closed the connection early: {reason}")]
    Cut {
        /// Which upstream.
        upstream: UpstreamHost,
        /// The failed operation.
        reason: String,
    },
    /// It answered that it does not have the content.
    #[error("{upstream} has no {content}")]
    NotFound {
        /// Which upstream.
        upstream: UpstreamHost,
        /// The content asked for: `library/alpine:9`.
        content: String,
    },
    /// It, or its token service, refused the credentials, or requires some.
    #[error("{upstream} {DENIED}{said}")]
    Unauthorized {
        /// Which upstream.
        upstream: UpstreamHost,
        /// Its own words.
        said: Said,
    },
    /// It has the manifest only in Docker's signed schema 1, which cannot be verified by its digest.
    #[error("{upstream} has {content} only in the obsolete Docker schema 1 (schema1) format, which is not supported")]
    Schema1 {
        /// Which upstream.
        upstream: UpstreamHost,
        /// The content asked for.
        content: String,
    },
    /// It denied access to the content.
    #[error("{upstream} denied access: the group's credentials give no right to the image; see `upstream login`{said}")]
    Forbidden {
        /// Which upstream.
        upstream: UpstreamHost,
        /// Its own words.
        said: Said,
    },
    /// Its pull limit is reached.
    #[error("the pull limit of {upstream} is reached")]
    RateLimited {
        /// Which upstream.
        upstream: UpstreamHost,
        /// The wait that it asked for.
        retry_after: Option<Duration>,
    },
    /// Requests failed repeatedly, so that further ones are not sent for a while.
    #[error("{}: requests suspended (circuit open) after repeated failures ({last_error}); probing periodically", suspended(upstream, content.as_deref()))]
    CircuitOpen {
        /// Which upstream.
        upstream: UpstreamHost,
        /// The content, where only requests for it failed: `library/alpine/manifests/latest`.
        content: Option<String>,
        /// Kind of the last failure.
        last_error: &'static str,
        /// When it is tried again.
        retry_after: Duration,
    },
    /// It answered with another error status.
    #[error("{upstream} answered with status {status}{said}")]
    Status {
        /// Which upstream.
        upstream: UpstreamHost,
        /// The status.
        status: u16,
        /// Its own words.
        said: Said,
        /// The wait that it asked for.
        retry_after: Option<Duration>,
    },
    /// The service that issues tokens for it did not issue one.
    #[error("the token service of {upstream} issued no token: {problem}")]
    TokenService {
        /// Which upstream.
        upstream: UpstreamHost,
        /// The fault.
        problem: String,
        /// The status, where it answered with an error status.
        status: Option<u16>,
        /// The wait that it asked for.
        retry_after: Option<Duration>,
    },
    /// A redirect, or the token service's address, leads to a private address that is not listed for the upstream.
    #[error(
        "{upstream} redirects to {host}, which is not public and not listed for it; see `upstream update --redirect-host`"
    )]
    UnsafeAddress {
        /// Which upstream.
        upstream: UpstreamHost,
        /// The target, with its port.
        host: String,
    },
    /// The answer is larger than the limit.
    #[error("the answer of {upstream} is larger than {limit_bytes} bytes")]
    TooLarge {
        /// Which upstream.
        upstream: UpstreamHost,
        /// The limit.
        limit_bytes: u64,
    },
    /// The blob is what a body decodes to that has been taken as it is; it is decoded when it is asked for again.
    #[error("{upstream} sends the blob gzip-encoded as a whole")]
    Encoded {
        /// Which upstream.
        upstream: UpstreamHost,
    },
    /// The answer breaks the protocol.
    #[error("the answer of {upstream} is invalid: {problem}")]
    BadAnswer {
        /// Which upstream.
        upstream: UpstreamHost,
        /// The fault.
        problem: String,
    },
}

/// The phase of a time-out that shows that the host itself cannot be reached.
pub(super) const CONNECT_PHASE: &str = "connect";

/// The kind of a time-out.
pub(super) const TIMEOUT: &str = "timeout";

/// The words for an upstream that asks for credentials, or for others.
const DENIED: &str =
    "denied access: the image is private, or the group's credentials are missing or wrong; see `upstream login`";

/// The subject of a suspension: an upstream, or something that it has.
fn suspended(upstream: &UpstreamHost, content: Option<&str>) -> String {
    content.map_or_else(|| upstream.to_string(), |content| format!("{upstream}/{content}"))
}

impl UpstreamError {
    /// A body ended before it was complete.
    pub fn cut(upstream: UpstreamHost) -> Self {
        Self::Cut { upstream, reason: "the body ended early".to_owned() }
    }

    /// It sends us where we do not go.
    pub(super) fn unsafe_address(upstream: &UpstreamHost, address: &UnsafeAddress) -> Self {
        Self::UnsafeAddress { upstream: upstream.clone(), host: address.host.clone() }
    }

    /// Tells what went wrong below HTTP.
    pub(super) fn from_transport(upstream: &UpstreamHost, error: reqwest::Error) -> Self {
        let upstream = upstream.clone();
        // The URL may carry a signature, and says nothing that the log line does not say anyway.
        let error = error.without_url();
        let reason = innermost(&error).to_string();
        if let Some(UnsafeAddress { host }) = innermost(&error).downcast_ref() {
            Self::UnsafeAddress { upstream, host: host.clone() }
        } else if is_tls(&error) {
            Self::Tls { upstream, reason }
        } else if error.is_connect() && error.is_timeout() {
            Self::Timeout { upstream, phase: CONNECT_PHASE }
        } else if error.is_connect() {
            Self::Connect { upstream, reason }
        } else if error.is_timeout() {
            Self::Timeout { upstream, phase: "answer" }
        } else if error.is_builder() {
            Self::BadAnswer { upstream, problem: reason }
        } else {
            Self::Cut { upstream, reason }
        }
    }

    /// Returns this trouble as met at the upstream's token service.
    pub(super) fn at_token_service(self) -> Self {
        let (status, retry_after) = (self.status(), self.retry_after());
        let problem = match &self {
            Self::Status { status, said, .. } => format!("status {status}{said}"),
            Self::RateLimited { .. } => "its limit is reached (status 429)".to_owned(),
            Self::NotFound { .. } => "it is not there (status 404)".to_owned(),
            Self::Timeout { phase, .. } => format!("no answer in time ({phase})"),
            Self::Connect { reason, .. } | Self::Tls { reason, .. } | Self::Cut { reason, .. } => reason.clone(),
            Self::TooLarge { limit_bytes, .. } => format!("its answer is larger than {limit_bytes} bytes"),
            Self::UnsafeAddress { host, .. } => {
                format!("{host} is not public and not listed; see `upstream update --token-host`")
            }
            Self::BadAnswer { problem, .. } => problem.clone(),
            Self::Encoded { .. } => "its answer is encoded".to_owned(),
            Self::Unauthorized { .. }
            | Self::Forbidden { .. }
            | Self::Schema1 { .. }
            | Self::TokenService { .. }
            | Self::CircuitOpen { .. } => return self,
        };
        Self::TokenService { upstream: self.upstream().clone(), problem, status, retry_after }
    }

    /// Which upstream.
    pub const fn upstream(&self) -> &UpstreamHost {
        match self {
            Self::Connect { upstream, .. }
            | Self::Timeout { upstream, .. }
            | Self::Tls { upstream, .. }
            | Self::Cut { upstream, .. }
            | Self::NotFound { upstream, .. }
            | Self::Unauthorized { upstream, .. }
            | Self::Forbidden { upstream, .. }
            | Self::Schema1 { upstream, .. }
            | Self::RateLimited { upstream, .. }
            | Self::Status { upstream, .. }
            | Self::TokenService { upstream, .. }
            | Self::CircuitOpen { upstream, .. }
            | Self::UnsafeAddress { upstream, .. }
            | Self::TooLarge { upstream, .. }
            | Self::Encoded { upstream }
            | Self::BadAnswer { upstream, .. } => upstream,
        }
    }

    /// A stable word for logs and metrics.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Connect { .. } => "connect",
            Self::Timeout { .. } => TIMEOUT,
            Self::Tls { .. } => "tls",
            Self::Cut { .. } => "cut",
            Self::NotFound { .. } => "not_found",
            Self::Unauthorized { .. } => "unauthorized",
            Self::Forbidden { .. } => "forbidden",
            Self::Schema1 { .. } => "schema1",
            Self::RateLimited { .. } => "rate_limited",
            Self::Status { status: 500..=599, .. } => "status_5xx",
            Self::Status { .. } => "status_4xx",
            Self::TokenService { .. } => "token_service",
            Self::CircuitOpen { .. } => "circuit_open",
            Self::UnsafeAddress { .. } => "unsafe_address",
            Self::TooLarge { .. } => "too_large",
            Self::Encoded { .. } => "encoded",
            Self::BadAnswer { .. } => "bad_answer",
        }
    }

    /// True if the same request may succeed soon.
    pub const fn retryable(&self) -> bool {
        match self {
            Self::Connect { .. } | Self::Timeout { .. } | Self::Cut { .. } | Self::CircuitOpen { .. } => true,
            Self::Status { status, .. } => matches!(status, 408 | 500..=599),
            Self::TokenService { status, .. } => matches!(status, None | Some(408 | 500..=599)),
            _ => false,
        }
    }

    /// Returns whether it tells of the upstream's trouble, and nothing of the content asked for.
    pub const fn is_outage(&self) -> bool {
        match self {
            Self::Tls { .. } | Self::RateLimited { .. } | Self::TokenService { .. } => true,
            error => error.retryable(),
        }
    }

    /// True if upstream refuses these credentials; others may work.
    pub const fn is_refusal(&self) -> bool {
        matches!(self, Self::Unauthorized { .. } | Self::Forbidden { .. })
    }

    /// Returns whether it refuses the request as it was sent: another form of it may be taken.
    pub(super) const fn refuses_request(&self) -> bool {
        match self {
            Self::NotFound { .. } | Self::Unauthorized { .. } | Self::Forbidden { .. } => true,
            Self::Status { status, .. } => matches!(status, 400..=499 | 501) && *status != 408,
            _ => false,
        }
    }

    /// Returns whether the address that the upstream redirected to may have expired.
    pub(super) const fn may_be_an_expired_address(&self) -> bool {
        matches!(
            self,
            Self::NotFound { .. } | Self::Forbidden { .. } | Self::Status { status: 400 | 401 | 403 | 404 | 410, .. }
        )
    }

    /// The words of the upstream itself, where it sent any.
    pub const fn said(&self) -> Option<&Said> {
        match self {
            Self::Unauthorized { said, .. } | Self::Forbidden { said, .. } | Self::Status { said, .. } => Some(said),
            _ => None,
        }
    }

    /// The HTTP status that was answered, where one was.
    pub const fn status(&self) -> Option<u16> {
        match self {
            Self::NotFound { .. } => Some(404),
            Self::Unauthorized { .. } => Some(401),
            Self::Forbidden { .. } => Some(403),
            Self::RateLimited { .. } => Some(429),
            Self::Status { status, .. } => Some(*status),
            Self::TokenService { status, .. } => *status,
            _ => None,
        }
    }

    /// Returns the wait that upstream asked for.
    pub const fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::RateLimited { retry_after, .. }
            | Self::Status { retry_after, .. }
            | Self::TokenService { retry_after, .. } => *retry_after,
            Self::CircuitOpen { retry_after, .. } => Some(*retry_after),
            _ => None,
        }
    }

    /// Returns the report of a tag whose check ended with this error.
    pub const fn tag_outcome(&self) -> TagOutcome {
        match self {
            Self::NotFound { .. } => TagOutcome::NotFound,
            Self::Unauthorized { .. } => TagOutcome::Refused { status: 401 },
            Self::Forbidden { .. } => TagOutcome::Refused { status: 403 },
            Self::RateLimited { retry_after, .. } | Self::TokenService { status: Some(429), retry_after, .. } => {
                TagOutcome::RateLimited { retry_after: *retry_after }
            }
            _ => TagOutcome::Unavailable { kind: self.kind(), retry_after: self.retry_after() },
        }
    }
}

/// The cause that names what happened; the errors around it only say that something did.
fn innermost<'a>(error: &'a (dyn Error + 'static)) -> &'a (dyn Error + 'static) {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error
}

/// Checks whether TLS failed, also inside of I/O errors, whose source is that of the error that they wrap.
fn is_tls(error: &(dyn Error + 'static)) -> bool {
    let wrapped = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
    error.is::<rustls::Error>() || wrapped.is_some_and(|inner| is_tls(inner)) || error.source().is_some_and(is_tls)
}
