use proptest::prelude::*;
use roadstead_proto::Algorithm;

use super::*;

const NOW: i64 = 1_000_000;

fn digest(n: u8) -> Digest {
    Digest::of(Algorithm::Sha256, &[n])
}

fn at(n: u8, at_ms: i64) -> Option<Sighting> {
    Some(Sighting { digest: digest(n), at_ms })
}

fn policy(max_age_ms: i64) -> TagPolicy {
    TagPolicy { enabled: true, frozen: false, max_age_ms }
}

fn serve(n: u8, age_ms: i64, stale: Option<Stale>) -> Decision {
    Decision::Serve { digest: digest(n), age_ms, stale }
}

fn refused(reason: Refusal) -> Decision {
    Decision::Refuse { reason, retry_after_seconds: 0 }
}

#[test]
fn before_upstream_is_asked() {
    let frozen = TagPolicy { frozen: true, ..policy(0) };
    let off = TagPolicy { enabled: false, frozen: true, ..policy(1000) };
    let cached = TagRecord { cached: at(1, NOW - 500), seen: at(1, NOW - 500) };
    let moved = TagRecord { cached: at(1, NOW - 500), seen: at(2, NOW - 100) };
    let unknown = TagRecord::default();
    let ask = |n: Option<u8>| Decision::Revalidate { cached: n.map(digest) };
    for (name, policy, tag, expected) in [
        ("nothing known", policy(0), unknown, ask(None)),
        ("asked every time by default", policy(0), cached, ask(Some(1))),
        ("within max_age", policy(501), cached, serve(1, 500, None)),
        ("at the end of max_age", policy(500), cached, ask(Some(1))),
        ("known to have moved", policy(10_000), moved, ask(Some(1))),
        (
            "confirmed in the future",
            policy(10_000),
            TagRecord { cached: at(1, NOW + 1), seen: at(1, NOW + 1) },
            ask(Some(1)),
        ),
        ("frozen, cached", frozen, cached, serve(1, 500, Some(Stale::Frozen))),
        ("frozen, moved", frozen, moved, serve(1, 500, Some(Stale::Frozen))),
        ("frozen, not cached", frozen, unknown, refused(Refusal::Frozen)),
        ("switched off", off, cached, refused(Refusal::GroupDisabled)),
    ] {
        assert_eq!(resolve(policy, &tag, NOW), expected, "{name}");
    }
}

#[test]
fn after_upstream_was_asked() {
    let frozen = TagPolicy { frozen: true, ..policy(0) };
    let cached = TagRecord { cached: at(1, 400), seen: at(1, 400) };
    let unknown = TagRecord::default();
    let found = |n, linked| Outcome::Found { digest: digest(n), linked };
    let wait = |reason| Decision::Refuse { reason, retry_after_seconds: 7 };
    let keep = RecordChange::Keep;
    let fresh = |n| RecordChange::Put(TagRecord { cached: at(n, NOW), seen: at(n, NOW) });
    let limited = Outcome::RateLimited { retry_after_seconds: 7 };
    let down = Outcome::Unavailable { retry_after_seconds: 7 };
    let age = NOW - 400;
    for (name, policy, tag, outcome, expected, change) in [
        ("unchanged", policy(0), cached, found(1, true), serve(1, 0, None), fresh(1)),
        ("moved to what the group has", policy(0), cached, found(2, true), serve(2, 0, None), fresh(2)),
        (
            "moved to what is not here",
            policy(0),
            cached,
            found(2, false),
            Decision::Fetch,
            RecordChange::Put(TagRecord { cached: at(1, 400), seen: at(2, NOW) }),
        ),
        (
            "the link was purged meanwhile",
            policy(0),
            cached,
            found(1, false),
            Decision::Fetch,
            RecordChange::Put(TagRecord { cached: None, seen: at(1, NOW) }),
        ),
        ("gone", policy(0), cached, Outcome::NotFound, refused(Refusal::NotFound), RecordChange::Drop),
        ("401", policy(0), cached, Outcome::Unauthorized, refused(Refusal::UpstreamUnauthorized), keep),
        ("403", policy(0), cached, Outcome::Forbidden, refused(Refusal::UpstreamForbidden), keep),
        ("429, cached", policy(0), cached, limited, serve(1, age, Some(Stale::RateLimited)), keep),
        ("429, not cached", policy(0), unknown, limited, wait(Refusal::RateLimited), keep),
        ("down, cached", policy(0), cached, down, serve(1, age, Some(Stale::UpstreamUnavailable)), keep),
        ("down, not cached", policy(0), unknown, down, wait(Refusal::UpstreamUnavailable), keep),
        ("frozen meanwhile", frozen, cached, Outcome::NotFound, serve(1, age, Some(Stale::Frozen)), keep),
        ("frozen meanwhile, not cached", frozen, unknown, found(1, false), refused(Refusal::Frozen), keep),
    ] {
        assert_eq!(report(policy, &tag, outcome, NOW), (expected, change), "{name}");
    }
}

