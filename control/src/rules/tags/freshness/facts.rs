//! The input of the rule of freshness: a tag's policy, what is known of the tag, how its upstream is doing, and what
//! upstream said.

use roadstead_proto::Digest;

use crate::rules::tags::limits::DEFAULT_MAX_STALE_MS;

/// The policy of a group for one tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TagPolicy {
    /// True if pulls are possible at all.
    pub enabled: bool,
    /// True if the image may be pulled.
    pub allowed: bool,
    /// True if only what is cached is served.
    pub frozen: bool,
    /// Time for which the tag is served without asking upstream, in milliseconds.
    pub max_age_ms: i64,
    /// Longest time that it may be served while upstream cannot be asked, in milliseconds.
    pub max_stale_ms: i64,
    /// Time for which a new meaning must be known before it is followed, in milliseconds.
    pub cooldown_ms: i64,
    /// True if a tag that upstream has no more stays.
    pub keep_missing: bool,
    /// True if the tag never moves, so that once cached it needs no asking.
    pub immutable: bool,
}

impl Default for TagPolicy {
    /// A group without any settings of its own.
    fn default() -> Self {
        Self {
            enabled: true,
            allowed: true,
            frozen: false,
            max_age_ms: 0,
            max_stale_ms: DEFAULT_MAX_STALE_MS,
            cooldown_ms: 0,
            keep_missing: false,
            immutable: false,
        }
    }
}

/// A digest and when upstream last confirmed that the tag means it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Observation {
    /// The digest.
    pub digest: Digest,
    /// Milliseconds since 1970, UTC.
    pub at_ms: i64,
}

/// The stored record of a tag.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TagRecord {
    /// The manifest that can be served: the group has a link to it.
    pub cached: Option<Observation>,
    /// The manifest that the tag last resolved to upstream, cached or not. `None` if upstream does not have the tag.
    pub seen: Option<Observation>,
    /// When upstream last said something by which `cached` may be served; 0 if it has said otherwise since.
    pub checked_at_ms: i64,
}

/// A maintainer's word that a tag means a digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pin {
    /// The digest.
    pub digest: Digest,
    /// True if the group has a link to it, so that it can be served.
    pub linked: bool,
    /// Since when.
    pub at_ms: i64,
}

/// All that is known of a tag.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TagFacts {
    /// The stored record.
    pub record: TagRecord,
    /// The pin.
    pub pin: Option<Pin>,
    /// Of what the tag meant before, the last that can be served. Matters where nothing is cached: that a tag was away
    /// for a moment must not cut a cooldown short.
    pub older: Option<Observation>,
}

/// The state of an upstream for the group's credentials.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UpstreamState {
    /// Nothing must be asked until then, because it answered 429; 0 if it did not.
    pub paused_until_ms: i64,
    /// True if so little is left of the pull limit that cached tags are not fetched anew.
    pub below_reserve: bool,
    /// True if a HEAD may count as a pull.
    pub heads_count: bool,
}

impl UpstreamState {
    /// Seconds that the pause still lasts, if there is one.
    pub fn pause_seconds(&self, now_ms: i64) -> Option<i64> {
        let left_ms = self.paused_until_ms.saturating_sub(now_ms);
        (left_ms > 0).then(|| left_ms.saturating_add(999) / 1000)
    }
}

/// The outcome of asking upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It has the tag.
    Found {
        /// The manifest that the tag resolves to there.
        digest: Digest,
        /// True if the group has a link to that manifest, so that it can be served.
        linked: bool,
        /// When the tag was first seen to mean that; `None` if never before.
        first_seen_ms: Option<i64>,
    },
    /// It has no such tag.
    NotFound,
    /// It wants (other) credentials: 401.
    Unauthorized,
    /// It forbids the pull: 403.
    Forbidden,
    /// Its pull limit is reached: 429.
    RateLimited {
        /// Seconds to wait; 0 if not said.
        retry_after_seconds: i64,
    },
    /// It cannot be asked, or gives no usable answer.
    Unavailable {
        /// Seconds to wait; 0 if not said.
        retry_after_seconds: i64,
    },
}

/// The answer of upstream, before the group's links are looked up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UpstreamSaid {
    /// It has the tag, with this digest.
    Found(Digest),
    /// Anything else.
    Other(Outcome),
}
