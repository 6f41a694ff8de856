//! Reports of nodes about themselves, as administrators see them.

use roadstead_proto::time::{seconds, timestamp};
use roadstead_proto::{
    node::v1::{ReportNodeRequest, WatchRequest},
    v1::{Group, ListNodesRequest, Node, NodeState, PurgeCacheRequest, PurgeCacheResponse, UpdateGroupRequest},
};
use tonic::Code;

use std::time::Duration;

use crate::harness::{Client, Plane, START_MS};

/// The id of the nth node.
pub fn id(n: usize) -> String {
    format!("01990000-0000-7000-8000-{n:012}")
}

pub fn report(n: usize, applied_revision: i64) -> ReportNodeRequest {
    ReportNodeRequest {
        node_id: id(n),
        node_name: format!("node-{n}"),
        version: "1.2.3".into(),
        started_at: timestamp(START_MS - 60_000),
        applied_revision,
        max_control_outage: seconds(900),
        ..Default::default()
    }
}

/// With a store of so many bytes.
pub fn report_store(n: usize, store_total_bytes: i64) -> ReportNodeRequest {
    ReportNodeRequest { store_total_bytes, ..report(n, 1) }
}

pub async fn list(plane: &Plane) -> Vec<Node> {
    let (mut nodes, mut page_token) = (Vec::new(), String::new());
    loop {
        let request = ListNodesRequest { page_size: 300, page_token };
        let page = plane.admin().cluster.list_nodes(request).await.unwrap().into_inner();
        nodes.extend(page.nodes);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return nodes;
        }
    }
}

/// The revision that nodes would have now.
pub async fn revision(plane: &Plane) -> i64 {
    let mut events = plane.node().node.watch(WatchRequest::default()).await.unwrap().into_inner();
    events.message().await.unwrap().unwrap().revision
}

#[tokio::test]
async fn a_node_is_listed_as_it_last_reported_until_it_stops() {
    let plane = Plane::start().await;
    let revision = revision(&plane).await;
    let mut node = plane.node().node;
    let full = ReportNodeRequest {
        fills: 2,
        served_bytes: 30,
        fetched_bytes: 20,
        peer_bytes: 10,
        peer_url: "http://10.0.0.5:7073".into(),
        store_total_bytes: 1000,
        store_available_bytes: 400,
        store_id: "s3://bucket/prefix".into(),
        ..report(1, revision)
    };
    node.report_node(full.clone()).await.unwrap();
    let listed = list(&plane).await;
    assert_eq!(
        listed,
        [Node {
            id: id(1),
            name: "node-1".into(),
            version: "1.2.3".into(),
            state: NodeState::Up.into(),
            started_at: Some(prost_types::Timestamp { seconds: START_MS / 1000 - 60, nanos: 0 }),
            last_heard_at: Some(prost_types::Timestamp { seconds: START_MS / 1000, nanos: 0 }),
            applied_revision: revision,
            revisions_behind: 0,
            fills: 2,
            served_bytes: 30,
            fetched_bytes: 20,
            peer_bytes: 10,
            peer_url: "http://10.0.0.5:7073".into(),
            store_total_bytes: 1000,
            store_available_bytes: 400,
        }]
    );
    node.report_node(ReportNodeRequest { stopping: true, ..full }).await.unwrap();
    assert_eq!(list(&plane).await, []);
}

#[tokio::test]
async fn a_node_lags_when_it_does_not_apply_and_is_unreachable_when_it_is_silent_and_is_forgotten_after_a_day() {
    let plane = Plane::start().await;
    plane.group("acme").await;
    let before = revision(&plane).await;
    let mut node = plane.node().node;
    node.report_node(report(1, before)).await.unwrap();
    let change = UpdateGroupRequest { path: "acme".into(), frozen: Some(true), ..Default::default() };
    plane.admin().groups.update_group(change).await.unwrap();
    let state = async |plane: &Plane| {
        let node = list(plane).await.remove(0);
        (node.state(), node.revisions_behind)
    };
    assert_eq!(state(&plane).await, (NodeState::Up, 1), "nobody is that fast");
    plane.advance(4);
    assert_eq!(state(&plane).await, (NodeState::Lagging, 1));
    node.report_node(report(1, before + 1)).await.unwrap();
    assert_eq!(state(&plane).await, (NodeState::Up, 0));
    plane.advance(16);
    assert_eq!(state(&plane).await, (NodeState::Unreachable, 0));
    plane.advance(24 * 3600);
    assert_eq!(list(&plane).await, []);
    plane.control.keep_up_once().await.unwrap();
    node.report_node(report(1, before + 1)).await.unwrap();
    assert_eq!(state(&plane).await, (NodeState::Up, 0), "and is welcome back");
}