fn sighting() -> impl Strategy<Value = Option<Sighting>> {
    prop::option::of((0..3u8, 0..2 * NOW).prop_map(|(n, at_ms)| Sighting { digest: digest(n), at_ms }))
}

fn record() -> impl Strategy<Value = TagRecord> {
    (sighting(), sighting()).prop_map(|(cached, seen)| TagRecord { cached, seen })
}

fn any_policy() -> impl Strategy<Value = TagPolicy> {
    (any::<bool>(), any::<bool>(), 0..2 * NOW).prop_map(|(enabled, frozen, max_age_ms)| TagPolicy {
        enabled,
        frozen,
        max_age_ms,
    })
}

fn outcome() -> impl Strategy<Value = Outcome> {
    prop_oneof![
        (0..3u8, any::<bool>()).prop_map(|(n, linked)| Outcome::Found { digest: digest(n), linked }),
        Just(Outcome::NotFound),
        Just(Outcome::Unauthorized),
        Just(Outcome::Forbidden),
        (0..100i64).prop_map(|retry_after_seconds| Outcome::RateLimited { retry_after_seconds }),
        (0..100i64).prop_map(|retry_after_seconds| Outcome::Unavailable { retry_after_seconds }),
    ]
}

proptest! {
    #[test]
    fn only_what_is_cached_is_ever_served(policy in any_policy(), tag in record(), outcome in outcome()) {
        let resolved = resolve(policy, &tag, NOW);
        if let Decision::Serve { digest, .. } = resolved {
            prop_assert_eq!(Some(digest), tag.cached.map(|c| c.digest));
        }
        if let (Decision::Serve { digest, .. }, _) = report(policy, &tag, outcome, NOW) {
            let cached = Some(digest) == tag.cached.map(|c| c.digest);
            let found = outcome == Outcome::Found { digest, linked: true };
            prop_assert!(cached || found);
        }
    }

    #[test]
    fn a_frozen_or_disabled_group_never_goes_upstream(policy in any_policy(), tag in record(), outcome in outcome()) {
        prop_assume!(policy.frozen || !policy.enabled);
        let never = |d| matches!(d, Decision::Serve { stale: Some(Stale::Frozen), .. } | Decision::Refuse { .. });
        prop_assert!(never(resolve(policy, &tag, NOW)));
        let (decision, change) = report(policy, &tag, outcome, NOW);
        prop_assert!(never(decision));
        prop_assert_eq!(change, RecordChange::Keep);
    }

    #[test]
    fn without_asking_nothing_is_served_as_fresh_beyond_max_age(policy in any_policy(), tag in record()) {
        if let Decision::Serve { age_ms, stale: None, .. } = resolve(policy, &tag, NOW) {
            let seen = tag.seen.unwrap();
            prop_assert!(NOW - seen.at_ms < policy.max_age_ms);
            prop_assert_eq!(seen.digest, tag.cached.unwrap().digest);
            prop_assert!(age_ms >= 0);
        }
    }

    #[test]
    fn trouble_upstream_never_refuses_a_cached_tag(
        max_age in 0..NOW, n in 0..3u8, at_ms in 0..2 * NOW, seen in sighting(), limited in any::<bool>()
    ) {
        let tag = TagRecord { cached: at(n, at_ms), seen };
        let outcome = if limited {
            Outcome::RateLimited { retry_after_seconds: 1 }
        } else {
            Outcome::Unavailable { retry_after_seconds: 1 }
        };
        let (decision, change) = report(policy(max_age), &tag, outcome, NOW);
        let stale = matches!(decision, Decision::Serve { stale: Some(_), .. });
        prop_assert!(stale);
        prop_assert_eq!(change, RecordChange::Keep);
    }
}
