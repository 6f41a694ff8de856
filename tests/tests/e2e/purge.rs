//! Purges: exact, immediate on every node, and safe under load.

use std::{net::SocketAddr, time::Duration};

use futures_util::StreamExt as _;
use roadstead_tests::{
    client::{self, Client},
    cluster::{Cluster, ClusterOptions, DeployToken},
    hub::{AuthMode, Fault, Gate, Hub, HubOptions, Kind, When},
    image::{Image, digest, random_bytes},
    ports::free_address,
    process::Daemon,
};

use crate::{open_pair, within};

const SOON: Duration = Duration::from_secs(10);

/// A hub, a control plane, two nodes, and a client at each.
struct TwoNodes {
    hub: Hub,
    cluster: Cluster,
    second: Daemon,
    here: Client,
    there: Client,
}

impl TwoNodes {
    async fn start() -> Self {
        let hub = Hub::start_with(HubOptions { auth: AuthMode::Open, ..HubOptions::default() }).await;
        let cluster = Cluster::start_with(&hub, ClusterOptions { split: true, ..ClusterOptions::default() }).await;
        let (second, address) = second_node(&cluster).await;
        cluster.create_group("acme").await;
        let token = cluster.create_token("acme").await;
        let here = cluster.client("acme", &token);
        let there = Client::new(&format!("http://{address}"), "acme", Some((token.username, token.token)));
        Self { hub, cluster, second, here, there }
    }

    /// Both nodes have the image and remember the right to it; from here on upstream is asked nothing.
    async fn warm_and_frozen(&self) -> Image {
        let image = Image::small(1);
        self.hub.push("library/app", "latest", &image);
        for node in [&self.here, &self.there] {
            node.manifest("app", "latest").await.expect(200);
            node.blob_hit("app", &digest(&image.layers[0])).await;
        }
        self.cluster.cli(&["group", "update", "acme", "--frozen", "true"]).await.ok();
        for node in [&self.here, &self.there] {
            // Frozen once what is not cached is refused.
            within(SOON, 403, async || node.blob("app", &digest(b"not cached")).await).await;
            node.blob("app", &digest(&image.layers[0])).await.expect(200);
        }
        image
    }
}

async fn second_node(cluster: &Cluster) -> (Daemon, SocketAddr) {
    let (registry, metrics) = (free_address(), free_address());
    let node = cluster.cli_json(&["token", "create", "--node", "--name", "node-2"]).await;
    let (listen, metrics) = (registry.to_string(), metrics.to_string());
    let mut command = cluster.command(&["dataplane", "--listen", &listen, "--metrics-listen", &metrics]);
    let control = format!("http://{}", cluster.control);
    command.args(["--control", &control, "--node-token", node["token"].as_str().unwrap(), "--node-name", "node-2"]);
    command.arg("--data-dir").arg(cluster.folder().join("node-2"));
    let mut daemon = Daemon::spawn(&mut command, &cluster.folder().join("node-2.log"));
    let (http, ready) = (client::http(), format!("http://{metrics}/readyz"));
    let is_ready = async || http.get(&ready).send().await.ok().filter(|answer| answer.status().is_success());
    daemon.wait_for(Duration::from_secs(30), is_ready).await;
    (daemon, registry)
}

async fn purge(cluster: &Cluster, more: &[&str]) -> serde_json::Value {
    cluster.cli_json(&[&["cache", "purge", "acme", "--yes"], more].concat()).await
}

