//! The freshness of tags: whether one may be served, upstream must be asked, or the pull is refused.
//!
//! One rule over what is known of the tag, its policy, how upstream is doing or what it said, and the time. It
//! guarantees that
//! - upstream is never asked for a group that is frozen or disabled, an image that is denied, or a tag that is pinned,
//!   or
//!   immutable and cached;
//! - without a check, a tag is served only within `max_age` of upstream's last word that allows it;
//! - what cannot be checked, or must not be fetched for the pull limit's sake, is served only within `max_stale` of
//!   that word;
//! - trouble upstream never refuses a tag that is cached for less long, and never passes it off as fresh;
//! - a new meaning is not followed before it has been known for the cooldown, while an old one can be served;
//! - upstream's word (404 unless the group keeps such tags, 401, 403) is not overruled by the cache.
//!
//! A freeze and `keep` are the group's own wish and have no end; cooldown protects what is cached: a tag of which
//! nothing can be served is followed at once. Messages and storage are left to the caller.

mod facts;

use roadstead_proto::{Digest, StaleReason};

use crate::rules::tags::limits::MAX_MAX_STALE_MS;

pub use self::facts::{Observation, Outcome, Pin, TagFacts, TagPolicy, TagRecord, UpstreamSaid, UpstreamState};

/// Precision of the time of a confirmation where every pull asks, in milliseconds: so that a tag that many pull is not
/// written at each pull. Such a tag looks older than it is by at most this.
const PRECISION_MS: i64 = 5000;

/// Longest that a node decides about a tag without asking, in milliseconds.
const MAX_FRESH_MS: i64 = 60 * 60 * 1000;

/// The reason for refusing a pull.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Upstream has no such tag.
    NotFound,
    /// Upstream wants (other) credentials.
    UpstreamUnauthorized,
    /// Upstream forbids it.
    UpstreamForbidden,
    /// Upstream's limit is reached and nothing is cached.
    RateLimited,
    /// Upstream cannot be asked and nothing is cached.
    UpstreamUnavailable,
    /// It is cached, but was not confirmed for longer than the group allows.
    TooStale {
        /// For how long not, in milliseconds.
        age_ms: i64,
        /// The limit that the group sets, in milliseconds.
        max_stale_ms: i64,
    },
    /// The group is frozen and this is not cached.
    Frozen,
    /// The group is switched off.
    GroupDisabled,
    /// The group's rules do not let the image be pulled.
    Denied,
}

/// The decision about a pull.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Serve the cached manifest.
    Serve {
        /// The manifest.
        digest: Digest,
        /// Since upstream last confirmed it (of a pin: since it was pinned), in milliseconds.
        age_ms: i64,
        /// The reason for serving it although upstream does not confirm it.
        stale: Option<StaleReason>,
    },
    /// Ask upstream by HEAD.
    Revalidate {
        /// The cached manifest, if there is one.
        cached: Option<Digest>,
    },
    /// Fetch.
    Fetch {
        /// Only this; `None` means what the tag means upstream.
        digest: Option<Digest>,
    },
    /// Refuse.
    Refuse {
        /// The cause.
        reason: Refusal,
        /// Seconds to wait; 0 if not known.
        retry_after_seconds: i64,
    },
}

/// The change of the tag's record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordChange {
    /// It stays as it is.
    Keep,
    /// It becomes this.
    Put(TagRecord),
    /// It goes.
    Drop,
}

/// A pull by tag, before upstream is asked.
pub fn resolve(policy: TagPolicy, tag: &TagFacts, upstream: UpstreamState, now_ms: i64) -> Decision {
    if let Some(decision) = without_upstream(policy, tag, upstream, now_ms) {
        return decision;
    }
    let record = &tag.record;
    if let Some(cached) = record.cached
        // A clock that was set back makes ages negative: such a check counts as old.
        && (0..policy.max_age_ms).contains(&(now_ms - record.checked_at_ms))
    {
        let stale = match record.seen {
            None => Some(StaleReason::Missing),
            Some(seen) if seen.digest != cached.digest => Some(StaleReason::Cooldown),
            Some(_) => None,
        };
        return serve(cached, now_ms, stale);
    }
    if let Some(wait) = upstream.pause_seconds(now_ms) {
        return serve_or_refuse(policy, record, now_ms, StaleReason::RateLimited, Refusal::RateLimited, wait);
    }
    let hold_back = upstream.below_reserve && upstream.heads_count;
    let held = record.cached.filter(|_| hold_back && stale_for(record, now_ms) < policy.max_stale_ms);
    match held {
        Some(cached) => serve(cached, now_ms, Some(StaleReason::Reserve)),
        None => Decision::Revalidate { cached: record.cached.map(|cached| cached.digest) },
    }
}

