//! The same, for leases.

use std::{cell::Cell, collections::HashMap};

use proptest::{prelude::*, test_runner::TestRunner};

use super::{NOW, fresh};
use crate::store::{
    Store,
    cluster::lease::{self, Lease, Wanted},
};

const LIFETIME: i64 = 6_000;

fn wanted(holder: &str) -> Wanted<'_> {
    Wanted { name: "retention", holder, lifetime_ms: LIFETIME, detail: holder }
}

fn granted(lease: &Lease) -> i64 {
    match lease {
        Lease::Granted { epoch } => *epoch,
        Lease::HeldBy { .. } => panic!("{lease:?}"),
    }
}

#[tokio::test]
async fn a_lease_is_one_holders_until_it_expires_or_is_given_back() {
    let (_folder, store) = fresh().await;
    let mut tx = store.write().await.unwrap();
    let first = granted(&lease::acquire(&mut tx, &wanted("a"), NOW).await.unwrap());
    let held = lease::acquire(&mut tx, &wanted("b"), NOW + LIFETIME - 1).await.unwrap();
    let by_a = Lease::HeldBy { holder: "a".into(), epoch: first, detail: "a".into(), expires_at_ms: NOW + LIFETIME };
    assert_eq!(held, by_a);
    assert_eq!(lease::holder(&mut tx, "retention", NOW).await.unwrap(), Some(("a".into(), first)));
    // Another thing is another lease.
    let other = Wanted { name: "fill/x", ..wanted("b") };
    granted(&lease::acquire(&mut tx, &other, NOW).await.unwrap());
    assert!(lease::renew(&mut tx, "retention", "a", first, LIFETIME, NOW + 5_000).await.unwrap());
    assert!(matches!(lease::acquire(&mut tx, &wanted("b"), NOW + 10_999).await.unwrap(), Lease::HeldBy { .. }));
    assert_eq!(lease::holder(&mut tx, "retention", NOW + 11_000).await.unwrap(), None);
    let second = granted(&lease::acquire(&mut tx, &wanted("b"), NOW + 11_000).await.unwrap());
    assert!(second > first);
    lease::release(&mut tx, "retention", "b", second).await.unwrap();
    assert!(!lease::renew(&mut tx, "retention", "b", second, LIFETIME, NOW + 11_000).await.unwrap());
    assert!(granted(&lease::acquire(&mut tx, &wanted("c"), NOW + 11_000).await.unwrap()) > second);
}

#[tokio::test]
async fn whoever_was_replaced_can_neither_renew_nor_release() {
    let (_folder, store) = fresh().await;
    let mut tx = store.write().await.unwrap();
    let first = granted(&lease::acquire(&mut tx, &wanted("a"), NOW).await.unwrap());
    let second = granted(&lease::acquire(&mut tx, &wanted("b"), NOW + LIFETIME).await.unwrap());
    assert!(!lease::renew(&mut tx, "retention", "a", first, LIFETIME, NOW).await.unwrap());
    lease::release(&mut tx, "retention", "a", first).await.unwrap();
    assert_eq!(lease::holder(&mut tx, "retention", NOW + LIFETIME).await.unwrap(), Some(("b".into(), second)));
    // A holder that was restarted is granted anew, and what it was before counts as replaced.
    let third = granted(&lease::acquire(&mut tx, &wanted("b"), NOW + LIFETIME).await.unwrap());
    assert!(third > second);
    assert!(!lease::renew(&mut tx, "retention", "b", second, LIFETIME, NOW).await.unwrap());
}

#[tokio::test]
async fn epochs_go_up_even_where_the_lease_was_forgotten() {
    let (_folder, store) = fresh().await;
    let mut tx = store.write().await.unwrap();
    let first = granted(&lease::acquire(&mut tx, &wanted("a"), NOW).await.unwrap());
    lease::prune(&mut tx, NOW + LIFETIME).await.unwrap();
    assert_eq!(lease::holder(&mut tx, "retention", NOW).await.unwrap(), Some(("a".into(), first)));
    lease::release(&mut tx, "retention", "a", first).await.unwrap();
    lease::prune(&mut tx, NOW).await.unwrap();
    assert!(!lease::renew(&mut tx, "retention", "a", first, LIFETIME, NOW).await.unwrap());
    assert!(granted(&lease::acquire(&mut tx, &wanted("b"), NOW + 1).await.unwrap()) > first);
}

#[derive(Clone, Debug)]
enum Step {
    Acquire(usize),
    Renew(usize),
    Release(usize),
    Prune,
    Wait(i64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..3_usize).prop_map(Step::Acquire),
        3 => (0..3_usize).prop_map(Step::Renew),
        1 => (0..3_usize).prop_map(Step::Release),
        1 => Just(Step::Prune),
        4 => (0..LIFETIME).prop_map(Step::Wait),
    ]
}

/// Plays `steps` with holders that believe what they were told, as nodes do.
async fn play(store: &Store, name: &str, steps: Vec<Step>) -> Result<(), TestCaseError> {
    let holders = ["a", "b", "c"];
    // What each believes: its epoch, and until when.
    let mut beliefs: HashMap<usize, (i64, i64)> = HashMap::new();
    let (mut now, mut highest) = (NOW, 0);
    for step in steps {
        let mut tx = store.write().await.unwrap();
        match step {
            Step::Acquire(who) => {
                let wanted = Wanted { name, ..wanted(holders[who]) };
                if let Lease::Granted { epoch } = lease::acquire(&mut tx, &wanted, now).await.unwrap() {
                    prop_assert!(epoch > highest, "{epoch} after {highest}");
                    highest = epoch;
                    beliefs.insert(who, (epoch, now + LIFETIME));
                }
            }
            Step::Renew(who) => {
                let Some((epoch, _)) = beliefs.get(&who).copied() else { continue };
                if lease::renew(&mut tx, name, holders[who], epoch, LIFETIME, now).await.unwrap() {
                    prop_assert_eq!(epoch, highest, "an old grant was renewed");
                    beliefs.insert(who, (epoch, now + LIFETIME));
                }
            }
            Step::Release(who) => {
                let Some((epoch, _)) = beliefs.remove(&who) else { continue };
                lease::release(&mut tx, name, holders[who], epoch).await.unwrap();
            }
            // Grants follow each other more slowly than one a millisecond, by and large.
            Step::Prune => {
                now += 100;
                lease::prune(&mut tx, now).await.unwrap();
            }
            Step::Wait(ms) => now += ms,
        }
        tx.commit().await.unwrap();
        let valid = beliefs.values().filter(|(_, until)| *until > now).count();
        prop_assert!(valid <= 1, "{valid} hold it: {beliefs:?}");
    }
    Ok(())
}

#[test]
fn never_two_hold_it_and_epochs_only_go_up_whatever_the_order() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (_folder, store) = runtime.block_on(fresh());
    let names = Cell::new(0);
    let mut runner = TestRunner::new(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(48) });
    let steps = proptest::collection::vec(step(), 1..25);
    let played = runner.run(&steps, |steps| {
        names.set(names.get() + 1);
        runtime.block_on(play(&store, &names.get().to_string(), steps))
    });
    assert!(played.is_ok(), "{played:?}");
}