#[tokio::test]
async fn when_a_purge_returns_no_node_serves_what_it_took() {
    let nodes = TwoNodes::start().await;
    let image = nodes.warm_and_frozen().await;
    let nodes_listed = nodes.cluster.cli_json(&["node", "list"]).await;
    let states: Vec<_> = nodes_listed.as_array().unwrap().iter().map(|node| node["state"].clone()).collect();
    assert_eq!(states, ["NODE_STATE_UP", "NODE_STATE_UP"], "{nodes_listed}");
    let answer = purge(&nodes.cluster, &["--image", "app"]).await;
    assert_eq!(answer["unreached_nodes"].as_array().map(Vec::len), Some(0), "{answer}");
    // The very first request, on each.
    for node in [&nodes.here, &nodes.there] {
        node.blob("app", &digest(&image.layers[0])).await.expect_error(403, "DENIED");
        node.manifest("app", &image.digest()).await.expect_error(403, "DENIED");
    }
    // Thawed, it is proven anew: bytes may still be there, rights are not.
    nodes.cluster.cli(&["group", "update", "acme", "--frozen", "false"]).await.ok();
    nodes.hub.forget_requests();
    let blob = digest(&image.layers[0]);
    within(SOON, 200, async || nodes.here.blob("app", &blob).await).await;
    assert_eq!(nodes.hub.count(&When::head(Kind::Blob)), 1, "{}", nodes.hub.log());
}

#[tokio::test]
async fn a_node_that_a_purge_did_not_reach_is_named_and_refuses_at_once_when_it_is_back() {
    let nodes = TwoNodes::start().await;
    let image = nodes.warm_and_frozen().await;
    nodes.second.pause();
    let done = nodes.cluster.cli(&["cache", "purge", "acme", "--image", "app"]).await;
    assert_eq!(done.code, 0, "{done:?}");
    assert!(done.stderr.contains("1 node could not be reached") && done.stderr.contains("node-2"), "{done:?}");
    nodes.here.blob("app", &digest(&image.layers[0])).await.expect_error(403, "DENIED");
    nodes.second.resume();
    // Not after a while: the first request that it answers.
    nodes.there.blob("app", &digest(&image.layers[0])).await.expect_error(403, "DENIED");
    nodes.there.manifest("app", &image.digest()).await.expect_error(403, "DENIED");
}

#[tokio::test]
async fn evict_during_download_lets_the_client_finish() {
    let (hub, cluster) = open_pair().await;
    let content = random_bytes(1, 20_000_000);
    let blob = hub.push_blob("library/app", content.clone());
    let client = cluster.anonymous();
    client.blob_hit("app", &blob).await;
    let mut body = client.open_blob("app", &blob, &[]).await.bytes_stream();
    let mut got = body.next().await.unwrap().unwrap().to_vec();
    cluster.cli(&["cache", "purge", "default", "--yes"]).await.ok();
    while let Some(piece) = body.next().await {
        got.extend_from_slice(&piece.unwrap());
    }
    assert!(got == content, "{} of {} bytes, or others", got.len(), content.len());
}

#[tokio::test]
async fn purge_during_fill_lets_it_end_and_leaves_no_right_behind() {
    let (hub, cluster) = open_pair().await;
    let content = random_bytes(1, 5_000_000);
    let blob = hub.push_blob("library/app", content.clone());
    // Something to purge: a purge that takes nothing voids nothing.
    let other = hub.push_blob("library/app", random_bytes(2, 1000));
    let client = cluster.anonymous();
    client.blob_hit("app", &other).await;
    let gate = Gate::closed();
    gate.release(1_000_000);
    hub.fault_times(When::get(Kind::Blob), Fault::Gated(gate.clone()), 1);
    let mut body = client.open_blob("app", &blob, &[]).await.bytes_stream();
    let mut got = body.next().await.unwrap().unwrap().to_vec();
    cluster.cli(&["cache", "purge", "default", "--yes"]).await.ok();
    hub.forget_requests();
    // Who comes after the purge proves the right anew, and shares the download.
    let late = tokio::spawn({
        let (client, blob) = (cluster.anonymous(), blob.clone());
        async move { client.blob("app", &blob).await.expect(200) }
    });
    hub.wait_for(&When::head(Kind::Blob), 1).await;
    gate.open();
    while let Some(piece) = body.next().await {
        got.extend_from_slice(&piece.unwrap());
    }
    assert!(got == content, "the client in the middle finishes");
    assert!(late.await.unwrap().body == content);
    assert_eq!(hub.count(&When::get(Kind::Blob)), 0, "one download:\n{}", hub.log());
    // The later one's proof is from after the purge, and so there is a link.
    client.blob_hit("app", &blob).await;
}

