//! The node that fetches a blob for the whole cluster, and the waiters for another node's check of a tag.

use roadstead_proto::time::duration_ms;
use std::time::Duration;

use roadstead_proto::{
    node::v1::{
        AcquireFillRequest, FollowFill, HeldFill, ReleaseFillRequest, RenewFillsRequest, ReportTagRequest,
        ResolveTagRequest, TagFound, UpstreamOutcome, acquire_fill_response::Result as Turn,
        report_tag_response::Decision as Reported, resolve_tag_response::Decision as Resolved,
        upstream_outcome::Outcome,
    },
    v1::Group,
};
use tonic::Code;

use crate::{
    harness::{Plane, digest, place},
    nodes::id,
    replicas::two,
};

fn url(node: usize) -> String {
    format!("http://node-{node}:7075")
}

fn question(node: usize) -> AcquireFillRequest {
    let group = Group { id: "g".into(), ..Default::default() };
    AcquireFillRequest {
        digest: digest("layer"),
        node_id: id(node),
        repository: place(&group, "library/alpine"),
        peer_url: url(node),
        ..Default::default()
    }
}

async fn ask(plane: &Plane, request: AcquireFillRequest) -> Turn {
    plane.node().node.acquire_fill(request).await.unwrap().into_inner().result.unwrap()
}

fn granted(turn: Turn) -> i64 {
    match turn {
        Turn::Granted(lease) => {
            assert_eq!(duration_ms(lease.lifetime), 6_000);
            lease.epoch
        }
        Turn::Follow(follow) => panic!("{follow:?}"),
    }
}

fn followed(turn: Turn) -> FollowFill {
    match turn {
        Turn::Follow(follow) => follow,
        Turn::Granted(lease) => panic!("{lease:?}"),
    }
}

async fn renew(plane: &Plane, node: usize, epoch: i64) -> Vec<String> {
    let fills = vec![HeldFill { digest: digest("layer"), epoch, upstream: "docker.io".into() }];
    let request = RenewFillsRequest { node_id: id(node), fills };
    let lost = plane.node().node.renew_fills(request).await.unwrap().into_inner().lost_fills;
    lost.into_iter().map(|fill| fill.digest).collect()
}

#[tokio::test]
async fn one_node_fetches_and_the_others_are_sent_to_it_until_it_is_done_or_lost() {
    let plane = Plane::start().await;
    let (first, second) = (question(1), question(2));
    let epoch = granted(ask(&plane, first.clone()).await);
    let follow = followed(ask(&plane, second.clone()).await);
    assert_eq!((&*follow.node_id, &*follow.peer_url, duration_ms(follow.since_renewal)), (&*id(1), &*url(1), 0));
    assert_eq!(follow.repository, first.repository);
    assert!(!follow.ticket.is_empty());
    // Renewed, it is the owner's beyond the first six seconds.
    plane.clock.advance(Duration::from_secs(5));
    assert_eq!(renew(&plane, 1, epoch).await, Vec::<String>::new());
    plane.clock.advance(Duration::from_secs(5));
    assert_eq!(duration_ms(followed(ask(&plane, second.clone()).await).since_renewal), 5_000);
    // A restarted owner has its own again.
    let again = granted(ask(&plane, first.clone()).await);
    assert!(again > epoch);
    assert_eq!(renew(&plane, 1, epoch).await, [digest("layer")]);
    // Given back, the next who asks has it.
    let fill = Some(HeldFill { digest: digest("layer"), epoch: again, upstream: "docker.io".into() });
    plane.node().node.release_fill(ReleaseFillRequest { node_id: id(1), fill }).await.unwrap();
    assert!(granted(ask(&plane, second).await) > again);
    followed(ask(&plane, first).await);
}

#[tokio::test]
async fn a_lost_owner_is_replaced_once_it_missed_its_heartbeats_and_not_before() {
    let plane = Plane::start().await;
    let epoch = granted(ask(&plane, question(1)).await);
    let lost = |node, lost: usize| AcquireFillRequest { lost_node_id: id(lost), ..question(node) };
    plane.clock.advance(Duration::from_millis(2_999));
    followed(ask(&plane, lost(2, 1)).await);
    plane.clock.advance(Duration::from_millis(1));
    followed(ask(&plane, question(2)).await);
    followed(ask(&plane, lost(2, 3)).await);
    let second = granted(ask(&plane, lost(2, 1)).await);
    assert!(second > epoch);
    assert_eq!(renew(&plane, 1, epoch).await, [digest("layer")], "the lost one is the owner no more");
    assert_eq!(followed(ask(&plane, lost(3, 1)).await).node_id, id(2));
    // And without anybody's word it runs out.
    plane.clock.advance(Duration::from_secs(6));
    assert!(granted(ask(&plane, question(3)).await) > second);
}

