//! Guessing, as attackers and forgetful people do it.

use proptest::prelude::*;

use super::*;

const NOW: i64 = 1_800_000_000_000;
const HOME: &str = "192.0.2.1";

fn alice(address: &str) -> Attempt {
    Attempt::new(address, "alice")
}

/// Number of tries there are at once, with a failure each time.
fn tries(attempts: &FailureCounts, mut attempt: impl FnMut(usize) -> Attempt, now_ms: i64) -> usize {
    for done in 0..1000 {
        let attempt = attempt(done);
        if attempts.check(&attempt, now_ms).is_err() {
            return done;
        }
        attempts.failed(&attempt, now_ms);
    }
    1000
}

#[test]
fn guessing_is_slowed_then_refused_and_goes_on_when_the_time_is_over() {
    let attempts = FailureCounts::default();
    let delays: Vec<_> = (0..10)
        .map(|_| {
            assert_eq!(attempts.check(&alice(HOME), NOW), Ok(()));
            attempts.failed(&alice(HOME), NOW).as_millis()
        })
        .collect();
    assert_eq!(delays, [0, 0, 0, 250, 500, 1000, 1000, 1000, 1000, 1000]);
    let refused = attempts.check(&alice(HOME), NOW).unwrap_err();
    assert_eq!(refused.retry_after, Duration::from_secs(300));
    assert!(refused.to_string().contains("300 seconds"));
    assert!(attempts.check(&alice(HOME), NOW + 299_999).is_err());
    assert_eq!(tries(&attempts, |_| alice(HOME), NOW + 300_000), 1, "one failure is forgotten, and one try is back");
    assert_eq!(tries(&attempts, |_| alice(HOME), NOW + 24 * 3600 * 1000), 10, "a day later all are");
}

#[test]
fn an_attack_on_a_name_locks_its_owner_out_of_nowhere_else() {
    let attempts = FailureCounts::default();
    attempts.succeeded(&alice("198.51.100.1"), NOW);
    assert_eq!(tries(&attempts, |_| alice(HOME), NOW), 10);
    for address in 0..200 {
        tries(&attempts, |_| alice(&format!("203.0.113.{address}")), NOW);
    }
    assert_eq!(attempts.check(&alice("198.51.100.9"), NOW), Ok(()), "a new address gets its try");
    assert_eq!(tries(&attempts, |_| alice("198.51.100.9"), NOW), 3, "but few");
    assert_eq!(tries(&attempts, |_| alice("198.51.100.1"), NOW), 10, "where she signed in before, as many as ever");
    assert_eq!(attempts.check(&Attempt::new(HOME, "bob"), NOW), Ok(()), "others are not concerned");
}

#[test]
fn many_names_from_one_address_are_refused_too_and_own_successes_buy_no_more() {
    let attempts = FailureCounts::default();
    let spray = |n: usize| {
        attempts.succeeded(&Attempt::new(HOME, "mallory"), NOW);
        Attempt::new(HOME, &format!("user{n}"))
    };
    assert_eq!(tries(&attempts, spray, NOW), 50);
    assert!(attempts.check(&alice(HOME), NOW).is_err());
    assert_eq!(attempts.check(&alice("192.0.2.2"), NOW), Ok(()));
}

#[test]
fn a_success_forgets_the_owners_typing_errors() {
    let attempts = FailureCounts::default();
    for _ in 0..9 {
        attempts.failed(&alice(HOME), NOW);
    }
    attempts.succeeded(&alice(HOME), NOW);
    assert_eq!(attempts.failed(&alice(HOME), NOW), Duration::ZERO);
}

