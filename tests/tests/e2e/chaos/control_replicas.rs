//! Two control replicas on one database: what one is told, the other knows.

use std::time::Duration;

use super::{open_fleet, pull, push};

#[tokio::test(flavor = "multi_thread")]
async fn what_one_replica_is_told_every_node_does() {
    let (hub, fleet) = open_fleet().await;
    let (name, image) = push(&hub, "app", 1);
    // Some nodes watch the one, some the other.
    for node in &fleet.nodes {
        pull(&node.anonymous(), name, &image).await;
    }
    fleet.cli_at(&fleet.controls[1], &["group", "update", "default", "--enabled", "false"]).await.ok();
    for node in &fleet.nodes {
        let client = node.anonymous();
        crate::within(Duration::from_secs(2), 403, async || client.sign_in(name).await).await;
    }
}
