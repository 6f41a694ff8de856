//! Authentication and authorization, by the watched snapshot alone, before any flow runs. The module makes no HTTP
//! answers: `respond` turns an [`AccessError`] into one.

pub mod authenticate;
pub mod authorize;

use std::{sync::Arc, time::Duration};

use http::request::Parts;
use roadstead_proto::{GroupPath, ImageRefused, UpstreamHost};

use crate::route::Route;

/// A request whose route is known.
#[derive(Debug)]
pub struct Routed {
    /// Its route.
    pub route: Route,
    /// GET or HEAD.
    pub read: Read,
    /// Its headers and URI.
    pub head: Parts,
}

/// The part of the answer that is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Read {
    /// Headers and body.
    Get,
    /// Headers only.
    Head,
}

/// A refusal before any flow runs.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AccessError {
    /// The request has no registry token.
    #[error("authentication is required; run docker login")]
    TokenMissing,
    /// There is one that is not, or no longer, good.
    #[error("the token is invalid or has expired; sign in again")]
    TokenInvalid,
    /// The token is not good for this image; the client may get another.
    #[error("this token does not allow pulls of {0}")]
    InsufficientScope(Arc<str>),
    /// The snapshot is older than `--max-control-outage`.
    #[error("this node has lost its control plane for {} s; pulls are refused", .0.as_secs())]
    ControlOutage(Duration),
    /// The group has been deleted.
    #[error("the group no longer exists")]
    GroupGone,
    /// The group is switched off.
    #[error("pulls are switched off for group {0}")]
    GroupDisabled(GroupPath),
    /// The group has no upstream.
    #[error("group {0} has no upstream to pull from")]
    NoDefaultUpstream(GroupPath),
    /// The group may not use the upstream, or the upstream does not exist.
    #[error("group {0} may not pull from {1}")]
    UpstreamDenied(GroupPath, UpstreamHost),
    /// The group's rules deny the image.
    #[error(transparent)]
    ImageDenied(#[from] ImageRefused),
}

impl AccessError {
    /// The `error` that a Bearer challenge names (RFC 6750, section 3.1); `None` where signing in again does not help.
    pub const fn challenge_error(&self) -> Option<Option<&'static str>> {
        match self {
            Self::TokenMissing => Some(None),
            Self::TokenInvalid => Some(Some("invalid_token")),
            Self::InsufficientScope(_) => Some(Some("insufficient_scope")),
            _ => None,
        }
    }
}
