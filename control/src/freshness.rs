//! What a tag means now: may it be served, must upstream be asked, or is the pull refused?
//!
//! One rule over the tag's record, the group's policy, what upstream said, and the time. It guarantees that
//! - a frozen or disabled group never has upstream asked;
//! - without a check, a tag is served only within `max_age` and only if nothing newer was seen upstream;
//! - trouble upstream never refuses a tag that is cached, and never passes it off as fresh;
//! - upstream's word (404, 401, 403) is not overruled by the cache.
//!
//! Messages and storage are left to the caller.

use roadstead_proto::Digest;

/// What a group's settings say of its tags.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TagPolicy {
    /// Whether pulls are possible at all.
    pub enabled: bool,
    /// Whether only what is cached is served.
    pub frozen: bool,
    /// How long a tag is served without asking upstream, in milliseconds.
    pub max_age_ms: i64,
}

/// What is known of a tag.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TagRecord {
    /// What can be served: a manifest the group has a link to.
    pub cached: Option<Sighting>,
    /// What upstream said last; may be something not cached yet.
    pub seen: Option<Sighting>,
}

/// A digest and when upstream last confirmed that the tag means it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sighting {
    /// The digest.
    pub digest: Digest,
    /// Milliseconds since 1970, UTC.
    pub at_ms: i64,
}

/// What came of asking upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It has the tag. `linked`: the group has a link to that manifest, so that it can be served.
    Found {
        /// What the tag means there.
        digest: Digest,
        /// Whether it can be served.
        linked: bool,
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

/// Why something is served that could not be checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stale {
    /// Upstream cannot be asked.
    UpstreamUnavailable,
    /// Upstream answered 429.
    RateLimited,
    /// The group is frozen.
    Frozen,
}

/// Why a pull is refused.
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
    /// The group is frozen and this is not cached.
    Frozen,
    /// The group is switched off.
    GroupDisabled,
}

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Serve the cached manifest.
    Serve {
        /// The manifest.
        digest: Digest,
        /// Since upstream last confirmed it, in milliseconds.
        age_ms: i64,
        /// Why it could not be checked, where it could not.
        stale: Option<Stale>,
    },
    /// Ask upstream by HEAD.
    Revalidate {
        /// What is cached, if anything.
        cached: Option<Digest>,
    },
    /// Fetch what upstream has.
    Fetch,
    /// Refuse.
    Refuse {
        /// Why.
        reason: Refusal,
        /// Seconds to wait; 0 if not known.
        retry_after_seconds: i64,
    },
}

/// What becomes of the tag's record.
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
pub fn resolve(policy: TagPolicy, tag: &TagRecord, now_ms: i64) -> Decision {
    if !policy.enabled {
        return refuse(Refusal::GroupDisabled, 0);
    }
    if policy.frozen {
        return serve_or_refuse(tag, now_ms, Stale::Frozen, Refusal::Frozen, 0);
    }
    match (tag.cached, tag.seen) {
        // A clock that was set back makes ages negative: such a sighting counts as old.
        (Some(cached), Some(seen))
            if cached.digest == seen.digest && (0..policy.max_age_ms).contains(&(now_ms - seen.at_ms)) =>
        {
            serve(cached, now_ms, None)
        }
        (cached, _) => Decision::Revalidate { cached: cached.map(|cached| cached.digest) },
    }
}

/// A pull by tag, after upstream was asked.
pub fn report(policy: TagPolicy, tag: &TagRecord, outcome: Outcome, now_ms: i64) -> (Decision, RecordChange) {
    if !policy.enabled || policy.frozen {
        // Switched while upstream was being asked: what it said is not used.
        return (resolve(policy, tag, now_ms), RecordChange::Keep);
    }
    let unchanged = |decision| (decision, RecordChange::Keep);
    match outcome {
        Outcome::Found { digest, linked: true } => {
            let sighting = Sighting { digest, at_ms: now_ms };
            let record = TagRecord { cached: Some(sighting), seen: Some(sighting) };
            (serve(sighting, now_ms, None), RecordChange::Put(record))
        }
        Outcome::Found { digest, linked: false } => {
            let seen = Some(Sighting { digest, at_ms: now_ms });
            // The same digest cached but not linked any more cannot be served either.
            let cached = tag.cached.filter(|cached| cached.digest != digest);
            (Decision::Fetch, RecordChange::Put(TagRecord { cached, seen }))
        }
        Outcome::NotFound => (refuse(Refusal::NotFound, 0), RecordChange::Drop),
        Outcome::Unauthorized => unchanged(refuse(Refusal::UpstreamUnauthorized, 0)),
        Outcome::Forbidden => unchanged(refuse(Refusal::UpstreamForbidden, 0)),
        Outcome::RateLimited { retry_after_seconds } => {
            unchanged(serve_or_refuse(tag, now_ms, Stale::RateLimited, Refusal::RateLimited, retry_after_seconds))
        }
        Outcome::Unavailable { retry_after_seconds } => unchanged(serve_or_refuse(
            tag,
            now_ms,
            Stale::UpstreamUnavailable,
            Refusal::UpstreamUnavailable,
            retry_after_seconds,
        )),
    }
}

fn serve(cached: Sighting, now_ms: i64, stale: Option<Stale>) -> Decision {
    Decision::Serve { digest: cached.digest, age_ms: (now_ms - cached.at_ms).max(0), stale }
}

fn refuse(reason: Refusal, retry_after_seconds: i64) -> Decision {
    Decision::Refuse { reason, retry_after_seconds }
}

fn serve_or_refuse(
    tag: &TagRecord,
    now_ms: i64,
    stale: Stale,
    otherwise: Refusal,
    retry_after_seconds: i64,
) -> Decision {
    match tag.cached {
        Some(cached) => serve(cached, now_ms, Some(stale)),
        None => refuse(otherwise, retry_after_seconds),
    }
}

#[cfg(test)]
#[path = "freshness_tests.rs"]
mod tests;
