//! Garbage and its races with links.

use roadstead_proto::{
    node::v1::{AdoptContentsRequest, ClaimGarbageRequest, ClaimGarbageResponse, ConfirmGarbageRequest, StoredContent},
    v1::{GetStatsRequest, Group, PurgeCacheRequest},
};
use tonic::Code;

use crate::harness::{Client, Plane, digest};

async fn claim(node: &mut Client) -> ClaimGarbageResponse {
    claim_as(node, ClaimGarbageRequest::default()).await
}

async fn claim_as(node: &mut Client, request: ClaimGarbageRequest) -> ClaimGarbageResponse {
    node.node.claim_garbage(request).await.unwrap().into_inner()
}

async fn confirm(node: &mut Client, claim_id: &str, name: &str) {
    let request = ConfirmGarbageRequest { digests: vec![digest(name)], claim_id: claim_id.to_owned() };
    node.node.confirm_garbage(request).await.unwrap();
}

async fn purge(plane: &Plane, group: &str) {
    let request = PurgeCacheRequest::whole_group(group);
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
    assert!(claim(&mut node).await.digests.is_empty());
    plane.advance(1);
    assert_eq!(claim(&mut node).await.digests, [digest("x")]);
    assert!(claim(&mut node).await.digests.is_empty());
    plane.advance(600);
    let again = claim(&mut node).await;
    assert_eq!(again.digests, [digest("x")], "a claim that was not confirmed ends");
    confirm(&mut node, &again.claim_id, "x").await;
    plane.advance(600);
    assert!(claim(&mut node).await.digests.is_empty());
}

#[tokio::test]
async fn what_one_group_still_links_is_no_garbage() {
    let plane = Plane::start().await;
    let other = plane.group("other").await;
    plane.node().link_blob(&other, "b", "x", 1).await;
    let (_, mut node) = unlinked(&plane).await;
    plane.advance(4000);
    assert!(claim(&mut node).await.digests.is_empty());
    purge(&plane, "other").await;
    plane.advance(3600);
    assert_eq!(claim(&mut node).await.digests.len(), 1);
}

#[tokio::test]
async fn content_linked_again_before_a_claim_stays() {
    let plane = Plane::start().await;
    let (group, mut node) = unlinked(&plane).await;
    plane.advance(1800);
    assert!(node.link_blob(&group, "a", "x", 1).await.recorded);
    plane.advance(4000);
    assert!(claim(&mut node).await.digests.is_empty());
}

#[tokio::test]
async fn a_link_during_a_claim_is_not_recorded_and_after_the_deletion_it_is() {
    let plane = Plane::start().await;
    let (group, mut node) = unlinked(&plane).await;
    plane.advance(3600);
    let claimed = claim(&mut node).await;
    assert!(!node.link_blob(&group, "a", "x", 1).await.recorded);
    plane.advance(599);
    assert!(!node.link_blob(&group, "a", "x", 1).await.recorded);
    confirm(&mut node, &claimed.claim_id, "x").await;
    assert!(node.link_blob(&group, "a", "x", 1).await.recorded);
    plane.advance(4000);
    assert!(claim(&mut node).await.digests.is_empty());
}

#[tokio::test]
async fn a_late_confirmation_takes_nothing_that_was_linked_or_claimed_since() {
    let plane = Plane::start().await;
    let (group, mut node) = unlinked(&plane).await;
    plane.advance(3600);
    let first = claim(&mut node).await;
    plane.advance(600);
    assert!(node.link_blob(&group, "a", "x", 1).await.recorded, "the claim lapsed");
    confirm(&mut node, &first.claim_id, "x").await;
    purge(&plane, "acme").await;
    // Unlinked anew: the grace period counts from now, and the old claim is not confirmed any more.
    confirm(&mut node, &first.claim_id, "x").await;
    plane.advance(3600);
    let second = claim(&mut node).await;
    assert_eq!(second.digests, [digest("x")]);
    // Another node is about to delete it under its own claim: until it has, nothing may be linked.
    confirm(&mut node, &first.claim_id, "x").await;
    assert!(!node.link_blob(&group, "a", "x", 1).await.recorded);
    confirm(&mut node, &second.claim_id, "x").await;
    assert!(node.link_blob(&group, "a", "x", 1).await.recorded);
}

