//! Properties that hold of every decision, whatever the facts.

use proptest::prelude::*;

use super::*;

fn time() -> impl Strategy<Value = i64> {
    prop_oneof![NOW - 2 * MAX_STALE..NOW + 1000, NOW - 3000..NOW + 1000]
}

fn observation() -> impl Strategy<Value = Option<Observation>> {
    prop::option::of((0..3u8, time()).prop_map(|(n, at_ms)| Observation { digest: digest(n), at_ms }))
}

fn facts() -> impl Strategy<Value = TagFacts> {
    let pin = prop::option::weighted(
        0.2,
        (0..3u8, any::<bool>()).prop_map(|(n, linked)| Pin { digest: digest(n), linked, at_ms: NOW - 40 }),
    );
    (observation(), observation(), prop_oneof![Just(0), time()], pin, observation()).prop_map(
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
        if let Decision::Serve { stale: None | Some(StaleReason::Cooldown | StaleReason::Missing), .. } =
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
                stale: Some(StaleReason::UpstreamUnavailable | StaleReason::RateLimited | StaleReason::Reserve), ..
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

    #[test]
    fn what_a_node_decides_alone_is_what_would_be_decided_here(
        policy in policies(), tag in facts(), upstream in upstreams(), later in upstreams(), share in 0.0..1.0f64,
    ) {
        let fresh_ms = good_for(policy, &tag, NOW).fresh_ms;
        prop_assert!((0..=MAX_FRESH_MS).contains(&fresh_ms));
        if let Decision::Serve { digest, stale: None, .. } = resolve(policy, &tag, upstream, NOW)
            && fresh_ms > 0
        {
            let then = NOW + (fresh_ms as f64 * share) as i64;
            let decided = resolve(policy, &tag, later, then);
            prop_assert!(
                matches!(decided, Decision::Serve { digest: served, stale: None, .. } if served == digest),
                "{decided:?} after {} of {fresh_ms} ms", then - NOW
            );
        }
    }
}
