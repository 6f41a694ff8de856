//! A purge while a node is cut off: it is named, and refuses on return.

use std::time::Duration;

use roadstead_tests::{fleet::Purpose, image::digest, link::Mode};

use super::{open_fleet, pull, push};

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_cut_off_is_named_and_refuses_on_return() {
    let (hub, fleet) = open_fleet().await;
    let (name, image) = push(&hub, "app", 1);
    let layer = digest(&image.layers[0]);
    let mut clients = Vec::new();
    for node in &fleet.nodes {
        let client = node.anonymous();
        pull(&client, name, &image).await;
        clients.push(client);
    }
    let cut_off = &fleet.nodes[2];
    cut_off.set_links(Purpose::Control, Mode::Refuse).await;
    let purged = fleet.cli(&["cache", "purge", "default", "--yes", "--output", "json"]).await.ok();
    assert!(purged.contains("node-3"), "{purged}");
    assert!(!purged.contains("node-1") && !purged.contains("node-2"), "{purged}");

    // Upstream has gone, so that whoever still serves serves what was purged.
    hub.down().await;
    for client in &clients[..2] {
        let refused = client.blob(name, &layer).await;
        assert_ne!(refused.status, 200, "{refused:?}");
    }
    // It cannot know, and says so to those who purge.
    assert_eq!(clients[2].blob(name, &layer).await.expect(200).body, image.layers[0]);
    cut_off.set_links(Purpose::Control, Mode::Pass).await;
    let gone = async || {
        let mut answer = clients[2].blob(name, &layer).await;
        if answer.status != 200 {
            // Refused, whatever the words.
            answer.status = http::StatusCode::GONE;
        }
        answer
    };
    crate::within(Duration::from_secs(15), 410, gone).await;
    assert_ne!(clients[2].manifest(name, &image.digest()).await.status, 200);
}