#[tokio::test]
async fn a_node_is_known_from_the_moment_it_begins_to_watch() {
    let plane = Plane::start().await;
    let request = WatchRequest { node_id: id(1), node_name: "node-1".into(), ..Default::default() };
    let mut events = plane.node().node.watch(request).await.unwrap().into_inner();
    events.message().await.unwrap().unwrap();
    let listed = list(&plane).await;
    assert_eq!((listed[0].id.as_str(), listed[0].applied_revision, listed[0].started_at), (id(1).as_str(), 0, None));
}

#[tokio::test]
async fn a_thousand_nodes_report_at_once_and_all_are_listed_with_their_last_word() {
    let plane = Plane::start().await;
    let mut reports = tokio::task::JoinSet::new();
    for n in 0..1000 {
        let mut node = plane.node().node;
        reports.spawn(async move {
            for applied in [5, 6] {
                node.report_node(report(n, applied)).await.unwrap();
            }
        });
    }
    reports.join_all().await;
    let listed = list(&plane).await;
    assert_eq!(listed.len(), 1000);
    assert!(listed.iter().all(|node| node.applied_revision == 6));
    assert!(listed.is_sorted_by(|a, b| a.id < b.id));
}

#[tokio::test]
async fn who_has_no_id_cannot_report() {
    let plane = Plane::start().await;
    for node_id in [String::new(), "node-1".to_owned()] {
        let request = ReportNodeRequest { node_id, ..report(1, 1) };
        assert_eq!(plane.node().node.report_node(request).await.unwrap_err().code(), Code::InvalidArgument);
    }
}

async fn purge(mut client: Client, request: PurgeCacheRequest) -> PurgeCacheResponse {
    client.cache.purge_cache(request).await.unwrap().into_inner()
}

fn all_of(group: &Group) -> PurgeCacheRequest {
    PurgeCacheRequest::whole_group(group.path.clone())
}

fn names(answer: &PurgeCacheResponse) -> Vec<&str> {
    answer.unreached_nodes.iter().map(|node| node.name.as_str()).collect()
}

#[tokio::test]
async fn a_purge_is_answered_when_the_nodes_have_applied_it_and_so_is_one_that_finds_nothing_left() {
    let plane = Plane::start().await;
    let group = plane.group("acme").await;
    plane.node().link_blob(&group, "a", "l", 10).await;
    let before = revision(&plane).await;
    for n in [1, 2] {
        plane.node().node.report_node(report(n, before)).await.unwrap();
    }
    let first = tokio::spawn(purge(plane.admin(), all_of(&group)));
    while revision(&plane).await == before {
        tokio::task::yield_now().await;
    }
    let second = tokio::spawn(purge(plane.admin(), all_of(&group)));
    plane.node().node.report_node(report(1, before + 1)).await.unwrap();
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(!first.is_finished() && !second.is_finished(), "one node still serves by what was before");
    plane.node().node.report_node(report(2, before + 1)).await.unwrap();
    let (first, second) = (first.await.unwrap(), second.await.unwrap());
    assert_eq!((first.blobs, first.groups, names(&first)), (1, 1, vec![]));
    assert_eq!((second.blobs, second.groups, names(&second)), (0, 0, vec![]));
}

#[tokio::test]
async fn nodes_that_do_not_apply_a_purge_are_named_unless_they_serve_nothing_any_more() {
    let plane = Plane::start().await;
    let group = plane.group("acme").await;
    plane.node().link_blob(&group, "a", "l", 10).await;
    let before = revision(&plane).await;
    // Silent for too long to serve anything; silent, but serving perhaps; there, but stuck; fine.
    plane.node().node.report_node(report(1, before)).await.unwrap();
    plane.advance(900 - 60);
    plane.node().node.report_node(report(2, before)).await.unwrap();
    plane.advance(120);
    plane.node().node.report_node(report(3, before)).await.unwrap();
    plane.node().node.report_node(report(4, before + 1)).await.unwrap();
    let dry = purge(plane.admin(), all_of(&group).dry_run(true)).await;
    assert_eq!((dry.blobs, names(&dry)), (1, vec![]));
    let answer = purge(plane.admin(), all_of(&group)).await;
    assert_eq!((answer.blobs, names(&answer)), (1, vec!["node-2", "node-3"]));
    assert_eq!(answer.unreached_nodes[0].last_heard_at.unwrap().seconds, START_MS / 1000 + 840);
    // Nobody waits for a node that has stopped; started while nobody can tell it of the purge, it would serve all the same.
    plane.node().node.report_node(ReportNodeRequest { stopping: true, ..report(3, before) }).await.unwrap();
    plane.node().link_blob(&group, "a", "l", 10).await;
    plane.node().node.report_node(report(4, before + 100)).await.unwrap();
    let answer = purge(plane.admin(), all_of(&group)).await;
    assert_eq!((answer.blobs, names(&answer)), (1, vec!["node-2", "node-3"]));
    // It came back and knows.
    plane.node().node.report_node(report(3, before + 100)).await.unwrap();
    let answer = purge(plane.admin(), all_of(&group)).await;
    assert_eq!(names(&answer), ["node-2"]);
}
