//! `roadstead control` and `roadstead dataplane` apart from each other.

use std::time::Duration;

use roadstead_tests::{
    cluster::{Cluster, ClusterOptions},
    hub::{AuthMode, Hub, HubOptions, Kind, When},
    image::{Image, digest},
    process::run_command,
};

async fn split() -> (Hub, Cluster) {
    let hub = Hub::start_with(HubOptions { auth: AuthMode::Open, ..HubOptions::default() }).await;
    let cluster = Cluster::start_with(&hub, ClusterOptions { split: true, ..ClusterOptions::default() }).await;
    (hub, cluster)
}

#[tokio::test]
async fn control_plane_and_node_serve_as_two_processes() {
    let (hub, cluster) = split().await;
    let image = Image::small(1);
    hub.push("library/app", "latest", &image);
    let client = cluster.client_of_new_group("acme").await;
    client.manifest("app", "latest").await.expect(200);
    client.blob("app", &digest(&image.layers[0])).await.expect(200);
    let warm = client.manifest("app", "latest").await.expect(200);
    assert_eq!((warm.cache(), hub.count(&When::get(Kind::Manifest))), ("revalidated", 1), "{}", hub.log());
    cluster.terminate();
    assert_eq!(cluster.exit_codes(Duration::from_secs(10)).await, [0, 0]);
}

#[tokio::test]
async fn a_node_serves_what_it_knows_while_the_control_plane_is_gone() {
    let (hub, cluster) = split().await;
    let image = Image::small(1);
    hub.push("library/app", "latest", &image);
    let client = cluster.client_of_new_group("acme").await;
    let layer = digest(&image.layers[0]);
    client.manifest("app", "latest").await.expect(200);
    client.blob_hit("app", &layer).await;
    client.manifest("app", &image.digest()).await.expect(200);
    client.token("other").await;
    cluster.kill_one(0);
    for _ in 0..3 {
        assert_eq!(client.manifest("app", &image.digest()).await.expect(200).body, image.manifest);
        assert_eq!(client.blob("app", &layer).await.expect(200).body, image.layers[0]);
    }
    let unknown = client.manifest("other", "latest").await;
    assert!(unknown.status.is_server_error(), "{unknown:?}");
}

#[tokio::test]
async fn a_node_with_a_bad_token_is_not_ready_and_says_why() {
    let (_hub, cluster) = split().await;
    let address = roadstead_tests::ports::free_address().to_string();
    let metrics = roadstead_tests::ports::free_address().to_string();
    let mut command = cluster.command(&["dataplane", "--listen", &address, "--metrics-listen", &metrics]);
    command.args(["--control", &format!("http://{}", cluster.control), "--node-token", "junk"]);
    command.arg("--data-dir").arg(cluster.folder().join("other-node"));
    let log = cluster.folder().join("other-node.log");
    let mut daemon = roadstead_tests::process::Daemon::spawn(&mut command, &log);
    // It either stops with an error or keeps trying, unready.
    for _ in 0..20 {
        if let Some(code) = daemon.ended() {
            assert_ne!(code, 0);
            break;
        }
        let ready = roadstead_tests::client::http().get(format!("http://{metrics}/readyz")).send().await;
        assert!(ready.is_err() || ready.unwrap().status().as_u16() == 503);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let said = daemon.log().to_lowercase();
    assert!(said.contains("token") || said.contains("unauthenticated"), "{said}");
    assert!(!said.contains("panicked"), "{said}");
}

#[tokio::test]
async fn a_node_without_a_token_is_wrong_usage() {
    let cluster = Cluster::prepare(ClusterOptions::default());
    let finished = run_command(cluster.command(&["dataplane"]).into(), "").await;
    assert_eq!(finished.code, 2, "{finished:?}");
    assert!(finished.stderr.contains("--node-token"), "{finished:?}");
}
