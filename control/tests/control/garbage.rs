//! Garbage and its races with links.

use roadstead_proto::{
    node::v1::{ClaimGarbageRequest, ConfirmGarbageRequest},
    v1::{Group, PurgeCacheRequest},
};
use tonic::Code;

use crate::harness::{Client, Plane, digest};

async fn claim(node: &mut Client) -> Vec<String> {
    node.node.claim_garbage(ClaimGarbageRequest::default()).await.unwrap().into_inner().digests
}

async fn confirm(node: &mut Client, name: &str) {
    node.node.confirm_garbage(ConfirmGarbageRequest { digests: vec![digest(name)] }).await.unwrap();
}

async fn purge(plane: &Plane, group: &str) {
    let request = PurgeCacheRequest { group_path: group.into(), ..Default::default() };
    plane.admin().cache.purge_cache(request).await.unwrap();
}

/// A blob that lost its only link just now.
async fn unlinked(plane: &Plane) -> (Group, Client) {
    let group = plane.group("acme").await;
    let mut node = plane.node();
    node.link_blob(&group, "a", "x", 1).await;
    purge(plane, "acme").await;
    (group, node)
}

#[tokio::test]
async fn content_without_links_is_claimable_after_the_grace_period_and_once_at_a_time() {
    let plane = Plane::start().await;
    let (_, mut node) = unlinked(&plane).await;
    plane.advance(3599);
    assert!(claim(&mut node).await.is_empty());
    plane.advance(1);
    assert_eq!(claim(&mut node).await, [digest("x")]);
    assert!(claim(&mut node).await.is_empty());
    plane.advance(600);
    assert_eq!(claim(&mut node).await, [digest("x")], "a claim that was not confirmed ends");
    confirm(&mut node, "x").await;
    plane.advance(600);
    assert!(claim(&mut node).await.is_empty());
}

#[tokio::test]
async fn what_one_group_still_links_is_no_garbage() {
    let plane = Plane::start().await;
    let other = plane.group("other").await;
    plane.node().link_blob(&other, "b", "x", 1).await;
    let (_, mut node) = unlinked(&plane).await;
    plane.advance(4000);
    assert!(claim(&mut node).await.is_empty());
    purge(&plane, "other").await;
    plane.advance(3600);
    assert_eq!(claim(&mut node).await.len(), 1);
}

#[tokio::test]
async fn content_linked_again_before_a_claim_stays() {
    let plane = Plane::start().await;
    let (group, mut node) = unlinked(&plane).await;
    plane.advance(1800);
    assert!(node.link_blob(&group, "a", "x", 1).await.recorded);
    plane.advance(4000);
    assert!(claim(&mut node).await.is_empty());
}

#[tokio::test]
async fn a_link_during_a_claim_is_not_recorded_and_after_the_deletion_it_is() {
    let plane = Plane::start().await;
    let (group, mut node) = unlinked(&plane).await;
    plane.advance(3600);
    claim(&mut node).await;
    assert!(!node.link_blob(&group, "a", "x", 1).await.recorded);
    plane.advance(599);
    assert!(!node.link_blob(&group, "a", "x", 1).await.recorded);
    confirm(&mut node, "x").await;
    assert!(node.link_blob(&group, "a", "x", 1).await.recorded);
    plane.advance(4000);
    assert!(claim(&mut node).await.is_empty());
}

#[tokio::test]
async fn a_link_after_a_claim_ended_voids_it_and_a_late_confirmation_takes_nothing() {
    let plane = Plane::start().await;
    let (group, mut node) = unlinked(&plane).await;
    plane.advance(3600);
    claim(&mut node).await;
    plane.advance(600);
    assert!(node.link_blob(&group, "a", "x", 1).await.recorded);
    confirm(&mut node, "x").await;
    purge(&plane, "acme").await;
    // Unlinked anew: the grace period counts from now, and the old claim is not confirmed any more.
    confirm(&mut node, "x").await;
    plane.advance(3600);
    assert_eq!(claim(&mut node).await, [digest("x")]);
}

#[tokio::test]
async fn confirming_what_was_never_claimed_or_never_there_changes_nothing() {
    let plane = Plane::start().await;
    let group = plane.group("acme").await;
    let mut node = plane.node();
    node.link_blob(&group, "a", "x", 1).await;
    confirm(&mut node, "x").await;
    confirm(&mut node, "never").await;
    purge(&plane, "acme").await;
    confirm(&mut node, "x").await;
    plane.advance(3600);
    assert_eq!(claim(&mut node).await.len(), 1);
    let bad = ClaimGarbageRequest { limit: 1001 };
    assert_eq!(node.node.claim_garbage(bad).await.unwrap_err().code(), Code::InvalidArgument);
}

#[tokio::test]
async fn links_and_claims_at_once_never_leave_a_linked_digest_to_be_deleted() {
    let plane = Plane::start().await;
    let group = plane.group("acme").await;
    let mut node = plane.node();
    for n in 0..20 {
        node.link_blob(&group, "a", &format!("x{n}"), 1).await;
    }
    purge(&plane, "acme").await;
    plane.advance(3600);
    let (mut claimer, mut linker) = (plane.node(), plane.node());
    let (claimed, linked) = tokio::join!(
        async move {
            let mut all = Vec::new();
            for _ in 0..10 {
                let request = ClaimGarbageRequest { limit: 2 };
                all.extend(claimer.node.claim_garbage(request).await.unwrap().into_inner().digests);
            }
            all
        },
        async move {
            let mut all = Vec::new();
            for n in (0..20).rev() {
                if linker.link_blob(&group, "a", &format!("x{n}"), 1).await.recorded {
                    all.push(digest(&format!("x{n}")));
                }
            }
            all
        }
    );
    assert!(claimed.iter().all(|digest| !linked.contains(digest)));
    assert_eq!(claimed.len() + linked.len(), 20);
}
