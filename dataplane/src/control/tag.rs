//! The decisions on a pull by tag. The rules are the control plane's; these are its answers.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use roadstead_proto::Digest;
use tokio::time::Instant;

use super::{GroupPolicy, Link, Unlinked};

/// The decision on a pull by tag, before upstream is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TagResolution {
    /// Serve without asking upstream.
    Serve(ServeManifest),
    /// Ask upstream by HEAD, then report.
    Revalidate {
        /// The manifest that is cached for the tag, if one is.
        cached: Option<Digest>,
    },
    /// Fetch this digest, whatever the tag means upstream: it is pinned, and not cached.
    Fetch(Digest),
    /// Refuse.
    Refuse(Refused),
}

/// The decision after upstream was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TagVerdict {
    /// Serve this.
    Serve(ServeManifest),
    /// Fetch, record, serve: this digest, or without one what upstream said that the tag means.
    Fetch(Option<Digest>),
    /// Refuse.
    Refuse(Refused),
}

/// A manifest to serve for a tag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServeManifest {
    /// The group's link to it.
    pub manifest: Arc<Link>,
    /// Time since upstream last confirmed the tag.
    pub age: Duration,
    /// Set where the tag could not be checked.
    pub stale: Option<StaleReason>,
}

/// The additions to an answer about a tag, to be remembered.
#[derive(Clone, Debug)]
pub(crate) struct Brought {
    /// The group's links to what the manifest refers to.
    pub(crate) referenced: Vec<Arc<Link>>,
    /// Content that the manifest refers to, without a link; empty where that was not told.
    pub(crate) unlinked: Vec<Unlinked>,
    /// The group's link epoch at which all of it was read.
    pub(crate) link_epoch: i64,
    /// Time for which the tag is served without the control plane's word.
    pub(crate) good_for: Duration,
    /// Time for which this decision is repeated without a call.
    pub(crate) fresh_for: Duration,
}

/// The digest that the control plane last resolved a tag to.
#[derive(Clone, Debug)]
pub(crate) struct Remembered {
    pub(crate) manifest: Arc<Link>,
    /// The group's link epoch then.
    pub(crate) link_epoch: i64,
    /// When upstream confirmed it.
    pub(crate) confirmed_at: SystemTime,
    /// Until when it may be served without the control plane's word.
    pub(crate) good_until: SystemTime,
    /// Until when it is served without asking, where that was told to this process.
    pub(crate) fresh: Option<Fresh>,
}

/// A decision that holds for a while, unless the watch tells something of the group.
#[derive(Clone, Debug)]
pub(crate) struct Fresh {
    /// The group when the decision was asked for. Any change of it, a pin or a freeze or a purge, voids the decision.
    pub(crate) group: Arc<GroupPolicy>,
    /// When the decision expires.
    pub(crate) until: Instant,
}

/// The reason for which a tag is served without a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StaleReason {
    /// Upstream could not be reached, or answered too late, or with an error.
    UpstreamUnavailable,
    /// Upstream's pull limit is reached.
    RateLimited,
    /// The group is frozen.
    Frozen,
    /// Little is left of the pull limit.
    Reserve,
    /// Upstream has the tag no more, and the group keeps it.
    Missing,
    /// The tag moved upstream, and the group does not follow yet.
    Cooldown,
    /// The control plane cannot be asked, so that nobody says whether the tag may be asked for upstream.
    ControlUnavailable,
}

impl StaleReason {
    /// True if a needed request could not be made.
    pub const fn is_trouble(self) -> bool {
        matches!(self, Self::UpstreamUnavailable | Self::RateLimited | Self::ControlUnavailable)
    }

    /// The reason in a sentence, where no request failed that says more.
    pub const fn cause(self) -> &'static str {
        match self {
            Self::UpstreamUnavailable => "the upstream was unavailable a moment ago, and is not asked again yet",
            Self::RateLimited => "the upstream's pull limit is reached, or it asked for a pause",
            Self::Frozen => "the group is frozen",
            Self::Reserve => "the rest of the upstream's pull limit is kept for content that is not cached",
            Self::Missing => "the upstream has no such tag any more, and the group keeps it",
            Self::Cooldown => "the tag moved upstream, and the group waits before it follows",
            Self::ControlUnavailable => "the control plane is unavailable",
        }
    }

    /// A stable word for logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::UpstreamUnavailable => "upstream_unavailable",
            Self::RateLimited => "rate_limited",
            Self::Frozen => "frozen",
            Self::Reserve => "reserve",
            Self::Missing => "missing",
            Self::Cooldown => "cooldown",
            Self::ControlUnavailable => "control_unavailable",
        }
    }
}

/// A pull that is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// The reason.
    pub reason: RefusalReason,
    /// For whoever reads the answer.
    pub message: String,
    /// The wait that upstream asked for.
    pub retry_after: Option<Duration>,
}

impl Refused {
    /// True if this cache's rules refuse it, and not upstream.
    pub const fn is_ours(&self) -> bool {
        use RefusalReason::{Denied, Frozen, GroupUnavailable, TooStale};
        matches!(self.reason, TooStale | Frozen | GroupUnavailable | Denied)
    }
}

/// The reason for which a pull is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefusalReason {
    /// Upstream says that it has no such tag or repository.
    NotFound,
    /// Upstream refuses the group's credentials, or wants some.
    UpstreamUnauthorized,
    /// Upstream forbids it.
    UpstreamForbidden,
    /// Upstream's pull limit is reached and nothing is cached.
    RateLimited,
    /// Upstream cannot be asked and nothing is cached.
    UpstreamUnavailable,
    /// The group is frozen and this is not cached.
    Frozen,
    /// The group is gone or switched off.
    GroupUnavailable,
    /// It is cached, but upstream has not confirmed it for longer than the group allows.
    TooStale,
    /// The group's rules do not let this image be pulled.
    Denied,
}

/// The outcome of asking upstream for a tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TagOutcome {
    /// Upstream has the tag, and this is what it means there now.
    Found(Digest),
    /// Upstream says that it has no such tag or repository.
    NotFound,
    /// Upstream refuses, with a token as fresh as can be had.
    Refused {
        /// 401 or 403.
        status: u16,
    },
    /// Upstream's pull limit is reached.
    RateLimited {
        /// The wait that it asked for.
        retry_after: Option<Duration>,
    },
    /// Upstream could not be asked, or gave no usable answer.
    Unavailable {
        /// A stable word for logs.
        kind: &'static str,
        /// The wait that it asked for.
        retry_after: Option<Duration>,
    },
}
