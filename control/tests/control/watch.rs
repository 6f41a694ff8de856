//! The events that nodes get, and their time.

use std::time::Duration;

use roadstead_proto::{
    node::v1::{
        PolicyChange, PolicySnapshot, WatchRequest, WatchResponse, policy_change::Change, watch_response::Event,
    },
    v1::{DeleteGroupRequest, DeleteTokenRequest, PurgeCacheRequest, UpdateGroupRequest, UpdateUpstreamRequest},
};
use tokio::time::timeout;
use tonic::Streaming;

use crate::harness::Plane;

/// A revision as a node has heard it: number and mark.
type Seen = (i64, String);

/// Nothing was heard before.
fn nothing() -> Seen {
    (0, String::new())
}

async fn watch(plane: &Plane, (resume_revision, resume_mark): Seen) -> Streaming<WatchResponse> {
    let request = WatchRequest {
        node_name: "n1".into(),
        version: "1".into(),
        resume_revision,
        resume_mark,
        ..WatchRequest::default()
    };
    plane.node().node.watch(request).await.unwrap().into_inner()
}

async fn next(watch: &mut Streaming<WatchResponse>) -> (Seen, Event) {
    let message = timeout(Duration::from_secs(10), watch.message()).await.unwrap().unwrap().unwrap();
    ((message.revision, message.mark), message.event.unwrap())
}

async fn snapshot(watch: &mut Streaming<WatchResponse>) -> (Seen, PolicySnapshot) {
    match next(watch).await {
        (revision, Event::Snapshot(snapshot)) => (revision, snapshot),
        (_, other) => panic!("{other:?} instead of a snapshot"),
    }
}

/// The next changes, heartbeats left out. Those say that nothing is new: two of them are too late.
async fn changes(watch: &mut Streaming<WatchResponse>) -> (Seen, Vec<Change>) {
    for _ in 0..2 {
        match next(watch).await {
            (revision, Event::Changes(changes)) => {
                let changes = changes.changes.into_iter().map(|PolicyChange { change }| change.unwrap());
                return (revision, changes.collect());
            }
            (_, Event::Heartbeat(_)) => {}
            (_, other) => panic!("{other:?} instead of changes"),
        }
    }
    panic!("nothing was told");
}

async fn freeze(plane: &Plane, path: &str, frozen: bool) {
    let request = UpdateGroupRequest { path: path.into(), frozen: Some(frozen), ..Default::default() };
    plane.admin().groups.update_group(request).await.unwrap();
}

#[tokio::test]
async fn a_new_node_gets_everything_and_then_every_change_at_once() {
    let plane = Plane::start().await;
    let group = plane.group("acme").await;
    let mut events = watch(&plane, nothing()).await;
    let (first, all) = snapshot(&mut events).await;
    let mut paths: Vec<_> = all.groups.iter().map(|group| group.path.as_str()).collect();
    paths.sort_unstable();
    assert_eq!((paths, all.revision), (vec!["acme", "default"], first.0));
    assert_eq!((all.upstreams[0].host.as_str(), all.keys.len(), all.keys[0].ed25519.len()), ("docker.io", 1, 32));

    freeze(&plane, "acme", true).await;
    let (second, told) = changes(&mut events).await;
    assert!(second.0 > first.0);
    assert!(matches!(&told[..], [Change::Group(g)] if g.id == group.id && g.frozen && g.enabled));

    let token = plane.token("acme", &[]).await;
    plane.admin().tokens.delete_token(DeleteTokenRequest { id: token.id.clone() }).await.unwrap();
    let (_, told) = changes(&mut events).await;
    assert!(matches!(&told[..], [Change::Revocation(r)] if r.token_id == token.id));

    let upstream = UpdateUpstreamRequest::replacing("quay.io", "https://quay.io");
    plane.admin().upstreams.update_upstream(upstream).await.unwrap();
    let (_, told) = changes(&mut events).await;
    assert!(matches!(&told[..], [Change::Upstream(u)] if u.url == "https://quay.io"));

    plane.node().link_blob(&group, "a", "x", 1).await;
    let purge = PurgeCacheRequest::whole_group("acme");
    plane.admin().cache.purge_cache(purge).await.unwrap();
    let (revision, told) = changes(&mut events).await;
    assert!(matches!(&told[..], [Change::Group(g)] if g.link_epoch == revision.0));
}

#[tokio::test]
async fn a_node_that_comes_back_is_told_what_it_missed_each_subject_once() {
    let plane = Plane::start().await;
    plane.group("acme").await;
    let (have, _) = snapshot(&mut watch(&plane, nothing()).await).await;
    let token = plane.token("acme", &[]).await;
    for frozen in [true, false, true] {
        freeze(&plane, "default", frozen).await;
    }
    plane.admin().groups.delete_group(DeleteGroupRequest { path: "acme".into() }).await.unwrap();
    let plane = plane.restart().await;
    let (now, told) = changes(&mut watch(&plane, have).await).await;
    assert!(
        matches!(
            &told[..],
            [Change::Group(g), Change::Revocation(r), Change::DeletedGroupId(_)] if g.frozen && r.token_id == token.id
        ),
        "{told:?}"
    );
    let (still, event) = next(&mut watch(&plane, now.clone()).await).await;
    assert!(matches!(event, Event::Heartbeat(_)));
    assert_eq!(still, now);
}

#[tokio::test]
async fn a_revision_that_is_unknown_or_too_old_gets_a_snapshot() {
    let plane = Plane::start().await;
    let ((have, mark), _) = snapshot(&mut watch(&plane, nothing()).await).await;
    for unknown in [1, have - 100_000, have + 1, i64::MAX, -1] {
        snapshot(&mut watch(&plane, (unknown, String::new())).await).await;
        snapshot(&mut watch(&plane, (unknown, mark.clone())).await).await;
    }
}

#[tokio::test]
async fn a_quiet_watch_beats_and_ends_when_the_server_stops() {
    let plane = Plane::start().await;
    let mut events = watch(&plane, nothing()).await;
    let (revision, _) = snapshot(&mut events).await;
    let (same, event) = timeout(Duration::from_secs(30), next(&mut events)).await.unwrap();
    assert!(matches!(event, Event::Heartbeat(_)) && same == revision);
    plane.stop.cancel();
    let end = timeout(Duration::from_secs(5), async { while let Ok(Some(_)) = events.message().await {} }).await;
    assert!(end.is_ok());
}

#[tokio::test]
async fn many_changes_at_once_are_all_told() {
    let plane = Plane::start().await;
    let mut events = watch(&plane, nothing()).await;
    snapshot(&mut events).await;
    for n in 0..30 {
        plane.group(&format!("g{n}")).await;
    }
    let (mut told, mut last) = (0, nothing());
    while told < 30 {
        let (revision, changes) = changes(&mut events).await;
        assert!(revision > last);
        (told, last) = (told + changes.len(), revision);
    }
    assert_eq!(told, 30);
}
