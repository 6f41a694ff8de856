//! The source of an answer.

/// The source of an answer, as `X-Cache` and metrics name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CacheStatus {
    /// From the cache; upstream was not asked.
    Hit,
    /// From upstream; this request started it.
    Fill,
    /// From upstream; another request had started it.
    Join,
    /// From the cache, after upstream said that it is current.
    Revalidated,
    /// From upstream or from the store, after upstream said that the group may have it, for which it is new. Clients read
    /// `fill` in both cases: another group's content must not show.
    Proven,
    /// From a fill that another group or repository started. Clients read `fill` here, too.
    JoinedOther,
    /// From the cache; upstream could not be asked.
    Stale,
}

impl CacheStatus {
    /// The word in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Hit => "hit",
            Self::Fill => "fill",
            Self::Join | Self::JoinedOther => "join",
            Self::Revalidated | Self::Proven => "revalidated",
            Self::Stale => "stale",
        }
    }

    /// The word in `X-Cache`: what the client's own group knows.
    pub const fn shown(self) -> &'static str {
        match self {
            Self::Proven | Self::JoinedOther => Self::Fill.as_str(),
            _ => self.as_str(),
        }
    }

    /// Returns true if no content was fetched for it.
    pub const fn is_served_from_cache(self) -> bool {
        matches!(self, Self::Hit | Self::Revalidated | Self::Proven | Self::Stale)
    }
}
