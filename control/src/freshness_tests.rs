use proptest::prelude::*;
use roadstead_proto::Algorithm;

use super::*;

const NOW: i64 = 1_000_000_000;
const MAX_STALE: i64 = 600_000;
const PAUSED: UpstreamState = UpstreamState { paused_until_ms: NOW + 6_500, below_reserve: false, heads_count: false };
const LOW: UpstreamState = UpstreamState { paused_until_ms: 0, below_reserve: true, heads_count: false };
const FINE: UpstreamState = UpstreamState { paused_until_ms: 0, below_reserve: false, heads_count: false };

fn digest(n: u8) -> Digest {
    Digest::of(Algorithm::Sha256, &[n])
}

fn at(n: u8, at_ms: i64) -> Option<Sighting> {
    Some(Sighting { digest: digest(n), at_ms })
}

fn base() -> TagPolicy {
    TagPolicy { max_stale_ms: MAX_STALE, ..TagPolicy::default() }
}

fn max_age(max_age_ms: i64) -> TagPolicy {
    TagPolicy { max_age_ms, ..base() }
}

fn known(cached: Option<Sighting>, seen: Option<Sighting>, checked_at_ms: i64) -> TagFacts {
    TagFacts { record: TagRecord { cached, seen, checked_at_ms }, ..TagFacts::default() }
}

/// Confirmed so many milliseconds ago.
fn checked_ago(age_ms: i64) -> TagFacts {
    known(at(1, NOW - age_ms), at(1, NOW - age_ms), NOW - age_ms)
}

fn pinned(n: u8, linked: bool) -> TagFacts {
    TagFacts { pin: Some(Pin { digest: digest(n), linked, at_ms: NOW - 40 }), ..checked_ago(500) }
}