#[test]
fn what_counts_as_the_same() {
    for (a, b, same) in [
        (("192.0.2.1", "alice"), ("192.0.2.1", "ALICE"), true),
        (("192.0.2.1", "alice"), ("::ffff:192.0.2.1", "alice"), true),
        (("192.0.2.1", "alice"), ("192.0.2.2", "alice"), false),
        (("2001:db8::1", "alice"), ("2001:db8::ffff:1", "alice"), true),
        (("2001:db8::1", "alice"), ("2001:db8:0:1::1", "alice"), false),
        (("", "alice"), ("junk", "alice"), true),
        (("", "alice"), ("192.0.2.1", "alice"), false),
    ] {
        assert_eq!(Attempt::new(a.0, a.1) == Attempt::new(b.0, b.1), same, "{a:?} {b:?}");
    }
}

#[test]
fn memory_is_bounded_and_whoever_is_refused_longest_is_forgotten_last() {
    let attempts = FailureCounts::default();
    tries(&attempts, |_| alice(HOME), NOW);
    for n in 0..30_000_u32 {
        let address = IpAddr::from((0x0a00_0000 + n).to_be_bytes()).to_string();
        attempts.failed(&Attempt::new(&address, &format!("name{n}")), NOW);
        attempts.succeeded(&Attempt::new(&address, "mallory"), NOW);
    }
    let counts = attempts.0.lock().unwrap();
    let sizes = [counts.pairs.0.len(), counts.addresses.0.len(), counts.names.0.len(), counts.known.len()];
    assert!(sizes.iter().all(|size| *size <= MAX_COUNTERS), "{sizes:?}");
    drop(counts);
    assert!(attempts.check(&alice(HOME), NOW).is_err());
}

proptest! {
    #[test]
    fn an_address_without_failures_gets_its_try(
        failures in proptest::collection::vec((0..4_u8, 0..3_u8, 0..120_000_i64), 0..300),
    ) {
        let attempts = FailureCounts::default();
        let mut now = NOW;
        for (address, name, pause) in failures {
            now += pause;
            attempts.failed(&Attempt::new(&format!("203.0.113.{address}"), &format!("name{name}")), now);
        }
        for name in 0..3 {
            prop_assert_eq!(attempts.check(&Attempt::new("198.51.100.1", &format!("name{name}")), now), Ok(()));
        }
    }

    #[test]
    fn every_refusal_ends_when_it_says(failures in 1..500_usize) {
        let attempts = FailureCounts::default();
        for _ in 0..failures {
            attempts.failed(&alice(HOME), NOW);
        }
        if let Err(refused) = attempts.check(&alice(HOME), NOW) {
            let end = NOW + i64::try_from(refused.retry_after.as_millis()).unwrap();
            // While the name is guessed a lot, the end may come earlier than was said: when that is over.
            prop_assert!(failures >= 20 || attempts.check(&alice(HOME), end - 1).is_err());
            prop_assert_eq!(attempts.check(&alice(HOME), end), Ok(()));
        }
    }
}

#[test]
fn guesses_from_all_over_an_ipv6_network_are_counted_together_and_known_names_go_on() {
    let attempts = FailureCounts::default();
    let known = Attempt::new("2001:db8:7:9::1", "alice");
    attempts.succeeded(&known, 0);
    let mut tried = 0;
    for customer in 0..1000_u32 {
        let attempt = Attempt::new(&format!("2001:db8:7:{customer:x}::1"), &format!("name-{customer}"));
        if attempts.check(&attempt, 0).is_ok() {
            attempts.failed(&attempt, 0);
            tried += 1;
        }
    }
    assert_eq!(tried, 200, "of one /48");
    assert!(attempts.check(&known, 0).is_ok());
    assert!(attempts.check(&Attempt::new("2001:db8:7:9::1", "bob"), 0).is_err());
    assert!(attempts.check(&Attempt::new("2001:db8:8::1", "bob"), 0).is_ok(), "another /48");
    let attempts = FailureCounts::default();
    let from = |customer: u32| Attempt::new(&format!("2001:db8:7:{customer:x}::1"), "bob");
    for customer in 0..100 {
        attempts.failed(&from(customer), 0);
    }
    assert!(attempts.check(&from(0x1f0), 0).is_ok(), "another /56");
    assert!(attempts.check(&from(0xf0), 0).is_err());
}
