//! The same, for leases.

use super::{NOW, fresh};
use crate::store::leases::{self, Lease, Wanted};

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
    let first = granted(&leases::acquire(&mut tx, &wanted("a"), NOW).await.unwrap());
    let held = leases::acquire(&mut tx, &wanted("b"), NOW + LIFETIME - 1).await.unwrap();
    let by_a = Lease::HeldBy { holder: "a".into(), epoch: first, detail: "a".into(), expires_at_ms: NOW + LIFETIME };
    assert_eq!(held, by_a);
    assert_eq!(leases::holder(&mut tx, "retention", NOW).await.unwrap(), Some(("a".into(), first)));
    // Another thing is another lease.
    let other = Wanted { name: "fill/x", ..wanted("b") };
    granted(&leases::acquire(&mut tx, &other, NOW).await.unwrap());
    assert!(leases::renew(&mut tx, "retention", "a", first, LIFETIME, NOW + 5_000).await.unwrap());
    assert!(matches!(leases::acquire(&mut tx, &wanted("b"), NOW + 10_999).await.unwrap(), Lease::HeldBy { .. }));
    assert_eq!(leases::holder(&mut tx, "retention", NOW + 11_000).await.unwrap(), None);
    let second = granted(&leases::acquire(&mut tx, &wanted("b"), NOW + 11_000).await.unwrap());
    assert!(second > first);
    leases::release(&mut tx, "retention", "b", second).await.unwrap();
    assert!(!leases::renew(&mut tx, "retention", "b", second, LIFETIME, NOW + 11_000).await.unwrap());
    assert!(granted(&leases::acquire(&mut tx, &wanted("c"), NOW + 11_000).await.unwrap()) > second);
}

#[tokio::test]
async fn whoever_was_replaced_can_neither_renew_nor_release() {
    let (_folder, store) = fresh().await;
    let mut tx = store.write().await.unwrap();
    let first = granted(&leases::acquire(&mut tx, &wanted("a"), NOW).await.unwrap());
    let second = granted(&leases::acquire(&mut tx, &wanted("b"), NOW + LIFETIME).await.unwrap());
    assert!(!leases::renew(&mut tx, "retention", "a", first, LIFETIME, NOW).await.unwrap());
    leases::release(&mut tx, "retention", "a", first).await.unwrap();
    assert_eq!(leases::holder(&mut tx, "retention", NOW + LIFETIME).await.unwrap(), Some(("b".into(), second)));
    // A holder that was restarted is granted anew, and what it was before counts as replaced.
    let third = granted(&leases::acquire(&mut tx, &wanted("b"), NOW + LIFETIME).await.unwrap());
    assert!(third > second);
    assert!(!leases::renew(&mut tx, "retention", "b", second, LIFETIME, NOW).await.unwrap());
}

#[tokio::test]
async fn epochs_go_up_even_where_the_lease_was_forgotten() {
    let (_folder, store) = fresh().await;
    let mut tx = store.write().await.unwrap();
    let first = granted(&leases::acquire(&mut tx, &wanted("a"), NOW).await.unwrap());
    leases::prune(&mut tx, NOW + LIFETIME).await.unwrap();
    assert_eq!(leases::holder(&mut tx, "retention", NOW).await.unwrap(), Some(("a".into(), first)));
    leases::release(&mut tx, "retention", "a", first).await.unwrap();
    leases::prune(&mut tx, NOW).await.unwrap();
    assert!(!leases::renew(&mut tx, "retention", "a", first, LIFETIME, NOW).await.unwrap());
    assert!(granted(&leases::acquire(&mut tx, &wanted("b"), NOW + 1).await.unwrap()) > first);
}
