use roadstead_proto::Algorithm;

use super::*;

mod properties;

const NOW: i64 = 1_000_000_000;
const MAX_STALE: i64 = 600_000;
const PAUSED: UpstreamState = UpstreamState { paused_until_ms: NOW + 6_500, below_reserve: false, heads_count: false };
const LOW: UpstreamState = UpstreamState { paused_until_ms: 0, below_reserve: true, heads_count: false };
const FINE: UpstreamState = UpstreamState { paused_until_ms: 0, below_reserve: false, heads_count: false };

fn digest(n: u8) -> Digest {
    Digest::of(Algorithm::Sha256, &[n])
}

fn at(n: u8, at_ms: i64) -> Option<Observation> {
    Some(Observation { digest: digest(n), at_ms })
}

fn base() -> TagPolicy {
    TagPolicy { max_stale_ms: MAX_STALE, ..TagPolicy::default() }
}

fn max_age(max_age_ms: i64) -> TagPolicy {
    TagPolicy { max_age_ms, ..base() }
}

fn known(cached: Option<Observation>, seen: Option<Observation>, checked_at_ms: i64) -> TagFacts {
    TagFacts { record: TagRecord { cached, seen, checked_at_ms }, ..TagFacts::default() }
}

/// Confirmed so many milliseconds ago.
fn checked_ago(age_ms: i64) -> TagFacts {
    known(at(1, NOW - age_ms), at(1, NOW - age_ms), NOW - age_ms)
}

fn pinned(n: u8, linked: bool) -> TagFacts {
    TagFacts { pin: Some(Pin { digest: digest(n), linked, at_ms: NOW - 40 }), ..checked_ago(500) }
}

fn serve(n: u8, age_ms: i64, stale: Option<StaleReason>) -> Decision {
    Decision::Serve { digest: digest(n), age_ms, stale }
}

fn refused(reason: Refusal, retry_after_seconds: i64) -> Decision {
    Decision::Refuse { reason, retry_after_seconds }
}

#[test]
fn before_upstream_is_asked() {
    let frozen = TagPolicy { frozen: true, ..base() };
    let off = TagPolicy { enabled: false, frozen: true, ..max_age(1000) };
    let denied = TagPolicy { allowed: false, frozen: true, ..max_age(1000) };
    let immutable = TagPolicy { immutable: true, ..base() };
    let unknown = TagFacts::default();
    let moved = known(at(1, NOW - 500), at(2, NOW - 100), 0);
    let held = known(at(1, NOW - 500), at(2, NOW - 100), NOW - 100);
    let missing = known(at(1, NOW - 500), None, NOW - 100);
    let old = checked_ago(MAX_STALE);
    let ask = |n: Option<u8>| Decision::Revalidate { cached: n.map(digest) };
    let too_stale = |wait| refused(Refusal::TooStale { age_ms: MAX_STALE, max_stale_ms: MAX_STALE }, wait);
    let heads_count = UpstreamState { heads_count: true, ..LOW };
    for (name, policy, tag, upstream, expected) in [
        ("nothing known", base(), unknown, FINE, ask(None)),
        ("asked every time by default", base(), checked_ago(500), FINE, ask(Some(1))),
        ("within max_age", max_age(501), checked_ago(500), FINE, serve(1, 500, None)),
        ("at the end of max_age", max_age(500), checked_ago(500), FINE, ask(Some(1))),
        ("known to have moved", max_age(10_000), moved, FINE, ask(Some(1))),
        ("held within max_age", max_age(101), held, FINE, serve(1, 500, Some(StaleReason::Cooldown))),
        ("kept within max_age", max_age(101), missing, FINE, serve(1, 500, Some(StaleReason::Missing))),
        ("confirmed in the future", max_age(10_000), checked_ago(-1), FINE, ask(Some(1))),
        ("frozen, cached", frozen, checked_ago(500), FINE, serve(1, 500, Some(StaleReason::Frozen))),
        ("frozen, old", frozen, old, FINE, serve(1, MAX_STALE, Some(StaleReason::Frozen))),
        ("frozen, moved", frozen, moved, FINE, serve(1, 500, Some(StaleReason::Frozen))),
        ("frozen, not cached", frozen, unknown, FINE, refused(Refusal::Frozen, 0)),
        ("switched off", off, checked_ago(500), FINE, refused(Refusal::GroupDisabled, 0)),
        ("denied", denied, checked_ago(500), FINE, refused(Refusal::Denied, 0)),
        ("denied, pinned", denied, pinned(2, true), FINE, refused(Refusal::Denied, 0)),
        ("immutable, old", immutable, old, PAUSED, serve(1, MAX_STALE, None)),
        ("immutable, not cached", immutable, unknown, FINE, ask(None)),
        ("pinned", base(), pinned(2, true), PAUSED, serve(2, 40, None)),
        ("pinned, frozen", frozen, pinned(2, true), FINE, serve(2, 40, None)),
        ("pinned, not cached", base(), pinned(2, false), LOW, Decision::Fetch { digest: Some(digest(2)) }),
        ("pinned, not cached, frozen", frozen, pinned(2, false), FINE, refused(Refusal::Frozen, 0)),
        ("pinned, not cached, paused", base(), pinned(2, false), PAUSED, refused(Refusal::RateLimited, 7)),
        ("paused, cached", base(), checked_ago(500), PAUSED, serve(1, 500, Some(StaleReason::RateLimited))),
        ("paused, within max_age", max_age(501), checked_ago(500), PAUSED, serve(1, 500, None)),
        ("paused, too old", base(), old, PAUSED, too_stale(7)),
        (
            "paused, held lately",
            base(),
            known(at(1, 0), at(2, 5), NOW - 9),
            PAUSED,
            serve(1, NOW, Some(StaleReason::RateLimited)),
        ),
        ("paused, not cached", base(), unknown, PAUSED, refused(Refusal::RateLimited, 7)),
        ("low, HEADs are free", base(), checked_ago(500), LOW, ask(Some(1))),
        ("low, HEADs count", base(), checked_ago(500), heads_count, serve(1, 500, Some(StaleReason::Reserve))),
        ("low, HEADs count, too old", base(), old, heads_count, ask(Some(1))),
        ("low, not cached", base(), unknown, heads_count, ask(None)),
    ] {
        assert_eq!(resolve(policy, &tag, upstream, NOW), expected, "{name}");
    }
}

