//! Nodes' observations of upstreams: pull limits, pauses and health, as other nodes and people see them.

use roadstead_proto::time::{duration_seconds, seconds, timestamp, timestamp_ms};
use std::time::Duration;

use roadstead_proto::{
    node::v1::{
        GroupSpend, RefusalReason, ReportTagRequest, ReportUpstreamsRequest, ResolveTagRequest, StaleReason, TagFound,
        UpstreamCondition, UpstreamOutcome, UpstreamReport, UpstreamState, WatchRequest, WatchResponse,
        policy_change::Change, report_tag_response::Decision as Reported, resolve_tag_response::Decision as Resolved,
        upstream_outcome::Outcome, watch_response::Event,
    },
    v1::{
        Group, ListUpstreamStatusesRequest, UpdateCredentialRequest, UpdateUpstreamRequest, UpstreamHealth,
        UpstreamStatus,
    },
};
use tokio::time::timeout;
use tonic::{Code, Streaming};

use crate::harness::{Client, Plane, START_MS, digest, place};

const IMAGE: &str = "library/alpine";

fn condition(limit: i64, remaining: i64, seen_at_ms: i64) -> UpstreamCondition {
    UpstreamCondition {
        upstream: "docker.io".into(),
        source: "192.0.2.1".into(),
        limit,
        remaining,
        seen_at: timestamp(seen_at_ms),
        window: seconds(21600),
        ..Default::default()
    }
}

fn report(condition: UpstreamCondition) -> UpstreamReport {
    UpstreamReport { condition: Some(condition), state: UpstreamState::Good.into(), ..Default::default() }
}

async fn send_as(plane: &Plane, node_name: &str, batch_id: &str, reports: Vec<UpstreamReport>) {
    let (node_name, batch_id) = (node_name.to_owned(), batch_id.to_owned());
    plane.node().node.report_upstreams(ReportUpstreamsRequest { batch_id, reports, node_name }).await.unwrap();
}

async fn send(plane: &Plane, batch_id: &str, reports: Vec<UpstreamReport>) {
    send_as(plane, "n1", batch_id, reports).await;
}

async fn statuses(plane: &Plane, group_path: &str) -> Vec<UpstreamStatus> {
    let request = ListUpstreamStatusesRequest { group_path: group_path.into(), ..Default::default() };
    plane.admin().upstreams.list_upstream_statuses(request).await.unwrap().into_inner().statuses
}

async fn resolve(plane: &Plane, group: &Group, tag: &str) -> Resolved {
    let request = ResolveTagRequest { repository: place(group, IMAGE), tag: tag.into(), node_id: String::new() };
    plane.node().node.resolve_tag(request).await.unwrap().into_inner().decision.unwrap()
}

async fn moved(node: &mut Client, group: &Group, tag: &str, name: &str) -> Reported {
    let outcome = UpstreamOutcome { outcome: Some(Outcome::Found(TagFound { digest: digest(name) })) };
    let request = ReportTagRequest { repository: place(group, IMAGE), tag: tag.into(), outcome: Some(outcome) };
    node.node.report_tag(request).await.unwrap().into_inner().decision.unwrap()
}

async fn watch(plane: &Plane) -> Streaming<WatchResponse> {
    let request = WatchRequest { node_name: "n2".into(), ..Default::default() };
    plane.node().node.watch(request).await.unwrap().into_inner()
}

async fn next(watch: &mut Streaming<WatchResponse>) -> Event {
    timeout(Duration::from_secs(10), watch.message()).await.unwrap().unwrap().unwrap().event.unwrap()
}

/// The conditions of the next event: of a snapshot or changes; none of a heartbeat.
async fn told(watch: &mut Streaming<WatchResponse>) -> Vec<(i64, i64)> {
    let conditions = match next(watch).await {
        Event::Snapshot(snapshot) => snapshot.conditions,
        Event::Changes(changes) => changes
            .changes
            .into_iter()
            .filter_map(|change| match change.change {
                Some(Change::Condition(condition)) => Some(condition),
                _ => None,
            })
            .collect(),
        Event::Heartbeat(_) => Vec::new(),
    };
    conditions.into_iter().map(|told| (told.remaining, timestamp_ms(told.paused_until))).collect()
}

