//! Garbage, what was found in stores, and damage.

use roadstead_proto::CorruptionKind;

use super::*;
use crate::{
    rules::cache::corruption::{Noticed, Stored},
    store::cache::{
        corruption,
        garbage::{self, Claim},
    },
};

fn claim(id: &str, unlinked_by_ms: i64, lapsed_by_ms: i64, now_ms: i64) -> Claim {
    let (node_id, store_id) = (format!("node-of-{id}"), "here".to_owned());
    Claim { id: id.to_owned(), node_id, store_id, unlinked_by_ms, lapsed_by_ms, limit: 10, now_ms }
}

#[tokio::test]
async fn a_claim_and_a_link_exclude_each_other() {
    let (_folder, store) = fresh().await;
    let group = group("acme");
    let blob = link("x", ContentKind::Blob);
    let mut tx = store.write().await.unwrap();
    group::insert(&mut tx, &group).await.unwrap();
    content::put(&mut tx, &blob, 0).await.unwrap();
    link::put(&mut tx, &repository(&group), &blob, NOW).await.unwrap();
    assert!(garbage::claim(&mut tx, &claim("a", i64::MAX, 0, NOW)).await.unwrap().is_empty(), "it is linked");
    link::delete(&mut tx, &repository(&group), &blob.digest, NOW).await.unwrap();
    link::delete(&mut tx, &repository(&group), &blob.digest, NOW + 5).await.unwrap();
    let claimed = garbage::claim(&mut tx, &claim("b", NOW, 0, NOW + 1)).await.unwrap();
    assert_eq!(claimed, [blob.digest], "the grace counts from the last link on");
    assert!(!content::put(&mut tx, &blob, NOW).await.unwrap(), "it is claimed");
    assert!(!garbage::confirm(&mut tx, &blob.digest, "a").await.unwrap(), "another claim");
    assert!(content::put(&mut tx, &blob, NOW + 1).await.unwrap(), "the claim has ended");
    assert!(!garbage::confirm(&mut tx, &blob.digest, "b").await.unwrap(), "the claim was void");
    assert!(link::size_if_unheld(&mut tx, &group.id, &blob.digest).await.unwrap() > 0);
}

#[tokio::test]
async fn what_is_found_is_recorded_once_and_claimed_in_its_own_store() {
    let (_folder, store) = fresh().await;
    let mut tx = store.write().await.unwrap();
    let found = Stored { digest: digest("x"), size_bytes: 5 };
    assert_eq!(garbage::recorded(&mut tx, &found.digest).await.unwrap(), None);
    assert!(garbage::adopt(&mut tx, &found, "there", NOW).await.unwrap());
    assert!(!garbage::adopt(&mut tx, &found, "here", NOW).await.unwrap());
    assert_eq!(garbage::recorded(&mut tx, &found.digest).await.unwrap(), Some((5, false)));
    assert!(garbage::claim(&mut tx, &claim("a", NOW, 0, NOW)).await.unwrap().is_empty());
    let there = Claim { store_id: "there".into(), ..claim("b", NOW, 0, NOW) };
    assert_eq!(garbage::claim(&mut tx, &there).await.unwrap(), [found.digest]);
    assert!(garbage::claim(&mut tx, &there).await.unwrap().is_empty());
    garbage::void_claims(&mut tx, "node-of-b").await.unwrap();
    assert_eq!(garbage::claim(&mut tx, &there).await.unwrap(), [found.digest]);
    assert!(garbage::confirm(&mut tx, &found.digest, "b").await.unwrap());
    assert_eq!(garbage::recorded(&mut tx, &found.digest).await.unwrap(), None);
}

#[tokio::test]
async fn damage_is_of_what_is_linked_and_heals() {
    let (_folder, store) = fresh().await;
    let group = group("acme");
    let blob = link("x", ContentKind::Blob);
    let mut tx = store.write().await.unwrap();
    group::insert(&mut tx, &group).await.unwrap();
    let noticed = Noticed { digest: blob.digest, kind: CorruptionKind::Size, found_bytes: 3 };
    assert!(!corruption::put(&mut tx, &noticed, NOW).await.unwrap(), "nobody links it");
    content::put(&mut tx, &blob, 0).await.unwrap();
    link::put(&mut tx, &repository(&group), &blob, NOW).await.unwrap();
    assert!(corruption::put(&mut tx, &noticed, NOW).await.unwrap());
    corruption::heal(&mut tx, &blob.digest, NOW + 1).await.unwrap();
    let found = corruption::of_group(&mut tx, &group.id, NOW).await.unwrap();
    assert_eq!((found.len(), found[0].noticed, found[0].healed_at_ms), (1, noticed, Some(NOW + 1)));
    assert!(corruption::put(&mut tx, &Noticed { kind: CorruptionKind::Missing, ..noticed }, NOW + 2).await.unwrap());
    let found = corruption::of_group(&mut tx, &group.id, NOW + 2).await.unwrap();
    assert_eq!((found[0].noticed.kind, found[0].healed_at_ms), (CorruptionKind::Missing, None), "damaged again");
    corruption::prune(&mut tx, NOW + 9).await.unwrap();
    assert_eq!(corruption::of_group(&mut tx, &group.id, NOW).await.unwrap().len(), 1, "it is not healed");
    assert_eq!(corruption::count_of_group(&mut tx, &group.id).await.unwrap(), 1);
    assert_eq!(corruption::contents_of_group(&mut tx, &group.id, "", 10).await.unwrap()[0].digest, blob.digest);
    assert_eq!(corruption::claim_scrub(&mut tx, NOW, 10, NOW + 1).await.unwrap().len(), 1);
    assert!(corruption::claim_scrub(&mut tx, NOW, 10, NOW + 1).await.unwrap().is_empty());
}
