//! Following the control plane.

use roadstead_proto::time::timestamp;
use std::time::Duration;

use roadstead_proto::node::v1::{self as pb, policy_change::Change, watch_response::Event};
use tokio::{
    sync::mpsc,
    time::{Instant, sleep, timeout},
};
use tonic::Status;

use super::{
    super::fake::{Fake, FakeWatch, changes, group, snapshot},
    REGISTRY_URL, run, until,
};

#[tokio::test(start_paused = true)]
async fn a_snapshot_and_changes_make_the_policy() {
    let fake = Fake::default();
    let (tell, told) = mpsc::unbounded_channel();
    fake.script(|script| script.watches.push_back(FakeWatch::Live(told)));
    let client = fake.client();
    assert!(!client.policy.has_snapshot());
    let _running = run(&client);
    tell.send(snapshot(7, vec![group("g1", "acme", 1, 1)])).unwrap();
    client.policy.wait_for_snapshot().await;
    let policy = client.policy.current();
    assert_eq!((policy.revision(), client.policy.has_snapshot()), (7, true));
    assert_eq!(policy.group(&"acme".parse().unwrap()).unwrap().id.as_str(), "g1");
    assert!(policy.key("k1").is_some() && policy.upstream(&"docker.io".parse().unwrap()).is_some());
    assert_eq!(fake.script(|script| script.authorizations.clone()), ["Bearer rs_node_x"]);
    assert_eq!(fake.script(|script| script.registry_urls.clone()), [REGISTRY_URL]);
    let revoked = pb::Revocation { token_id: "t1".to_owned(), forget_after: timestamp(i64::MAX), user_epoch: 0 };
    let renamed = Change::Group(group("g1", "umbrella", 2, 1));
    tell.send(changes(9, vec![renamed, Change::Revocation(revoked)])).unwrap();
    until(|| client.policy.current().revision() == 9).await;
    let policy = client.policy.current();
    assert!(policy.group(&"acme".parse().unwrap()).is_none() && policy.is_revoked("t1", 0));
    assert_eq!(policy.group(&"umbrella".parse().unwrap()).unwrap().link_epoch, 2);
}

#[tokio::test(start_paused = true)]
async fn a_lost_watch_is_resumed_from_the_revision_that_is_known() {
    let fake = Fake::default();
    let later = changes(8, vec![Change::DeletedGroupId("g1".to_owned())]);
    fake.script(|script| {
        script.watches.push_back(FakeWatch::Ends(vec![snapshot(7, vec![group("g1", "acme", 1, 1)])]));
        script.watches.push_back(FakeWatch::Events(vec![later]));
    });
    let client = fake.client();
    let _running = run(&client);
    until(|| client.policy.current().revision() == 8).await;
    assert_eq!(fake.script(|script| script.resumed_from.clone()), [0, 7]);
    assert!(client.policy.current().group(&"acme".parse().unwrap()).is_none());
}

#[tokio::test(start_paused = true)]
async fn a_control_plane_that_is_away_is_asked_less_and_less_often_and_what_is_known_stays() {
    let fake = Fake::default();
    fake.script(|script| script.watches.push_back(FakeWatch::Ends(vec![snapshot(7, vec![group("g1", "acme", 1, 1)])])));
    let client = fake.client();
    let _running = run(&client);
    client.policy.wait_for_snapshot().await;
    sleep(Duration::from_secs(60)).await;
    let attempts = fake.script(|script| script.resumed_from.len());
    // At least one in five seconds; at most five in the first second and one in two and a half thereafter.
    assert!((12..=32).contains(&attempts), "{attempts}");
    assert!(client.policy.current().group(&"acme".parse().unwrap()).is_some());
    assert!(client.liveness.silent_for() >= Duration::from_secs(59), "{:?}", client.liveness.silent_for());
    fake.script(|script| script.watches.push_back(FakeWatch::Events(vec![snapshot(8, vec![])])));
    timeout(Duration::from_secs(6), until(|| client.policy.current().revision() == 8)).await.unwrap();
    assert!(client.liveness.silent_for() < Duration::from_secs(1));
}

#[tokio::test(start_paused = true)]
async fn a_silent_watch_is_opened_anew_and_heartbeats_keep_it() {
    let fake = Fake::default();
    let (tell, told) = mpsc::unbounded_channel();
    fake.script(|script| {
        script.watches.push_back(FakeWatch::Live(told));
        script.watches.push_back(FakeWatch::Events(vec![snapshot(8, vec![])]));
    });
    let client = fake.client();
    let _running = run(&client);
    tell.send(snapshot(7, vec![])).unwrap();
    client.policy.wait_for_snapshot().await;
    for _ in 0..10 {
        sleep(Duration::from_secs(5)).await;
        tell.send(pb::WatchResponse {
            revision: 7,
            event: Some(Event::Heartbeat(pb::Heartbeat {})),
            ..Default::default()
        })
        .unwrap();
    }
    assert_eq!(client.policy.current().revision(), 7);
    let silent_since = Instant::now();
    until(|| client.policy.current().revision() == 8).await;
    assert!((12..14).contains(&silent_since.elapsed().as_secs()));
}