#[tokio::test]
async fn purge_during_fill_alone_makes_the_next_pull_prove_its_right() {
    let (hub, cluster) = open_pair().await;
    let content = random_bytes(1, 5_000_000);
    let blob = hub.push_blob("library/app", content.clone());
    let other = hub.push_blob("library/app", random_bytes(2, 1000));
    let client = cluster.anonymous();
    client.blob_hit("app", &other).await;
    let gate = Gate::closed();
    gate.release(1_000_000);
    hub.fault_times(When::get(Kind::Blob), Fault::Gated(gate.clone()), 1);
    let pull = tokio::spawn({
        let (client, blob) = (cluster.anonymous(), blob.clone());
        async move { client.blob("app", &blob).await.expect(200) }
    });
    hub.wait_for(&When::get(Kind::Blob), 2).await;
    cluster.cli(&["cache", "purge", "default", "--yes"]).await.ok();
    gate.open();
    assert!(pull.await.unwrap().body == content);
    let cached = cluster.cli_json(&["cache", "stats", "default"]).await;
    assert_eq!(cached["blobs"], 0, "the purge is not undone by what was on its way: {cached}");
    hub.forget_requests();
    let mut again = client.blob("app", &blob).await.expect(200);
    while again.cache() == "join" {
        again = client.blob("app", &blob).await.expect(200);
    }
    // A first proof says `fill`, so that nobody learns what others have.
    assert!(["fill", "revalidated", "hit"].contains(&again.cache()), "{}", again.cache());
    assert!(hub.count(&When::head(Kind::Blob)) >= 1, "{}", hub.log());
    assert_eq!(hub.count(&When::get(Kind::Blob)), 0, "the bytes are here:\n{}", hub.log());
}

#[tokio::test]
async fn a_service_token_purges_and_does_nothing_else_and_both_are_on_record() {
    let (hub, cluster) = open_pair().await;
    let api = cluster.admin();
    cluster.create_group("acme").await;
    let DeployToken { token, .. } = api.service("acme").await;
    let puller = cluster.create_token("acme").await;
    hub.push("library/app", "latest", &Image::small(1));
    cluster.client("acme", &puller).manifest("app", "latest").await.expect(200);
    let with = async |arguments: &[&str]| {
        let mut command = cluster.command(arguments);
        command.args(["--control", &format!("http://{}", cluster.control), "--token", &token]);
        roadstead_tests::process::run_command(command.into(), "").await
    };
    let removed = with(&["cache", "purge", "acme", "--yes"]).await.ok();
    assert!(removed.contains("1 manifest"), "{removed}");
    for refused in [
        &["cache", "list", "acme"][..],
        &["cache", "stats", "acme"],
        &["cache", "retention", "acme"],
        &["group", "get", "acme"],
        &["group", "update", "acme", "--frozen", "true"],
        &["node", "list"],
        &["cache", "purge", "--all-groups", "--yes"],
        &["cache", "purge", "default", "--yes"],
    ] {
        assert_eq!(with(refused).await.code, 1, "{refused:?}");
    }
    let events = cluster.cli_json(&["audit", "list"]).await;
    let of = |action: &str, outcome: &str| {
        let is = |event: &&serde_json::Value| event["action"] == action && event["outcome"] == outcome;
        events.as_array().unwrap().iter().filter(is).count()
    };
    assert_eq!(of("cache.purge", "AUDIT_OUTCOME_DONE"), 1, "{events}");
    assert!(of("cache.purge", "AUDIT_OUTCOME_REFUSED") >= 1, "{events}");
}