/// A pull by tag, after upstream was asked.
pub fn report(
    policy: TagPolicy,
    tag: &TagFacts,
    upstream: UpstreamState,
    outcome: Outcome,
    now_ms: i64,
) -> (Decision, RecordChange) {
    if let Some(decision) = without_upstream(policy, tag, upstream, now_ms) {
        // Settled while upstream was being asked: what it said is not used.
        return (decision, RecordChange::Keep);
    }
    let record = &tag.record;
    let unchanged = |decision| (decision, RecordChange::Keep);
    match outcome {
        Outcome::Found { digest, linked, first_seen_ms } => {
            let seen = Observation { digest, at_ms: now_ms };
            if let Some(old) = held_by_cooldown(policy, tag, digest, first_seen_ms, now_ms) {
                let record = TagRecord { cached: Some(old), seen: Some(seen), checked_at_ms: now_ms };
                return (serve(old, now_ms, Some(StaleReason::Cooldown)), RecordChange::Put(record));
            }
            if linked { confirmed(policy, record, seen) } else { not_here(policy, record, upstream, seen) }
        }
        Outcome::NotFound => match record.cached {
            Some(cached) if policy.keep_missing => {
                let record = TagRecord { cached: Some(cached), seen: None, checked_at_ms: now_ms };
                (serve(cached, now_ms, Some(StaleReason::Missing)), RecordChange::Put(record))
            }
            _ => (refuse(Refusal::NotFound, 0), RecordChange::Drop),
        },
        Outcome::Unauthorized => unchanged(refuse(Refusal::UpstreamUnauthorized, 0)),
        Outcome::Forbidden => unchanged(refuse(Refusal::UpstreamForbidden, 0)),
        Outcome::RateLimited { retry_after_seconds: wait } => {
            unchanged(serve_or_refuse(policy, record, now_ms, StaleReason::RateLimited, Refusal::RateLimited, wait))
        }
        Outcome::Unavailable { retry_after_seconds: wait } => {
            let (stale, refusal) = (StaleReason::UpstreamUnavailable, Refusal::UpstreamUnavailable);
            unchanged(serve_or_refuse(policy, record, now_ms, stale, refusal, wait))
        }
    }
}

/// Returns the change of a tag's record once the manifest that it last resolved to upstream can be served, whoever
/// fetched it.
pub fn promote(policy: TagPolicy, tag: &TagFacts, first_seen_ms: Option<i64>, now_ms: i64) -> RecordChange {
    let Some(seen) = tag.record.seen else { return RecordChange::Keep };
    let settled = policy.immutable && tag.record.cached.is_some();
    let held = held_by_cooldown(policy, tag, seen.digest, first_seen_ms, now_ms).is_some();
    if settled || held || tag.record.cached.is_some_and(|cached| cached.digest == seen.digest) {
        return RecordChange::Keep;
    }
    RecordChange::Put(TagRecord { cached: Some(seen), seen: Some(seen), checked_at_ms: seen.at_ms })
}

/// Longest time that from now a node may go by an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GoodFor {
    /// While the control plane is unavailable, in seconds.
    pub unconfirmed_seconds: i64,
    /// Without asking, in milliseconds; 0 where each pull asks. Within that time [`resolve`] comes to the same, unless the
    /// group's settings, the pin or the group's links change: nodes are told of such changes by the watch.
    pub fresh_ms: i64,
}

/// Returns how long a node may serve what the tag resolves to now.
pub fn good_for(policy: TagPolicy, tag: &TagFacts, now_ms: i64) -> GoodFor {
    GoodFor { unconfirmed_seconds: unconfirmed_seconds(policy, tag, now_ms), fresh_ms: fresh_ms(policy, tag, now_ms) }
}

fn fresh_ms(policy: TagPolicy, tag: &TagFacts, now_ms: i64) -> i64 {
    // A maintainer's word on one tag is looked up at each pull, so that a pin counts at once, as does its end.
    if !policy.enabled || !policy.allowed || policy.frozen || tag.pin.is_some() {
        return 0;
    }
    let Some(cached) = tag.record.cached else { return 0 };
    if policy.immutable {
        return MAX_FRESH_MS;
    }
    let age_ms = now_ms.saturating_sub(tag.record.checked_at_ms);
    let is_confirmed = tag.record.seen.is_some_and(|seen| seen.digest == cached.digest);
    if !is_confirmed || !(0..policy.max_age_ms).contains(&age_ms) {
        return 0;
    }
    (policy.max_age_ms - age_ms).min(MAX_FRESH_MS)
}

/// Returns for how long from now a node may serve the tag without asking anybody, in seconds: as long as it would be
/// served here while upstream is unavailable. A tag that needs no confirmation by upstream is served for as long as nodes
/// may serve without the control plane.
fn unconfirmed_seconds(policy: TagPolicy, tag: &TagFacts, now_ms: i64) -> i64 {
    if tag.pin.is_some() || policy.frozen || policy.immutable {
        return MAX_MAX_STALE_MS / 1000;
    }
    policy.max_stale_ms.saturating_sub(stale_for(&tag.record, now_ms)).max(0) / 1000
}