fn serve(n: u8, age_ms: i64, stale: Option<Stale>) -> Decision {
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
        ("held within max_age", max_age(101), held, FINE, serve(1, 500, Some(Stale::Cooldown))),
        ("kept within max_age", max_age(101), missing, FINE, serve(1, 500, Some(Stale::Missing))),
        ("confirmed in the future", max_age(10_000), checked_ago(-1), FINE, ask(Some(1))),
        ("frozen, cached", frozen, checked_ago(500), FINE, serve(1, 500, Some(Stale::Frozen))),
        ("frozen, old", frozen, old, FINE, serve(1, MAX_STALE, Some(Stale::Frozen))),
        ("frozen, moved", frozen, moved, FINE, serve(1, 500, Some(Stale::Frozen))),
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
        ("paused, cached", base(), checked_ago(500), PAUSED, serve(1, 500, Some(Stale::RateLimited))),
        ("paused, within max_age", max_age(501), checked_ago(500), PAUSED, serve(1, 500, None)),
        ("paused, too old", base(), old, PAUSED, too_stale(7)),
        (
            "paused, held lately",
            base(),
            known(at(1, 0), at(2, 5), NOW - 9),
            PAUSED,
            serve(1, NOW, Some(Stale::RateLimited)),
        ),
        ("paused, not cached", base(), unknown, PAUSED, refused(Refusal::RateLimited, 7)),
        ("low, HEADs are free", base(), checked_ago(500), LOW, ask(Some(1))),
        ("low, HEADs count", base(), checked_ago(500), heads_count, serve(1, 500, Some(Stale::Reserve))),
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
        ("moved, low", base(), cached, LOW, found(2, false), serve(1, age, Some(Stale::Reserve)), moved),
        ("moved, low, too old", base(), old, LOW, found(2, false), fetch, put(at(1, NOW - MAX_STALE), at(2, NOW), 0)),
        ("moved, low, but here", base(), cached, LOW, found(2, true), serve(2, 0, None), fresh(2)),
        ("first seen, low", base(), unknown, LOW, found(2, false), fetch, put(None, at(2, NOW), 0)),
        ("moved, paused", base(), cached, PAUSED, found(2, false), serve(1, age, Some(Stale::RateLimited)), moved),
        (
            "first seen, paused",
            base(),
            unknown,
            PAUSED,
            found(2, false),
            wait(Refusal::RateLimited),
            put(None, at(2, NOW), 0),
        ),
        ("moved, cooling", cooldown, cached, FINE, found(2, false), serve(1, age, Some(Stale::Cooldown)), held),
        ("moved, cooling, here", cooldown, cached, FINE, found(2, true), serve(1, age, Some(Stale::Cooldown)), held),
        (
            "almost cooled",
            cooldown,
            cached,
            FINE,
            seen(2, true, Some(NOW - 999)),
            serve(1, age, Some(Stale::Cooldown)),
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
            serve(3, 9000, Some(Stale::Cooldown)),
            put(at(3, NOW - 9000), at(2, NOW), NOW),
        ),
        ("gone", base(), cached, FINE, Outcome::NotFound, refused(Refusal::NotFound, 0), RecordChange::Drop),
        (
            "gone, kept",
            keep_missing,
            old,
            FINE,
            Outcome::NotFound,
            serve(1, MAX_STALE, Some(Stale::Missing)),
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
        ("429, cached", base(), cached, FINE, limited, serve(1, age, Some(Stale::RateLimited)), keep),
        ("429, too old", base(), old, FINE, limited, too_stale, keep),
        ("429, not cached", base(), unknown, FINE, limited, wait(Refusal::RateLimited), keep),
        ("down, cached", base(), cached, FINE, down, serve(1, age, Some(Stale::UpstreamUnavailable)), keep),
        ("down, too old", base(), old, FINE, down, too_stale, keep),
        ("down, not cached", base(), unknown, FINE, down, wait(Refusal::UpstreamUnavailable), keep),
        ("frozen meanwhile", frozen, cached, FINE, Outcome::NotFound, serve(1, age, Some(Stale::Frozen)), keep),
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

fn time() -> impl Strategy<Value = i64> {
    prop_oneof![NOW - 2 * MAX_STALE..NOW + 1000, NOW - 3000..NOW + 1000]
}

fn sighting() -> impl Strategy<Value = Option<Sighting>> {
    prop::option::of((0..3u8, time()).prop_map(|(n, at_ms)| Sighting { digest: digest(n), at_ms }))
}

fn facts() -> impl Strategy<Value = TagFacts> {
    let pin = prop::option::weighted(
        0.2,
        (0..3u8, any::<bool>()).prop_map(|(n, linked)| Pin { digest: digest(n), linked, at_ms: NOW - 40 }),
    );
    (sighting(), sighting(), prop_oneof![Just(0), time()], pin, sighting()).prop_map(
        |(cached, seen, checked, pin, older)| TagFacts {
            record: TagRecord { cached, seen, checked_at_ms: checked },
            pin,
            older,
        },
    )
}

fn policies() -> impl Strategy<Value = TagPolicy> {
    let mostly = |often| prop::bool::weighted(often);
    let ms = || prop_oneof![Just(0), 0..2 * MAX_STALE, 0..4000i64];
    (mostly(0.9), mostly(0.9), mostly(0.1), ms(), ms(), ms(), any::<bool>(), mostly(0.2)).prop_map(
        |(enabled, allowed, frozen, max_age_ms, max_stale_ms, cooldown_ms, keep_missing, immutable)| TagPolicy {
            enabled,
            allowed,
            frozen,
            max_age_ms,
            max_stale_ms,
            cooldown_ms,
            keep_missing,
            immutable,
        },
    )
}

fn upstreams() -> impl Strategy<Value = UpstreamState> {
    (prop_oneof![Just(0), NOW - 1000..NOW + 9000], any::<bool>(), any::<bool>()).prop_map(
        |(paused_until_ms, below_reserve, heads_count)| UpstreamState { paused_until_ms, below_reserve, heads_count },
    )
}

fn outcomes() -> impl Strategy<Value = Outcome> {
    prop_oneof![
        (0..3u8, any::<bool>(), prop::option::of(time())).prop_map(|(n, linked, first_seen_ms)| Outcome::Found {
            digest: digest(n),
            linked,
            first_seen_ms
        }),
        Just(Outcome::NotFound),
        Just(Outcome::Unauthorized),
        Just(Outcome::Forbidden),
        (0..100i64).prop_map(|retry_after_seconds| Outcome::RateLimited { retry_after_seconds }),
        (0..100i64).prop_map(|retry_after_seconds| Outcome::Unavailable { retry_after_seconds }),
    ]
}

/// Both questions of one pull.
fn both(policy: TagPolicy, tag: &TagFacts, upstream: UpstreamState, outcome: Outcome) -> [Decision; 2] {
    [resolve(policy, tag, upstream, NOW), report(policy, tag, upstream, outcome, NOW).0]
}

/// Since upstream's last word by which what is cached may be served.
fn unconfirmed_for(tag: &TagFacts) -> i64 {
    let word = tag.record.cached.map_or(0, |cached| cached.at_ms).max(tag.record.checked_at_ms);
    (NOW - word).max(0)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, max_global_rejects: 50_000, ..ProptestConfig::default() })]

    #[test]
    fn only_what_can_be_served_ever_is(
        policy in policies(), tag in facts(), upstream in upstreams(), outcome in outcomes()
    ) {
        for decision in both(policy, &tag, upstream, outcome) {
            if let Decision::Serve { digest, .. } = decision {
                let held = [tag.record.cached, tag.older].iter().flatten().any(|known| known.digest == digest);
                let pinned = tag.pin.is_some_and(|pin| pin.linked && pin.digest == digest);
                let found = matches!(outcome, Outcome::Found { digest: d, linked: true, .. } if d == digest);
                prop_assert!(held || pinned || found);
            }
        }
    }

    #[test]
    fn upstream_is_never_asked_where_the_group_has_spoken(
        policy in policies(), tag in facts(), upstream in upstreams(), outcome in outcomes()
    ) {
        let spoken = policy.frozen || !policy.enabled || !policy.allowed || tag.pin.is_some()
            || (policy.immutable && tag.record.cached.is_some());
        prop_assume!(spoken);
        let (after, change) = report(policy, &tag, upstream, outcome, NOW);
        prop_assert_eq!(change, RecordChange::Keep, "nor is its word taken");
        for decision in [resolve(policy, &tag, upstream, NOW), after] {
            match decision {
                Decision::Revalidate { .. } | Decision::Fetch { digest: None } => prop_assert!(false, "{decision:?}"),
                // A pin that is not here costs a fetch of its digest, which says nothing of the tag.
                Decision::Fetch { digest } => {
                    prop_assert!(!policy.frozen && digest == tag.pin.map(|pin| pin.digest));
                }
                Decision::Serve { digest, .. } if tag.pin.is_some() => {
                    prop_assert_eq!(Some(digest), tag.pin.map(|pin| pin.digest));
                }
                Decision::Serve { .. } => prop_assert!(policy.enabled && policy.allowed),
                Decision::Refuse { .. } => {}
            }
        }
    }

    #[test]
    fn what_is_denied_or_switched_off_is_refused_whatever_is_cached(
        policy in policies(), tag in facts(), upstream in upstreams(), outcome in outcomes()
    ) {
        prop_assume!(!policy.enabled || !policy.allowed);
        let reason = if policy.enabled { Refusal::Denied } else { Refusal::GroupDisabled };
        prop_assert_eq!(both(policy, &tag, upstream, outcome), [refused(reason, 0); 2]);
    }

    #[test]
    fn without_asking_nothing_is_served_beyond_max_age(policy in policies(), tag in facts(), upstream in upstreams()) {
        let spoken = tag.pin.is_some() || policy.frozen || policy.immutable;
        if let Decision::Serve { stale: None | Some(Stale::Cooldown | Stale::Missing), .. } =
            resolve(policy, &tag, upstream, NOW)
            && !spoken
        {
            prop_assert!((0..policy.max_age_ms).contains(&(NOW - tag.record.checked_at_ms)));
        }
    }

    #[test]
    fn nothing_is_served_past_max_stale(
        policy in policies(), tag in facts(), upstream in upstreams(), outcome in outcomes()
    ) {
        for decision in both(policy, &tag, upstream, outcome) {
            if let Decision::Serve {
                stale: Some(Stale::UpstreamUnavailable | Stale::RateLimited | Stale::Reserve), ..
            } = decision {
                prop_assert!(unconfirmed_for(&tag) < policy.max_stale_ms);
            }
        }
    }

    #[test]
    fn trouble_never_refuses_what_was_confirmed_within_max_stale(
        policy in policies(), tag in facts(), upstream in upstreams(), limited in any::<bool>()
    ) {
        prop_assume!(policy.enabled && policy.allowed && tag.pin.is_none() && tag.record.cached.is_some());
        prop_assume!(unconfirmed_for(&tag) < policy.max_stale_ms);
        let outcome = if limited {
            Outcome::RateLimited { retry_after_seconds: 1 }
        } else {
            Outcome::Unavailable { retry_after_seconds: 1 }
        };
        let (decision, change) = report(policy, &tag, upstream, outcome, NOW);
        let stale = matches!(decision, Decision::Serve { stale, .. } if stale.is_some() || policy.immutable);
        prop_assert!(stale, "{decision:?}");
        prop_assert_eq!(change, RecordChange::Keep);
    }

    #[test]
    fn what_has_not_cooled_is_not_followed_while_an_old_meaning_can_be_served(
        policy in policies(), tag in facts(), upstream in upstreams(), n in 0..3u8, linked in any::<bool>(),
        first_seen_ms in prop::option::of(time())
    ) {
        let old = tag.record.cached.or(tag.older);
        let hot = NOW - first_seen_ms.unwrap_or(NOW) < policy.cooldown_ms;
        prop_assume!(hot && tag.pin.is_none() && old.is_some_and(|old| old.digest != digest(n)));
        let (decision, change) =
            report(policy, &tag, upstream, Outcome::Found { digest: digest(n), linked, first_seen_ms }, NOW);
        match decision {
            Decision::Serve { digest: served, .. } => prop_assert_ne!(served, digest(n)),
            Decision::Refuse { .. } => {}
            _ => prop_assert!(false, "{decision:?}"),
        }
        if let RecordChange::Put(record) = change {
            prop_assert!(record.cached.is_some_and(|cached| cached.digest != digest(n)));
        }
        let seen = TagFacts { record: TagRecord { seen: at(n, NOW), ..tag.record }, ..tag };
        prop_assert_eq!(promote(policy, &seen, first_seen_ms, NOW), RecordChange::Keep);
    }

    #[test]
    fn a_paused_upstream_is_not_asked_and_a_low_limit_fetches_nothing_anew(
        policy in policies(), tag in facts(), upstream in upstreams(), outcome in outcomes()
    ) {
        let [before, after] = both(policy, &tag, upstream, outcome);
        if upstream.paused_until_ms > NOW {
            let asked = |decision| matches!(decision, Decision::Revalidate { .. } | Decision::Fetch { .. });
            prop_assert!(!asked(before) && !asked(after));
        }
        let in_time = tag.record.cached.is_some() && unconfirmed_for(&tag) < policy.max_stale_ms;
        let moved = matches!(outcome, Outcome::Found { digest, .. } if tag.record.cached.is_some_and(|c| c.digest != digest));
        if upstream.below_reserve && in_time && moved && tag.pin.is_none() {
            let fetched = matches!(after, Decision::Fetch { .. });
            prop_assert!(!fetched);
        }
    }
}