#[tokio::test]
async fn a_node_that_starts_anew_gets_back_what_it_was_deleting() {
    let plane = Plane::start().await;
    let (_, mut node) = unlinked(&plane).await;
    plane.advance(3600);
    let claiming = |node_id: &str, void_earlier| ClaimGarbageRequest {
        node_id: node_id.into(),
        void_earlier,
        ..ClaimGarbageRequest::default()
    };
    assert_eq!(claim_as(&mut node, claiming("a", true)).await.digests.len(), 1);
    assert!(claim_as(&mut node, claiming("a", false)).await.digests.is_empty());
    assert!(claim_as(&mut node, claiming("b", true)).await.digests.is_empty(), "not another's");
    assert_eq!(claim_as(&mut node, claiming("a", true)).await.digests.len(), 1);
}

#[tokio::test]
async fn confirming_what_was_never_claimed_or_never_there_changes_nothing() {
    let plane = Plane::start().await;
    let group = plane.group("acme").await;
    let mut node = plane.node();
    node.link_blob(&group, "a", "x", 1).await;
    confirm(&mut node, "some-claim", "x").await;
    confirm(&mut node, "some-claim", "never").await;
    purge(&plane, "acme").await;
    confirm(&mut node, "some-claim", "x").await;
    plane.advance(3600);
    assert_eq!(claim(&mut node).await.digests.len(), 1);
    let bad = ClaimGarbageRequest { limit: 1001, ..Default::default() };
    assert_eq!(node.node.claim_garbage(bad).await.unwrap_err().code(), Code::InvalidArgument);
    let bad = ConfirmGarbageRequest { digests: vec![digest("x")], ..Default::default() };
    assert_eq!(node.node.confirm_garbage(bad).await.unwrap_err().code(), Code::InvalidArgument, "of which claim?");
}

#[tokio::test]
async fn what_was_found_in_a_store_and_is_unknown_goes_after_the_grace_unless_it_is_linked() {
    let plane = Plane::start().await;
    let group = plane.group("acme").await;
    let mut node = plane.node();
    node.link_blob(&group, "a", "known", 10).await;
    let found = |names: &[&str], size_bytes| AdoptContentsRequest {
        contents: names.iter().map(|name| StoredContent { digest: digest(name), size_bytes }).collect(),
        store_id: "here".into(),
    };
    let answer = node.node.adopt_contents(found(&["known", "lost", "wanted"], 10)).await.unwrap().into_inner();
    assert_eq!((answer.adopted, answer.wrong_size_digests.len()), (2, 0));
    let again = node.node.adopt_contents(found(&["known", "lost", "wanted"], 9)).await.unwrap().into_inner();
    assert_eq!((again.adopted, again.wrong_size_digests), (0, vec![digest("known")]), "only what is linked is damaged");
    plane.advance(1800);
    assert!(node.link_blob(&group, "a", "wanted", 11).await.recorded);
    let request = GetStatsRequest { group_path: "acme".into() };
    let stats = plane.admin().cache.get_stats(request).await.unwrap().into_inner();
    assert_eq!(stats.bytes, 21, "the size of verified content counts");
    plane.advance(1800);
    let elsewhere = ClaimGarbageRequest { store_id: "elsewhere".into(), ..Default::default() };
    assert!(claim_as(&mut node, elsewhere).await.digests.is_empty(), "it is not there");
    let here = ClaimGarbageRequest { store_id: "here".into(), ..Default::default() };
    assert_eq!(claim_as(&mut node, here).await.digests, [digest("lost")]);
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
                let request = ClaimGarbageRequest { limit: 2, ..Default::default() };
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