/// Returns the decisions that do not depend on upstream.
fn without_upstream(policy: TagPolicy, tag: &TagFacts, upstream: UpstreamState, now_ms: i64) -> Option<Decision> {
    if !policy.enabled {
        return Some(refuse(Refusal::GroupDisabled, 0));
    }
    if !policy.allowed {
        return Some(refuse(Refusal::Denied, 0));
    }
    if let Some(Pin { digest, linked, at_ms }) = tag.pin {
        return Some(match upstream.pause_seconds(now_ms) {
            _ if linked => serve(Observation { digest, at_ms }, now_ms, None),
            _ if policy.frozen => refuse(Refusal::Frozen, 0),
            Some(wait) => refuse(Refusal::RateLimited, wait),
            None => Decision::Fetch { digest: Some(digest) },
        });
    }
    match tag.record.cached {
        Some(cached) if policy.frozen => Some(serve(cached, now_ms, Some(StaleReason::Frozen))),
        None if policy.frozen => Some(refuse(Refusal::Frozen, 0)),
        Some(cached) if policy.immutable => Some(serve(cached, now_ms, None)),
        _ => None,
    }
}

/// The old meaning that is still to be served although the tag means `digest` upstream.
fn held_by_cooldown(
    policy: TagPolicy,
    tag: &TagFacts,
    digest: Digest,
    first_seen_ms: Option<i64>,
    now_ms: i64,
) -> Option<Observation> {
    let known_for_ms = now_ms.saturating_sub(first_seen_ms.unwrap_or(now_ms));
    tag.record.cached.or(tag.older).filter(|old| old.digest != digest && known_for_ms < policy.cooldown_ms)
}

/// Upstream means what can be served.
fn confirmed(policy: TagPolicy, record: &TagRecord, seen: Observation) -> (Decision, RecordChange) {
    let means_it = |known: Option<Observation>| known.is_some_and(|known| known.digest == seen.digest);
    // With a max_age, a tag is asked for rarely, and the time must be right.
    let precision_ms = if policy.max_age_ms == 0 { PRECISION_MS.min(policy.max_stale_ms / 10) } else { 0 };
    let known = means_it(record.cached)
        && means_it(record.seen)
        && (0..precision_ms).contains(&(seen.at_ms - record.checked_at_ms));
    let change = if known {
        RecordChange::Keep
    } else {
        RecordChange::Put(TagRecord { cached: Some(seen), seen: Some(seen), checked_at_ms: seen.at_ms })
    };
    (serve(seen, seen.at_ms, None), change)
}

/// Upstream means what cannot be served: it is fetched, unless the pull limit forbids that.
fn not_here(
    policy: TagPolicy,
    record: &TagRecord,
    upstream: UpstreamState,
    seen: Observation,
) -> (Decision, RecordChange) {
    let now_ms = seen.at_ms;
    // The same digest cached but not linked any more cannot be served either.
    let cached = record.cached.filter(|cached| cached.digest != seen.digest);
    let record = TagRecord { cached, ..*record };
    let in_time = cached.filter(|_| stale_for(&record, now_ms) < policy.max_stale_ms);
    let decision = match (in_time, upstream.pause_seconds(now_ms)) {
        (_, Some(wait)) => {
            serve_or_refuse(policy, &record, now_ms, StaleReason::RateLimited, Refusal::RateLimited, wait)
        }
        (Some(cached), None) if upstream.below_reserve => serve(cached, now_ms, Some(StaleReason::Reserve)),
        _ => Decision::Fetch { digest: None },
    };
    (decision, RecordChange::Put(TagRecord { cached, seen: Some(seen), checked_at_ms: 0 }))
}

/// Since upstream's last word by which what is cached may be served, in milliseconds.
fn stale_for(record: &TagRecord, now_ms: i64) -> i64 {
    let word_ms = record.cached.map_or(0, |cached| cached.at_ms).max(record.checked_at_ms);
    now_ms.saturating_sub(word_ms).max(0)
}

fn serve(cached: Observation, now_ms: i64, stale: Option<StaleReason>) -> Decision {
    Decision::Serve { digest: cached.digest, age_ms: (now_ms - cached.at_ms).max(0), stale }
}

fn refuse(reason: Refusal, retry_after_seconds: i64) -> Decision {
    Decision::Refuse { reason, retry_after_seconds }
}

fn serve_or_refuse(
    policy: TagPolicy,
    record: &TagRecord,
    now_ms: i64,
    stale: StaleReason,
    otherwise: Refusal,
    retry_after_seconds: i64,
) -> Decision {
    let age_ms = stale_for(record, now_ms);
    match record.cached {
        Some(cached) if age_ms < policy.max_stale_ms => serve(cached, now_ms, Some(stale)),
        Some(_) => refuse(Refusal::TooStale { age_ms, max_stale_ms: policy.max_stale_ms }, retry_after_seconds),
        None => refuse(otherwise, retry_after_seconds),
    }
}

#[cfg(test)]
mod tests;