#[tokio::test]
async fn a_node_says_who_it_is_and_where() {
    let plane = Plane::start().await;
    let good = question(1);
    for bad in [
        AcquireFillRequest { node_id: "x".into(), ..good.clone() },
        AcquireFillRequest { peer_url: String::new(), ..good.clone() },
        AcquireFillRequest { peer_url: "ftp://node".into(), ..good.clone() },
        AcquireFillRequest { digest: "sha256:0".into(), ..good.clone() },
        AcquireFillRequest { repository: None, ..good },
    ] {
        assert_eq!(plane.node().node.acquire_fill(bad).await.unwrap_err().code(), Code::InvalidArgument);
    }
}

#[tokio::test]
async fn a_node_waits_for_the_check_of_another_and_is_told_the_same() {
    let plane = Plane::start().await;
    let group = plane.group("acme").await;
    let request = |node| ResolveTagRequest {
        repository: place(&group, "library/alpine"),
        tag: "latest".into(),
        node_id: id(node),
    };
    let resolve = |request| {
        let mut node = plane.node().node;
        async move { node.resolve_tag(request).await.unwrap().into_inner().decision.unwrap() }
    };
    assert!(matches!(resolve(request(1)).await, Resolved::Revalidate(_)));
    assert!(matches!(resolve(request(1)).await, Resolved::Revalidate(_)), "its own requests wait for nobody");
    let mut waiting = Box::pin(resolve(request(2)));
    assert!(tokio::time::timeout(Duration::from_millis(200), &mut waiting).await.is_err(), "it waits");
    let report = ReportTagRequest {
        repository: place(&group, "library/alpine"),
        tag: "latest".into(),
        outcome: Some(UpstreamOutcome { outcome: Some(Outcome::Found(TagFound { digest: digest("new") })) }),
    };
    let told = plane.node().node.report_tag(report).await.unwrap().into_inner().decision.unwrap();
    assert!(matches!(told, Reported::Fetch(_)));
    let Resolved::Fetch(fetch) = waiting.await else { panic!("it is told something else") };
    assert_eq!(fetch.digest, digest("new"));
    // The check is over; who comes later asks for itself.
    assert!(matches!(resolve(request(2)).await, Resolved::Revalidate(_)));
}

/// A check may begin at one replica and end at another: a node's calls go to any.
#[tokio::test]
async fn a_check_of_a_tag_that_ends_at_another_replica_holds_nobody_up_and_is_shared() {
    let (here, there) = two().await;
    let group = here.group("acme").await;
    let request = |tag: &str, node: usize| ResolveTagRequest {
        repository: place(&group, "library/alpine"),
        tag: tag.into(),
        node_id: id(node),
    };
    let resolve = |plane: &Plane, request: ResolveTagRequest| {
        let mut node = plane.node().node;
        async move { node.resolve_tag(request).await.unwrap().into_inner().decision.unwrap() }
    };
    let found = |tag: &str, of: &str| ReportTagRequest {
        repository: place(&group, "library/alpine"),
        tag: tag.into(),
        outcome: Some(UpstreamOutcome { outcome: Some(Outcome::Found(TagFound { digest: digest(of) })) }),
    };
    // One node asks here; others wait at both, and are told what the one reports at the other.
    assert!(matches!(resolve(&here, request("shared", 1)).await, Resolved::Revalidate(_)));
    let told = tokio::join!(resolve(&here, request("shared", 2)), resolve(&there, request("shared", 3)), async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        there.node().node.report_tag(found("shared", "new")).await.unwrap();
    });
    for decision in [told.0, told.1] {
        let Resolved::Fetch(fetch) = decision else { panic!("{decision:?}") };
        assert_eq!(fetch.digest, digest("new"));
    }
    // What has ended there is not waited for here, and its word is not taken for today's.
    for node in [1, 2] {
        assert!(matches!(resolve(&here, request("ended", node)).await, Resolved::Revalidate(_)));
        there.node().node.report_tag(found("ended", "old")).await.unwrap();
    }
    assert!(matches!(resolve(&here, request("ended", 3)).await, Resolved::Revalidate(_)));
    // A node that never reports is waited for no longer than calls are not repeated elsewhere.
    assert!(matches!(resolve(&here, request("lost", 1)).await, Resolved::Revalidate(_)));
    let waited = tokio::join!(resolve(&here, request("lost", 2)), resolve(&there, request("lost", 3)));
    assert!(matches!(waited, (Resolved::Revalidate(_), Resolved::Revalidate(_))), "{waited:?}");
}
