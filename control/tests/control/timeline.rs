//! A database that was put back to an earlier state: revisions that nodes have seen are given again, to other changes.

use std::{sync::Arc, time::Duration};

use roadstead_proto::{
    node::v1::{GetRevisionRequest, ReportNodeRequest, WatchRequest, WatchResponse, watch_response::Event},
    v1::{Group, ListNodesRequest, PurgeCacheRequest, UpdateGroupRequest},
};
use tokio::time::timeout;
use tonic::Streaming;

use crate::harness::{Plane, private_postgres};

/// A revision as a node has heard it: number and mark.
type Seen = (i64, String);

async fn watch(plane: &Plane, seen: &Seen, wants_snapshot: bool) -> Streaming<WatchResponse> {
    let (resume_revision, resume_mark) = seen.clone();
    let request = WatchRequest { resume_revision, resume_mark, wants_snapshot, ..WatchRequest::default() };
    plane.node().node.watch(request).await.unwrap().into_inner()
}

async fn next(watch: &mut Streaming<WatchResponse>) -> WatchResponse {
    timeout(Duration::from_secs(10), watch.message()).await.unwrap().unwrap().unwrap()
}

/// The revision that a new node hears.
async fn current(plane: &Plane) -> Seen {
    let told = next(&mut watch(plane, &Seen::default(), false).await).await;
    (told.revision, told.mark)
}

async fn freeze(plane: &Plane, times: usize) {
    for n in 0..times {
        let request = UpdateGroupRequest { path: "acme".into(), frozen: Some(n % 2 == 0), ..Default::default() };
        plane.admin().groups.update_group(request).await.unwrap();
    }
}

/// A plane of which a node has heard, and another that is like it but for the marks: its clock stands at the same time, so that it
/// gives the same numbers.
async fn put_back(changes_before: usize, changes_after: usize) -> (Plane, Group, Seen) {
    let lost = Plane::start().await;
    lost.group("acme").await;
    freeze(&lost, changes_before).await;
    let seen = current(&lost).await;
    let plane = Plane::start().await;
    let group = plane.group("acme").await;
    freeze(&plane, changes_after).await;
    (plane, group, seen)
}

/// The snapshot that an event is; panics unless nothing that the node remembers holds.
fn strange_snapshot(told: WatchResponse) -> (i64, roadstead_proto::node::v1::PolicySnapshot) {
    assert!(!told.memory_holds);
    match told.event {
        Some(Event::Snapshot(all)) => (told.revision, all),
        other => panic!("{other:?} instead of a snapshot"),
    }
}

#[tokio::test]
async fn a_node_that_has_seen_changes_which_are_lost_gets_a_snapshot_in_which_nothing_from_before_holds() {
    // The database has not come as far, just as far, and further than what the node has seen.
    for (before, after) in [(3, 0), (2, 2), (1, 4)] {
        for wants_snapshot in [false, true] {
            let (plane, group, seen) = put_back(before, after).await;
            let was = current(&plane).await;
            let (revision, all) = strange_snapshot(next(&mut watch(&plane, &seen, wants_snapshot).await).await);
            assert!(revision > seen.0 && revision > was.0);
            let told = all.groups.iter().find(|told| told.id == group.id).unwrap();
            assert_eq!([told.link_epoch, told.credential_epoch, told.access_epoch], [revision; 3]);
            // Nodes that have heard the database before it was found out hear everything anew, too; it is found out once.
            let (same, _) = strange_snapshot(next(&mut watch(&plane, &was, false).await).await);
            assert_eq!(same, revision);
        }
    }
}

#[tokio::test]
async fn what_a_node_remembers_holds_while_the_change_log_has_the_revision_that_it_names() {
    let plane = Plane::start().await;
    plane.group("acme").await;
    let seen = current(&plane).await;
    freeze(&plane, 2).await;
    let told = next(&mut watch(&plane, &seen, true).await).await;
    assert!(told.memory_holds && matches!(told.event, Some(Event::Snapshot(_))));
    let told = next(&mut watch(&plane, &seen, false).await).await;
    assert!(matches!(told.event, Some(Event::Changes(_))) && told.revision == seen.0 + 2);
    // Pruned away but for the last: what follows that is still known.
    plane.advance(2 * 3600);
    plane.control.keep_up_once().await.unwrap();
    let last = current(&plane).await;
    freeze(&plane, 1).await;
    strange_snapshot(next(&mut watch(&plane, &seen, true).await).await);
    let told = next(&mut watch(&plane, &last, false).await).await;
    assert!(matches!(told.event, Some(Event::Changes(_))));
    assert_eq!(told.revision, last.0 + 1, "and no new timeline began");
}

#[tokio::test]
async fn a_node_that_asks_for_the_revision_hears_one_that_its_memory_cannot_have() {
    let (plane, _, seen) = put_back(3, 1).await;
    let ask = async || {
        let request = GetRevisionRequest { known_revision: seen.0, known_mark: seen.1.clone() };
        plane.node().node.get_revision(request).await.unwrap().into_inner().revision
    };
    let revision = ask().await;
    assert!(revision > seen.0);
    assert_eq!(ask().await, revision);
}

#[tokio::test]
async fn a_report_of_a_lost_revision_counts_for_no_purge() {
    let (plane, group, seen) = put_back(5, 1).await;
    let node_id = "019e0000-0000-7000-8000-000000000001".to_owned();
    let report = ReportNodeRequest {
        node_id,
        node_name: "node-1".into(),
        applied_revision: seen.0,
        applied_mark: seen.1,
        max_control_outage: roadstead_proto::time::seconds(900),
        ..ReportNodeRequest::default()
    };
    plane.node().node.report_node(report).await.unwrap();
    let listed = plane.admin().cluster.list_nodes(ListNodesRequest::default()).await.unwrap().into_inner().nodes;
    assert_eq!(listed[0].applied_revision, 0);
    plane.node().link_blob(&group, "a", "x", 1).await;
    let answer = plane.admin().cache.purge_cache(PurgeCacheRequest::whole_group("acme")).await.unwrap().into_inner();
    assert_eq!(answer.unreached_nodes.len(), 1);
}

#[tokio::test]
async fn a_running_replica_finds_out_by_itself_that_a_standby_without_the_last_changes_took_over() {
    let folder = Arc::new(tempfile::tempdir().unwrap());
    let plane = Plane::replica_in(&folder).await;
    let url = private_postgres::url_for(folder.path());
    plane.group("acme").await;
    freeze(&plane, 2).await;
    let mut events = watch(&plane, &Seen::default(), false).await;
    let seen = next(&mut events).await;
    private_postgres::query(
        &url,
        "UPDATE revision_counter SET revision = revision - 1, mark = 'another';
         DELETE FROM changes WHERE revision > (SELECT revision FROM revision_counter);
         UPDATE changes SET mark = 'another' WHERE revision = (SELECT revision FROM revision_counter);",
    );
    let mut told = next(&mut events).await;
    if matches!(told.event, Some(Event::Heartbeat(_))) {
        // It was on its way.
        told = next(&mut events).await;
    }
    let (revision, all) = strange_snapshot(told);
    assert!(revision > seen.revision);
    assert!(all.groups.iter().all(|group| group.link_epoch == revision));
    // Changes are told as before.
    freeze(&plane, 1).await;
    assert!(matches!(next(&mut events).await.event, Some(Event::Changes(_))));
}