#[tokio::test]
async fn a_pause_reaches_every_node_at_once_and_stops_all_asking_until_it_is_over() {
    let plane = Plane::start().await;
    let group = plane.group("acme").await;
    plane.node().link_manifest(&group, IMAGE, "m1", "latest", &[]).await;
    let mut events = watch(&plane).await;
    assert_eq!(told(&mut events).await, []);
    let until = START_MS + 90_500;
    send(&plane, "1", vec![report(UpstreamCondition { paused_until: timestamp(until), ..condition(0, 0, 0) })]).await;
    assert_eq!(told(&mut events).await, [(0, until)]);
    assert_eq!(told(&mut watch(&plane).await).await, [(0, until)], "who comes later learns it too");
    plane.advance(60);
    assert!(
        matches!(resolve(&plane, &group, "latest").await, Resolved::Serve(s) if s.stale() == StaleReason::RateLimited)
    );
    let Resolved::Refuse(refuse) = resolve(&plane, &group, "other").await else { panic!() };
    assert_eq!((refuse.reason(), duration_seconds(refuse.retry_after)), (RefusalReason::RateLimited, 31));
    // Another node that was let through does not end it.
    send(&plane, "2", vec![report(condition(100, 50, START_MS + 60_000))]).await;
    assert!(matches!(resolve(&plane, &group, "other").await, Resolved::Refuse(_)));
    assert_eq!(statuses(&plane, "").await[0].paused_until.map(|at| at.seconds), Some(until / 1000));
    plane.advance(31);
    for tag in ["latest", "other"] {
        assert!(matches!(resolve(&plane, &group, tag).await, Resolved::Revalidate(_)), "{tag}");
    }
    assert_eq!(statuses(&plane, "").await[0].paused_until, None);
}

#[tokio::test]
async fn a_pause_is_for_the_credentials_that_met_it() {
    let plane = Plane::start().await;
    let (acme, other) = (plane.group("acme").await, plane.group("other").await);
    let login = UpdateCredentialRequest {
        group_path: "acme".into(),
        host: "docker.io".into(),
        username: "me".into(),
        password: "p".into(),
        skip_verification: true,
        allow_missing: true,
    };
    plane.admin().upstreams.update_credential(login).await.unwrap();
    let paused =
        UpstreamCondition { username: "me".into(), paused_until: timestamp(START_MS + 60_000), ..condition(0, 0, 0) };
    send(&plane, "1", vec![report(paused)]).await;
    assert!(matches!(resolve(&plane, &acme, "latest").await, Resolved::Refuse(_)));
    assert!(matches!(resolve(&plane, &other, "latest").await, Resolved::Revalidate(_)));
    assert_eq!(statuses(&plane, "acme").await.len(), 1);
    assert_eq!(statuses(&plane, "other").await, [], "others' credentials are not this group's business");
}

#[tokio::test]
async fn nodes_hear_at_once_when_the_reserve_is_crossed_and_of_the_rest_in_time() {
    let plane = Plane::start().await;
    let mut events = watch(&plane).await;
    assert_eq!(told(&mut events).await, []);
    send(&plane, "1", vec![report(condition(100, 50, START_MS))]).await;
    assert_eq!(told(&mut events).await, [], "a heartbeat: this can wait");
    plane.advance(1);
    send(&plane, "2", vec![report(condition(100, 9, START_MS + 1000))]).await;
    assert_eq!(told(&mut events).await, [(9, 0)]);
    // Late news are no news.
    send(&plane, "3", vec![report(condition(100, 80, START_MS + 500))]).await;
    plane.advance(1);
    send(&plane, "4", vec![report(condition(100, 95, START_MS + 2000))]).await;
    assert_eq!(told(&mut events).await, [(95, 0)]);
}

#[tokio::test]
async fn below_the_reserve_a_moved_tag_is_served_as_it_was_and_what_is_not_cached_is_fetched() {
    let plane = Plane::start().await;
    let group = plane.group("acme").await;
    let mut node = plane.node();
    node.link_manifest(&group, IMAGE, "m1", "latest", &[]).await;
    send(&plane, "1", vec![report(condition(100, 9, START_MS))]).await;
    assert!(matches!(resolve(&plane, &group, "latest").await, Resolved::Revalidate(_)), "HEADs are free");
    let Reported::Serve(serve) = moved(&mut node, &group, "latest", "m2").await else { panic!() };
    assert_eq!((serve.manifest.clone().unwrap().digest, serve.stale()), (digest("m1"), StaleReason::Reserve));
    assert!(matches!(moved(&mut node, &group, "new", "m3").await, Reported::Fetch(_)));
    let set = UpdateUpstreamRequest { host: "docker.io".into(), reserve_percent: Some(5), ..Default::default() };
    plane.admin().upstreams.update_upstream(set).await.unwrap();
    assert!(matches!(moved(&mut node, &group, "latest", "m2").await, Reported::Fetch(_)), "a smaller reserve");
    send(&plane, "2", vec![report(condition(100, 4, START_MS + 1))]).await;
    plane.advance(21600);
    assert!(matches!(moved(&mut node, &group, "latest", "m2").await, Reported::Fetch(_)), "the window has passed");
}

