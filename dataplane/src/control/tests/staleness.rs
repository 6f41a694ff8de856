//! The behaviour of a node after it lost its connection to the control plane.

use std::{sync::Arc, time::Duration};

use roadstead_proto::node::v1::policy_change::Change;
use tokio::{sync::mpsc, time::Instant};
use tokio_util::sync::CancellationToken;

use crate::control::{
    OutOfSync,
    fake::{Fake, FakeWatch, changes, group, snapshot},
};

#[tokio::test(start_paused = true)]
async fn a_node_that_was_out_of_touch_applies_what_it_missed_before_it_goes_by_memory() {
    let fake = Fake::default();
    let (events, told) = mpsc::unbounded_channel();
    fake.script(|script| {
        script.watches.push_back(FakeWatch::Live(told));
        script.revision = Some(9);
    });
    let client = fake.client();
    let stop = CancellationToken::new();
    tokio::spawn({
        let (client, stop) = (Arc::clone(&client), stop.clone());
        async move { client.run("", stop).await }
    });
    events.send(snapshot(7, vec![group("g1", "acme", 1, 1)])).unwrap();
    client.policy.wait_for_snapshot().await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(!client.sync.may_be_stale(), "a heartbeat is not late yet");
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(client.sync.may_be_stale());
    let settled = tokio::spawn({
        let client = Arc::clone(&client);
        async move { client.sync.ensure_synced().await }
    });
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(!settled.is_finished(), "revision 9 is not here yet");
    events.send(changes(9, vec![Change::Group(group("g1", "acme", 9, 1))])).unwrap();
    settled.await.unwrap().unwrap();
    assert_eq!(client.policy.current().group_by_id(&"g1".into()).unwrap().link_epoch, 9);
    assert!(!client.sync.may_be_stale());
    // A word after a silence says nothing about what else is on its way.
    tokio::time::sleep(Duration::from_secs(10)).await;
    events.send(changes(9, vec![])).unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(client.sync.may_be_stale());
    client.sync.ensure_synced().await.unwrap();
    assert!(!client.sync.may_be_stale());
}

#[tokio::test(start_paused = true)]
async fn an_outage_is_waited_for_once_and_then_memory_holds_until_the_control_plane_is_back() {
    let fake = Fake::default();
    let (events, told) = mpsc::unbounded_channel();
    fake.script(|script| script.watches.push_back(FakeWatch::Live(told)));
    let client = fake.client();
    let stop = CancellationToken::new();
    tokio::spawn({
        let (client, stop) = (Arc::clone(&client), stop.clone());
        async move { client.run("", stop).await }
    });
    events.send(snapshot(7, vec![group("g1", "acme", 1, 1)])).unwrap();
    client.policy.wait_for_snapshot().await;
    tokio::time::sleep(Duration::from_secs(4)).await;
    let begun = Instant::now();
    client.sync.ensure_synced().await.unwrap();
    assert!(begun.elapsed() <= Duration::from_secs(2));
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert!(!client.sync.may_be_stale());
    assert_eq!(fake.script(|script| script.revisions_asked), 1);
    events.send(changes(8, vec![])).unwrap();
    tokio::time::sleep(Duration::from_millis(10)).await;
    assert!(client.sync.may_be_stale(), "it is back, and may have missed something");
}

#[tokio::test(start_paused = true)]
async fn a_node_that_knows_that_it_is_behind_says_so_until_it_has_caught_up() {
    let fake = Fake::default();
    let (events, told) = mpsc::unbounded_channel();
    let (again, told_again) = mpsc::unbounded_channel();
    fake.script(|script| {
        script.watches.push_back(FakeWatch::Live(told));
        script.watches.push_back(FakeWatch::Live(told_again));
        script.revision = Some(9);
    });
    let client = fake.client();
    let stop = CancellationToken::new();
    tokio::spawn({
        let (client, stop) = (Arc::clone(&client), stop.clone());
        async move { client.run("", stop).await }
    });
    events.send(snapshot(7, vec![group("g1", "acme", 1, 1)])).unwrap();
    client.policy.wait_for_snapshot().await;
    tokio::time::sleep(Duration::from_secs(4)).await;
    for _ in 0..2 {
        assert_eq!(client.sync.ensure_synced().await, Err(OutOfSync::Behind));
        assert!(client.sync.may_be_stale());
    }
    // The watch that told nothing was given up for another.
    again.send(changes(9, vec![Change::Group(group("g1", "acme", 9, 1))])).unwrap();
    client.sync.ensure_synced().await.unwrap();
    assert_eq!(client.policy.current().group_by_id(&"g1".into()).unwrap().link_epoch, 9);
}

#[tokio::test(start_paused = true)]
async fn an_outage_is_over_as_soon_as_any_call_is_answered() {
    let fake = Fake::default();
    let (events, told) = mpsc::unbounded_channel();
    fake.script(|script| script.watches.push_back(FakeWatch::Live(told)));
    let client = fake.client();
    let stop = CancellationToken::new();
    tokio::spawn({
        let (client, stop) = (Arc::clone(&client), stop.clone());
        async move { client.run("", stop).await }
    });
    events.send(snapshot(7, vec![group("g1", "acme", 1, 1)])).unwrap();
    client.policy.wait_for_snapshot().await;
    tokio::time::sleep(Duration::from_secs(4)).await;
    client.sync.ensure_synced().await.unwrap();
    assert!(!client.sync.may_be_stale(), "an outage: memory holds");
    client.staleness().answered();
    assert!(client.sync.may_be_stale(), "somebody is there, and may know more");
    // Nothing was missed; that holds for as long as a heartbeat may take.
    fake.script(|script| script.revision = Some(7));
    client.sync.ensure_synced().await.unwrap();
    assert!(!client.sync.may_be_stale());
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert!(client.sync.may_be_stale(), "the watch is still silent");
}

#[tokio::test(start_paused = true)]
async fn a_node_that_has_just_started_waits_for_its_first_snapshot_and_then_says_so() {
    let fake = Fake::default();
    let (events, told) = mpsc::unbounded_channel();
    fake.script(|script| script.watches.push_back(FakeWatch::Live(told)));
    let client = fake.client();
    tokio::spawn({
        let client = Arc::clone(&client);
        async move { client.run("", CancellationToken::new()).await }
    });
    assert!(client.sync.may_be_stale(), "it knows nothing yet");
    assert_eq!(client.sync.ensure_synced().await, Err(OutOfSync::NotStarted));
    let waiting = tokio::spawn({
        let client = Arc::clone(&client);
        async move { client.sync.ensure_synced().await }
    });
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(!waiting.is_finished());
    fake.script(|script| script.revision = Some(7));
    events.send(snapshot(7, vec![group("g1", "acme", 1, 1)])).unwrap();
    waiting.await.unwrap().unwrap();
    assert!(!client.sync.may_be_stale());
}
