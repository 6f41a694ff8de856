//! The words for what is done about a pull by tag.

use super::words;
use crate::node::v1;

words! {
    /// The reason for which a tag is served although upstream has not confirmed it now.
    StaleReason, v1::StaleReason, "reason for serving a stale tag" {
        /// Upstream was unreachable, answered too late, or answered with an error.
        UpstreamUnavailable = "upstream_unavailable",
        /// Upstream's pull limit is reached.
        RateLimited = "rate_limited",
        /// The group is frozen.
        Frozen = "frozen",
        /// Little is left of the pull limit, and it is reserved for content that is not cached.
        Reserve = "reserve",
        /// Upstream no longer has the tag, and the group keeps it.
        Missing = "missing",
        /// The tag moved upstream, and the group's cooldown has not passed.
        Cooldown = "cooldown",
        /// The control plane is unavailable, so that nothing decides whether upstream may be asked.
        ControlUnavailable = "control_unavailable",
    }
}

impl StaleReason {
    /// True if a needed request could not be made.
    pub const fn is_trouble(self) -> bool {
        matches!(self, Self::UpstreamUnavailable | Self::RateLimited | Self::ControlUnavailable)
    }
}

words! {
    /// The reason for which a pull is refused.
    RefusalReason, v1::RefusalReason, "reason for a refusal" {
        /// Upstream says that it has no such tag or repository.
        NotFound = "not_found",
        /// Upstream denied access: the group's credentials are missing or wrong.
        UpstreamUnauthorized = "upstream_unauthorized",
        /// Upstream forbids it.
        UpstreamForbidden = "upstream_forbidden",
        /// Upstream's pull limit is reached and nothing is cached.
        RateLimited = "rate_limited",
        /// Upstream is unavailable and nothing is cached.
        UpstreamUnavailable = "upstream_unavailable",
        /// The group is frozen and this is not cached.
        Frozen = "frozen",
        /// The group has been deleted or disabled.
        GroupUnavailable = "group_unavailable",
        /// It is cached, but upstream has not confirmed it for longer than the group allows.
        TooStale = "too_stale",
        /// The group's rules do not allow this image.
        Denied = "denied",
    }
}