#[tokio::test]
async fn statuses_put_together_what_all_nodes_say_and_who_spent_what() {
    let plane = Plane::start().await;
    let (acme, other) = (plane.group("acme").await, plane.group("other").await);
    let spent = |group: &Group, pulls| GroupSpend { group_id: group.id.clone(), pulls };
    let mine = UpstreamReport {
        spent: vec![spent(&acme, 3), spent(&other, 9), GroupSpend { group_id: "gone".into(), pulls: 5 }],
        last_answered_at: timestamp(START_MS - 2000),
        ..report(condition(100, 50, START_MS - 1000))
    };
    for _ in 0..2 {
        // Sent again because the answer was lost: counted once.
        send_as(&plane, "n1", "1", vec![mine.clone()]).await;
    }
    let theirs = UpstreamReport {
        state: UpstreamState::Open.into(),
        last_error: "connect".into(),
        last_failed_at: timestamp(START_MS - 500),
        spent: vec![spent(&acme, 1)],
        ..report(UpstreamCondition { source: "198.51.100.7".into(), ..condition(100, 20, START_MS - 1) })
    };
    send_as(&plane, "n2", "2", vec![theirs]).await;
    let shown = statuses(&plane, "").await;
    assert_eq!(shown.len(), 1);
    let status = &shown[0];
    assert_eq!((&*status.host, &*status.username, status.health()), ("docker.io", "", UpstreamHealth::Open));
    assert_eq!((&*status.last_error, status.last_answered_at.unwrap().seconds), ("connect", START_MS / 1000 - 2));
    let limits: Vec<_> = status.limits.iter().map(|limit| (&*limit.source, limit.limit, limit.remaining)).collect();
    assert_eq!(limits, [("192.0.2.1", 100, 50), ("198.51.100.7", 100, 20)]);
    assert_eq!(status.limits[0].resets_at.unwrap().seconds, START_MS / 1000 - 1 + 21600);
    let spent = |status: &UpstreamStatus| -> Vec<_> {
        status.spent.iter().map(|spend| (spend.group_path.clone(), spend.pulls)).collect()
    };
    assert_eq!(spent(status), [("other".into(), 9), ("acme".into(), 4)]);
    assert_eq!(spent(&statuses(&plane, "acme").await[0]), [("acme".into(), 4)]);
    let text = plane.metrics_text();
    for line in [
        "roadstead_upstream_pull_limit{upstream=\"docker.io\",username=\"\"} 100",
        "roadstead_upstream_pulls_remaining{upstream=\"docker.io\",username=\"\"} 20",
        "roadstead_upstream_pause_seconds{upstream=\"docker.io\",username=\"\"} 0",
    ] {
        assert!(text.contains(line), "{line}\n{text}");
    }
    plane.advance(7 * 3600);
    assert_eq!(spent(&statuses(&plane, "").await[0]), []);
}

#[tokio::test]
async fn statuses_of_everything_are_for_administrators() {
    let plane = Plane::start().await;
    plane.group("acme").await;
    let token = plane.token("acme", &["read_api"]).await.token;
    let mut client = plane.client(Some(&token)).upstreams;
    let of = |group_path: &str| ListUpstreamStatusesRequest { group_path: group_path.into(), ..Default::default() };
    assert!(client.list_upstream_statuses(of("acme")).await.is_ok());
    assert_eq!(client.list_upstream_statuses(of("")).await.unwrap_err().code(), Code::PermissionDenied);
}

#[tokio::test]
async fn reports_are_checked_and_those_of_unknown_upstreams_left_out() {
    let plane = Plane::start().await;
    for (name, request) in [
        ("no batch", ReportUpstreamsRequest::default()),
        (
            "no condition",
            ReportUpstreamsRequest {
                batch_id: "1".into(),
                reports: vec![UpstreamReport::default()],
                ..Default::default()
            },
        ),
        (
            "too many",
            ReportUpstreamsRequest {
                batch_id: "1".into(),
                reports: vec![report(condition(1, 1, 1)); 1001],
                ..Default::default()
            },
        ),
    ] {
        let status = plane.node().node.report_upstreams(request).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "{name}");
    }
    let unknown = UpstreamCondition { upstream: "gone.io".into(), ..condition(100, 1, START_MS) };
    send(&plane, "2", vec![report(unknown)]).await;
    assert_eq!(statuses(&plane, "").await, []);
}