#[test]
fn after_upstream_was_asked() {
    let frozen = TagPolicy { frozen: true, ..base() };
    let keep_missing = TagPolicy { keep_missing: true, ..base() };
    let cooldown = TagPolicy { cooldown_ms: 1000, ..base() };
    let immutable = TagPolicy { immutable: true, ..base() };
    let age = 50_000;
    let (cached, old, unknown) = (checked_ago(age), checked_ago(MAX_STALE), TagFacts::default());
    let back = TagFacts { older: at(3, NOW - 9000), ..unknown };
    let seen = |n, linked, first_seen_ms| Outcome::Found { digest: digest(n), linked, first_seen_ms };
    let found = |n, linked| seen(n, linked, None);
    let wait = |reason| refused(reason, 7);
    let keep = RecordChange::Keep;
    let put = |cached, seen, checked_at_ms| RecordChange::Put(TagRecord { cached, seen, checked_at_ms });
    let fresh = |n| put(at(n, NOW), at(n, NOW), NOW);
    let limited = Outcome::RateLimited { retry_after_seconds: 7 };
    let down = Outcome::Unavailable { retry_after_seconds: 7 };
    let fetch = Decision::Fetch { digest: None };
    let too_stale = wait(Refusal::TooStale { age_ms: MAX_STALE, max_stale_ms: MAX_STALE });
    let moved = put(at(1, NOW - age), at(2, NOW), 0);
    let held = put(at(1, NOW - age), at(2, NOW), NOW);
    for (name, policy, tag, upstream, outcome, expected, change) in [
        ("unchanged", base(), cached, FINE, found(1, true), serve(1, 0, None), fresh(1)),
        ("unchanged, low", base(), cached, LOW, found(1, true), serve(1, 0, None), fresh(1)),
        ("unchanged, a moment ago", base(), checked_ago(4999), FINE, found(1, true), serve(1, 0, None), keep),
        ("the same with max_age", max_age(10), checked_ago(4999), FINE, found(1, true), serve(1, 0, None), fresh(1)),
        (
            "unchanged, known as moved",
            base(),
            known(at(1, NOW), at(2, NOW), 0),
            FINE,
            found(1, true),
            serve(1, 0, None),
            fresh(1),
        ),
        ("moved to what the group has", base(), cached, FINE, found(2, true), serve(2, 0, None), fresh(2)),
        ("moved to what is not here", base(), cached, FINE, found(2, false), fetch, moved),
        ("the link was purged meanwhile", base(), cached, FINE, found(1, false), fetch, put(None, at(1, NOW), 0)),
        ("moved, low", base(), cached, LOW, found(2, false), serve(1, age, Some(StaleReason::Reserve)), moved),
        ("moved, low, too old", base(), old, LOW, found(2, false), fetch, put(at(1, NOW - MAX_STALE), at(2, NOW), 0)),
        ("moved, low, but here", base(), cached, LOW, found(2, true), serve(2, 0, None), fresh(2)),
        ("first seen, low", base(), unknown, LOW, found(2, false), fetch, put(None, at(2, NOW), 0)),
        (
            "moved, paused",
            base(),
            cached,
            PAUSED,
            found(2, false),
            serve(1, age, Some(StaleReason::RateLimited)),
            moved,
        ),
        (
            "first seen, paused",
            base(),
            unknown,
            PAUSED,
            found(2, false),
            wait(Refusal::RateLimited),
            put(None, at(2, NOW), 0),
        ),
        ("moved, cooling", cooldown, cached, FINE, found(2, false), serve(1, age, Some(StaleReason::Cooldown)), held),
        (
            "moved, cooling, here",
            cooldown,
            cached,
            FINE,
            found(2, true),
            serve(1, age, Some(StaleReason::Cooldown)),
            held,
        ),
        (
            "almost cooled",
            cooldown,
            cached,
            FINE,
            seen(2, true, Some(NOW - 999)),
            serve(1, age, Some(StaleReason::Cooldown)),
            held,
        ),
        ("cooled, here", cooldown, cached, FINE, seen(2, true, Some(NOW - 1000)), serve(2, 0, None), fresh(2)),
        ("cooled, not here", cooldown, cached, FINE, seen(2, false, Some(NOW - 1000)), fetch, moved),
        ("cooling, first meaning", cooldown, unknown, FINE, found(2, false), fetch, put(None, at(2, NOW), 0)),
        (
            "away for a moment, and back with something new",
            cooldown,
            back,
            FINE,
            found(2, false),
            serve(3, 9000, Some(StaleReason::Cooldown)),
            put(at(3, NOW - 9000), at(2, NOW), NOW),
        ),
        ("gone", base(), cached, FINE, Outcome::NotFound, refused(Refusal::NotFound, 0), RecordChange::Drop),
        (
            "gone, kept",
            keep_missing,
            old,
            FINE,
            Outcome::NotFound,
            serve(1, MAX_STALE, Some(StaleReason::Missing)),
            put(at(1, NOW - MAX_STALE), None, NOW),
        ),
        (
            "never there, kept",
            keep_missing,
            unknown,
            FINE,
            Outcome::NotFound,
            refused(Refusal::NotFound, 0),
            RecordChange::Drop,
        ),
        ("401", base(), cached, FINE, Outcome::Unauthorized, refused(Refusal::UpstreamUnauthorized, 0), keep),
        ("403", base(), cached, FINE, Outcome::Forbidden, refused(Refusal::UpstreamForbidden, 0), keep),
        ("429, cached", base(), cached, FINE, limited, serve(1, age, Some(StaleReason::RateLimited)), keep),
        ("429, too old", base(), old, FINE, limited, too_stale, keep),
        ("429, not cached", base(), unknown, FINE, limited, wait(Refusal::RateLimited), keep),
        ("down, cached", base(), cached, FINE, down, serve(1, age, Some(StaleReason::UpstreamUnavailable)), keep),
        ("down, too old", base(), old, FINE, down, too_stale, keep),
        ("down, not cached", base(), unknown, FINE, down, wait(Refusal::UpstreamUnavailable), keep),
        ("frozen meanwhile", frozen, cached, FINE, Outcome::NotFound, serve(1, age, Some(StaleReason::Frozen)), keep),
        ("frozen meanwhile, not cached", frozen, unknown, FINE, found(1, false), refused(Refusal::Frozen, 0), keep),
        ("pinned meanwhile", base(), pinned(2, true), FINE, found(3, true), serve(2, 40, None), keep),
        ("immutable, cached meanwhile", immutable, cached, FINE, found(2, true), serve(1, age, None), keep),
    ] {
        assert_eq!(report(policy, &tag, upstream, outcome, NOW), (expected, change), "{name}");
    }
}

