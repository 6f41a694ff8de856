//! Control replicas die, hang and come back under load; nobody who pulls notices.

use std::time::Duration;

use roadstead_tests::{
    fleet::{Fleet, FleetOptions, Load, Purpose},
    image::Image,
    link::Mode,
};

use super::{open_fleet, open_fleet_with, pull, push};

/// Pulls of images that are cached, by way of all nodes.
async fn load(hub: &roadstead_tests::hub::Hub, fleet: &Fleet) -> Load {
    let images: Vec<(&str, Image)> =
        (1..).zip(["one", "two", "three"]).map(|(seed, name)| push(hub, name, seed)).collect();
    for (name, image) in &images {
        pull(&fleet.anonymous(), name, image).await;
    }
    Load::start(&fleet.url(), 6, &images)
}

#[tokio::test(flavor = "multi_thread")]
async fn no_pull_fails_when_a_control_replica_is_killed() {
    let (hub, fleet) = open_fleet().await;
    let load = load(&hub, &fleet).await;
    load.more(20).await;
    for control in &fleet.controls {
        control.kill();
        load.more(30).await;
        control.start();
        control.ready().await;
        // Nodes find it again before the other goes.
        load.more(30).await;
    }
    let pulled = load.stop().await;
    assert!(
        pulled.failures.is_empty(),
        "{} of {}: {:#?}\n{}",
        pulled.failures.len(),
        pulled.pulls,
        pulled.failures,
        fleet.logs()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn no_pull_fails_when_a_control_replica_hangs() {
    let (hub, fleet) = open_fleet().await;
    let load = load(&hub, &fleet).await;
    load.more(20).await;
    // Its connections stay open and nothing is answered.
    fleet.controls[0].pause();
    load.more(30).await;
    fleet.controls[0].resume();
    load.more(10).await;
    let pulled = load.stop().await;
    assert!(
        pulled.failures.is_empty(),
        "{} of {}: {:#?}\n{}",
        pulled.failures.len(),
        pulled.pulls,
        pulled.failures,
        fleet.logs()
    );
    assert!(pulled.slowest < Duration::from_secs(20), "{pulled:?}");
}

/// Takes an executable with the feature `failpoints`, as `tests/run` builds it.
#[tokio::test(flavor = "multi_thread")]
async fn cold_pulls_outlast_a_replica_that_hangs_inside_a_transaction() {
    // Three times it stops short of a commit, with the lock that all writers need.
    let hang = vec![("FAILPOINTS".to_owned(), "link_uncommitted=3*sleep(20000)".to_owned())];
    let environment = vec![("control-1", hang)];
    let (hub, fleet) = open_fleet_with(FleetOptions { environment, ..FleetOptions::default() }).await;
    for (seed, name) in (1..).zip(["one", "two", "three", "four", "five", "six"]) {
        let (name, image) = push(&hub, name, seed);
        for node in &fleet.nodes {
            pull(&node.anonymous(), name, &image).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_replica_is_told_every_node_does() {
    let (hub, fleet) = open_fleet().await;
    let (name, image) = push(&hub, "app", 1);
    // Nodes that only reach the first replica learn what the second is told.
    for node in &fleet.nodes {
        node.links(Purpose::Control).nth(1).unwrap().set(Mode::Refuse).await;
    }
    for node in &fleet.nodes {
        pull(&node.anonymous(), name, &image).await;
    }
    fleet.cli_at(&fleet.controls[1], &["group", "update", "default", "--enabled", "false"]).await.ok();
    for node in &fleet.nodes {
        let client = node.anonymous();
        crate::within(Duration::from_secs(2), 403, async || client.sign_in(name).await).await;
    }
}
