//! The trail of a request on the registry port: who asks for what, and what became of it. Its end is the end of the answer's
//! body, however that ends; then it is written to the access log.
//!
//! Nothing here allocates for a request that is not written anywhere: a trail holds shared texts, and is part of the body.

mod line;

use std::{
    fmt,
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use http::{HeaderValue, Method};
use roadstead_proto::{Digest, GroupPath, ImageName, Reference, UpstreamHost};

use crate::{
    access::authenticate::Caller,
    cache_status::CacheStatus,
    route::{Resource, Route, RouteError},
};

/// The status in the log of a request whose client left before the answer. No answer carries it; web servers log it, too.
const CLIENT_LEFT: u16 = 499;

/// Which requests the access log has a line for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AccessLog {
    /// None.
    Off,
    /// Refused and failed requests, and answers that could not be confirmed. An answer that only tells a client without a
    /// token where to sign in does not count.
    #[default]
    Errors,
    /// These, and every pull of a manifest or blob.
    Pulls,
    /// Every request.
    All,
}

/// The caller, as far as it is known.
#[derive(Clone, Debug, Default)]
pub enum Who {
    /// Nobody whose credentials were good.
    #[default]
    Unknown,
    /// The bearer of a registry token.
    Bearer(Arc<Caller>),
    /// Somebody who has just signed in by this name; empty for anonymous callers.
    SignedIn(String),
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown => f.write_str("unknown"),
            Self::Bearer(caller) if caller.is_anonymous() => f.write_str("anonymous"),
            Self::SignedIn(name) if name.is_empty() => f.write_str("anonymous"),
            Self::Bearer(caller) => f.write_str(&caller.sub),
            Self::SignedIn(name) => f.write_str(name),
        }
    }
}

/// The image that is asked for.
#[derive(Clone, Debug)]
pub struct Subject {
    /// The group, by the path in the request.
    pub group: GroupPath,
    /// The image, as the request names it.
    pub image: ImageName,
    /// The manifest or blob; `None` where another part of the image is asked for.
    pub reference: Option<Reference>,
}

/// The request.
#[derive(Clone, Debug)]
struct Asked {
    method: Method,
    route: &'static str,
    client: Option<IpAddr>,
    started: Instant,
}

/// The content of an answer.
#[derive(Clone, Debug)]
pub struct Served {
    /// Its source.
    #[expect(dead_code, reason = "records of pulls will need it")]
    pub status: CacheStatus,
    /// Its digest.
    pub digest: Digest,
}

/// A flow's description of its answer.
#[derive(Clone, Debug, Default)]
pub struct Contents {
    /// The manifest or blob in it, or described by it.
    pub served: Option<Served>,
    /// The trouble for which it is not confirmed.
    pub trouble: Option<Arc<str>>,
}

/// The answer.
#[derive(Clone, Debug, Default)]
struct Answered {
    status: u16,
    cache: Option<HeaderValue>,
    served: Option<Served>,
    cause: Option<Arc<str>>,
    /// It only tells where to sign in.
    is_challenge: bool,
}

/// The trail of one request.
#[derive(Debug)]
pub struct Trail {
    log: AccessLog,
    asked: Asked,
    answered: Answered,
    /// The caller.
    pub who: Who,
    /// The image.
    pub subject: Option<Subject>,
    /// The upstream that the image is from.
    pub upstream: Option<UpstreamHost>,
}

impl Trail {
    /// Begins the trail of a request.
    pub fn begin(log: AccessLog, method: &Method, route: &Result<Route, RouteError>) -> Self {
        let subject = match route {
            Ok(Route::Image(image)) => Some(Subject {
                group: image.group.clone(),
                image: image.image.clone(),
                reference: reference_of(&image.resource),
            }),
            _ => None,
        };
        let route = route.as_ref().map_or("none", Route::label);
        let asked = Asked { method: method.clone(), route, client: None, started: Instant::now() };
        Self { log, asked, answered: Answered::default(), who: Who::Unknown, subject, upstream: None }
    }

    /// Notes the address that the request came from.
    pub fn came_from(&mut self, client: Option<IpAddr>) {
        self.asked.client = client;
    }

    /// The route's name in metrics.
    pub const fn route(&self) -> &'static str {
        self.asked.route
    }

    /// True for a HEAD.
    pub fn is_head(&self) -> bool {
        self.asked.method == Method::HEAD
    }

    /// The time since the request began.
    pub fn elapsed(&self) -> Duration {
        self.asked.started.elapsed()
    }

    /// Notes the answer's status, what `X-Cache` says, and what is in the body.
    pub fn answered(&mut self, status: u16, cache: Option<&HeaderValue>, contents: Contents) {
        self.answered.status = status;
        self.answered.cache = cache.cloned();
        if contents.trouble.is_some() {
            self.answered.cause = contents.trouble;
        }
        self.answered.served = contents.served;
    }

    /// Notes why the request was refused, or why it failed.
    pub fn failed(&mut self, cause: &str, is_challenge: bool) {
        self.answered.cause = Some(cause.into());
        self.answered.is_challenge = is_challenge;
    }

    /// Ends the trail with the bytes of the body that were sent. `broken` is the reason for which the body could not be sent to
    /// its end.
    pub fn end(mut self, bytes: u64, broken: Option<Broken>) {
        match &broken {
            Some(Broken::ByUs(cause)) => self.answered.cause = Some(cause.as_str().into()),
            Some(Broken::ByClient) if self.answered.status == 0 => {
                self.answered.status = CLIENT_LEFT;
                self.answered.cause = Some("the client left before the answer".into());
            }
            Some(Broken::ByClient) => self.answered.cause = Some("the client left before the end of the body".into()),
            None => {}
        }
        if self.is_written(matches!(broken, Some(Broken::ByUs(_)))) {
            line::write(&self, bytes);
        }
    }

    fn is_pull(&self) -> bool {
        matches!(self.asked.route, "manifest" | "blob")
    }

    fn is_written(&self, is_broken: bool) -> bool {
        let is_stale = || self.answered.cache.as_ref().is_some_and(|cache| cache == CacheStatus::Stale.as_str());
        let is_error = || {
            let is_refused = self.answered.status >= 400 && self.answered.status != CLIENT_LEFT;
            is_broken || (is_refused && !self.answered.is_challenge) || is_stale()
        };
        match self.log {
            AccessLog::Off => false,
            AccessLog::Errors => is_error(),
            AccessLog::Pulls => (self.is_pull() && !self.answered.is_challenge) || is_error(),
            AccessLog::All => true,
        }
    }
}

/// The end of a body before its time.
#[derive(Debug)]
pub enum Broken {
    /// It could not be sent, for this reason.
    ByUs(String),
    /// The client did not wait for it.
    ByClient,
}

fn reference_of(resource: &Resource) -> Option<Reference> {
    match resource {
        Resource::Manifest(reference) => Some(reference.clone()),
        Resource::Blob(digest) | Resource::Referrers { subject: digest, .. } => Some(Reference::Digest(*digest)),
        Resource::Tags(_) => None,
    }
}

#[cfg(test)]
mod tests;