#[test]
fn what_was_seen_is_promoted_when_it_is_here_unless_it_cools() {
    let cooldown = TagPolicy { cooldown_ms: 1000, ..base() };
    let immutable = TagPolicy { immutable: true, ..base() };
    let (fresh, moved) = (known(None, at(2, NOW - 50), 0), known(at(1, NOW - 90), at(2, NOW - 50), 0));
    let put = RecordChange::Put(TagRecord { cached: at(2, NOW - 50), seen: at(2, NOW - 50), checked_at_ms: NOW - 50 });
    for (name, policy, tag, first_seen_ms, expected) in [
        ("first meaning", base(), fresh, None, put),
        ("moved", base(), moved, None, put),
        ("first meaning, cooldown", cooldown, fresh, Some(NOW - 50), put),
        ("moved, cooling", cooldown, moved, Some(NOW - 50), RecordChange::Keep),
        ("moved, cooled", cooldown, moved, Some(NOW - 1000), put),
        ("back, cooling", cooldown, TagFacts { older: at(3, 5), ..fresh }, Some(NOW - 50), RecordChange::Keep),
        ("immutable, cached", immutable, moved, None, RecordChange::Keep),
        ("immutable, not cached", immutable, fresh, None, put),
        ("already", base(), checked_ago(5), None, RecordChange::Keep),
        ("never seen", base(), known(at(1, 5), None, 5), None, RecordChange::Keep),
    ] {
        assert_eq!(promote(policy, &tag, first_seen_ms, NOW), expected, "{name}");
    }
}