#[tokio::test(start_paused = true)]
async fn a_change_that_makes_no_sense_is_answered_by_asking_for_everything() {
    let fake = Fake::default();
    let nonsense = changes(8, vec![Change::Group(group("g1", "//", 2, 1))]);
    fake.script(|script| {
        script.watches.push_back(FakeWatch::Ends(vec![snapshot(7, vec![group("g1", "acme", 1, 1)]), nonsense]));
        // One group that is not understood costs that group only.
        script
            .watches
            .push_back(FakeWatch::Events(vec![snapshot(9, vec![group("g1", "//", 2, 1), group("g2", "b", 1, 1)])]));
    });
    let client = fake.client();
    let _running = run(&client);
    until(|| client.policy.current().revision() == 9).await;
    assert_eq!(fake.script(|script| script.resumed_from.clone()), [0, 0]);
    assert!(
        client.policy.current().group_by_id(&"g1".into()).is_none()
            && client.policy.current().group_by_id(&"g2".into()).is_some()
    );
}

#[tokio::test(start_paused = true)]
async fn a_refused_node_keeps_trying() {
    let fake = Fake::default();
    fake.script(|script| {
        script.watches.push_back(FakeWatch::Refusal(Status::permission_denied("no node")));
        script.watches.push_back(FakeWatch::Events(vec![snapshot(1, vec![])]));
    });
    let client = fake.client();
    let _running = run(&client);
    client.policy.wait_for_snapshot().await;
}

/// The parts of an event, each a message of its own.
fn in_parts(events: Vec<pb::WatchResponse>) -> Vec<pb::WatchResponse> {
    let last = events.len() - 1;
    let number =
        |(part, event)| pb::WatchResponse { part: i32::try_from(part).unwrap(), continues: part < last, ..event };
    events.into_iter().enumerate().map(number).collect()
}

#[tokio::test(start_paused = true)]
async fn an_event_in_parts_is_applied_when_it_is_whole() {
    let fake = Fake::default();
    let (tell, told) = mpsc::unbounded_channel();
    fake.script(|script| script.watches.push_back(FakeWatch::Live(told)));
    let client = fake.client();
    let _running = run(&client);
    let parts = in_parts(vec![
        snapshot(7, vec![group("g1", "acme", 1, 1)]),
        snapshot(7, vec![group("g2", "beta", 1, 1)]),
        snapshot(7, vec![]),
    ]);
    for part in &parts[..2] {
        tell.send(part.clone()).unwrap();
        // Each is slow, and counts as a sign of life: the watch stays open.
        sleep(Duration::from_secs(10)).await;
        assert!(!client.policy.has_snapshot());
    }
    tell.send(parts[2].clone()).unwrap();
    client.policy.wait_for_snapshot().await;
    assert_eq!(client.policy.current().groups().count(), 2);

    let gone = |id: &str| changes(8, vec![Change::DeletedGroupId(id.to_owned())]);
    let parts = in_parts(vec![gone("g1"), gone("g2")]);
    tell.send(parts[0].clone()).unwrap();
    sleep(Duration::from_secs(1)).await;
    assert_eq!((client.policy.current().revision(), client.policy.current().groups().count()), (7, 2));
    tell.send(parts[1].clone()).unwrap();
    until(|| client.policy.current().revision() == 8).await;
    assert_eq!(client.policy.current().groups().count(), 0);
    assert_eq!(fake.script(|script| script.resumed_from.clone()), [0]);
}

#[tokio::test(start_paused = true)]
async fn parts_of_an_event_that_breaks_off_or_are_out_of_order_change_nothing() {
    let whole = snapshot(7, vec![group("g1", "acme", 1, 1)]);
    let parts = in_parts(vec![
        snapshot(8, vec![]),
        snapshot(8, vec![group("g2", "beta", 1, 1)]),
        snapshot(8, vec![group("g3", "gamma", 1, 1)]),
    ]);
    let others = in_parts(vec![changes(9, vec![]), changes(9, vec![])]);
    for broken in [
        vec![parts[0].clone(), parts[1].clone()],
        vec![parts[0].clone(), parts[2].clone()],
        vec![parts[1].clone(), parts[2].clone()],
        vec![parts[0].clone(), parts[0].clone()],
        vec![parts[0].clone(), others[1].clone()],
    ] {
        let fake = Fake::default();
        fake.script(|script| {
            script.watches.push_back(FakeWatch::Ends([vec![whole.clone()], broken].concat()));
            script.watches.push_back(FakeWatch::Live(mpsc::unbounded_channel().1));
        });
        let client = fake.client();
        let _running = run(&client);
        until(|| fake.script(|script| script.resumed_from.len()) >= 2).await;
        let policy = client.policy.current();
        assert_eq!((policy.revision(), policy.groups().count()), (7, 1));
        assert!(policy.group_by_id(&"g1".into()).is_some());
    }
}
