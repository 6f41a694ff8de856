//! The control plane is gone: what goes on, for how long, and what comes after.

use std::time::{Duration, Instant};

use roadstead_tests::{
    client::{self, Client},
    cluster::{Cluster, ClusterOptions, DeployToken},
    eventually::eventually,
    hub::{AuthMode, Hub, HubOptions},
    image::{Image, digest},
    link::{Link, Mode},
    ports::free_address,
    process::Daemon,
};

use crate::{soon, within};

async fn split(arguments: &[&str]) -> (Hub, Cluster) {
    let hub = Hub::start_with(HubOptions { auth: AuthMode::Open, ..HubOptions::default() }).await;
    let arguments = arguments.iter().map(ToString::to_string).collect();
    let cluster =
        Cluster::start_with(&hub, ClusterOptions { split: true, arguments, ..ClusterOptions::default() }).await;
    (hub, cluster)
}

/// Somebody who signs in for every pull, as `docker pull` does.
fn afresh(cluster: &Cluster, token: &DeployToken) -> Client {
    cluster.client("acme", token)
}

/// A private group with an image of which everything is cached.
async fn cached(hub: &Hub, cluster: &Cluster) -> (Image, DeployToken) {
    let image = Image::small(1);
    hub.push("library/app", "latest", &image);
    cluster.create_group("acme").await;
    let token = cluster.create_token("acme").await;
    pull(&afresh(cluster, &token), &image).await;
    pull(&cluster.anonymous(), &image).await;
    (image, token)
}

async fn pull(client: &Client, image: &Image) {
    client.manifest("app", "latest").await.expect(200);
    client.manifest("app", &image.digest()).await.expect(200);
    client.blob("app", &digest(&image.config)).await.expect(200);
    for layer in &image.layers {
        client.blob_hit("app", &digest(layer)).await;
    }
}

/// The control plane again, on the same port and folder.
fn control_again(cluster: &Cluster) -> Daemon {
    let [control, metrics] = [cluster.control, free_address()].map(|address| address.to_string());
    let mut command = cluster.command(&["control", "--control-listen", &control, "--metrics-listen", &metrics]);
    command.arg("--data-dir").arg(cluster.data_dir());
    Daemon::spawn(&mut command, &cluster.folder().join("control.log"))
}

async fn hits(cluster: &Cluster) -> i64 {
    let stats = cluster.cli_json(&["cache", "stats", "acme"]).await;
    let hits = &stats["hits"];
    hits.as_i64().or_else(|| hits.as_str()?.parse().ok()).unwrap_or_default()
}

#[tokio::test]
async fn cached_pulls_go_on_and_what_was_counted_meanwhile_arrives_afterwards() {
    let (hub, cluster) = split(&[]).await;
    let (image, token) = cached(&hub, &cluster).await;
    let stranger = cluster.create_token("acme").await;
    cluster.kill_one(0);

    for client in [afresh(&cluster, &token), cluster.anonymous()] {
        let by_tag = client.manifest("app", "latest").await.expect(200);
        assert_eq!((by_tag.cache(), &by_tag.body), ("stale", &image.manifest.clone()));
        assert!(by_tag.header("warning").contains("control plane unavailable"), "{by_tag:?}");
        pull(&client, &image).await;
    }
    let started = Instant::now();
    let unknown = afresh(&cluster, &stranger).sign_in("app").await.expect_error(503, "UNAVAILABLE");
    assert!(!unknown.header("retry-after").is_empty());
    cluster.client("acme", &DeployToken { token: "wrong".into(), ..token.clone() }).sign_in("app").await.expect(503);
    let cold = cluster.anonymous().manifest("other", "latest").await.expect_error(503, "UNAVAILABLE");
    assert!(!cold.header("retry-after").is_empty());
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
    // The private group stays closed to who has not signed in.
    Client::new(&cluster.url(), "acme", None).sign_in("app").await.expect(401);
    assert!(cluster.log().contains("the control plane is unavailable"));

    let _control = control_again(&cluster);
    within(Duration::from_secs(30), 200, async || afresh(&cluster, &stranger).sign_in("app").await).await;
    let confirmed = soon(200, async || afresh(&cluster, &stranger).manifest("app", "latest").await).await;
    assert_eq!(confirmed.cache(), "revalidated");
    // Before: manifest, config, layers at least once each; during the outage each of them twice more.
    eventually("all hits are counted", async || hits(&cluster).await >= 8).await;
}

#[tokio::test]
async fn after_the_longest_outage_pulls_are_refused_clearly_until_the_control_plane_is_back() {
    let (hub, cluster) = split(&["--max-control-outage", "4s"]).await;
    let (image, token) = cached(&hub, &cluster).await;
    let client = afresh(&cluster, &token);
    client.token("app").await;
    cluster.kill_one(0);
    client.manifest("app", &image.digest()).await.expect(200);
    let refused = within(Duration::from_secs(15), 503, async || client.manifest("app", &image.digest()).await).await;
    let refused = refused.expect_error(503, "UNAVAILABLE");
    assert!(!refused.header("retry-after").is_empty());
    assert_eq!(cluster.metrics_port("/readyz").await.status.as_u16(), 503);
    let _control = control_again(&cluster);
    within(Duration::from_secs(30), 200, async || client.manifest("app", &image.digest()).await).await;
    within(Duration::from_secs(5), 200, async || cluster.metrics_port("/readyz").await).await;
}

#[tokio::test]
async fn a_node_that_starts_while_the_control_plane_is_away_serves_what_it_knew() {
    let (hub, cluster) = split(&[]).await;
    let (image, token) = cached(&hub, &cluster).await;
    let client = afresh(&cluster, &token);
    client.token("app").await;
    let node_token = cluster.cli_json(&["token", "create", "--node", "--name", "again"]).await;
    // An orderly stop of both keeps what the node remembered until then.
    cluster.terminate();
    cluster.exit_codes(Duration::from_secs(20)).await;
    let [registry, metrics] = [cluster.registry, cluster.metrics].map(|address| address.to_string());
    let mut command = cluster.command(&["dataplane", "--listen", &registry, "--metrics-listen", &metrics]);
    command.args(["--control", &format!("http://{}", cluster.control)]);
    command.args(["--node-token", node_token["token"].as_str().unwrap()]);
    command.arg("--data-dir").arg(cluster.data_dir().join("node"));
    let _node = Daemon::spawn(&mut command, &cluster.folder().join("dataplane.log"));
    let url = format!("http://{}/readyz", cluster.metrics);
    let is_ready = async || client::http().get(&url).send().await.is_ok_and(|answer| answer.status().is_success());
    eventually("the node is ready", is_ready).await;
    // With the registry token that it has, and without one at all.
    pull(&client, &image).await;
    let anonymous = cluster.anonymous();
    assert_eq!(anonymous.manifest("app", "latest").await.expect(200).cache(), "stale");
    pull(&anonymous, &image).await;
    let _control = control_again(&cluster);
    within(Duration::from_secs(30), 200, async || afresh(&cluster, &token).sign_in("app").await).await;
    let back = within(Duration::from_secs(30), 200, async || afresh(&cluster, &token).manifest("app", "latest").await);
    assert_eq!(back.await.cache(), "revalidated");
}

#[tokio::test]
async fn a_replica_that_dies_or_falls_silent_costs_no_pull() {
    let (hub, cluster) = split(&[]).await;
    let (image, _token) = cached(&hub, &cluster).await;
    let token = cluster.create_token("acme").await;
    let (one, two) = (Link::to(cluster.control).await, Link::to(cluster.control).await);
    let node_token = cluster.cli_json(&["token", "create", "--node", "--name", "two"]).await;
    let [registry, metrics] = [free_address(), free_address()];
    let mut command = cluster.command(&["dataplane", "--listen", &registry.to_string()]);
    command.args(["--metrics-listen", &metrics.to_string()]);
    command.args(["--control", &format!("http://{},http://{}", one.address(), two.address())]);
    command.args(["--node-token", node_token["token"].as_str().unwrap()]);
    command.arg("--data-dir").arg(cluster.data_dir().join("node-2"));
    let mut node = Daemon::spawn(&mut command, &cluster.folder().join("node-2.log"));
    let url = format!("http://{metrics}/readyz");
    let ready = async || client::http().get(&url).send().await.ok().filter(|answer| answer.status().is_success());
    node.wait_for(Duration::from_secs(20), ready).await;
    for (mode, link) in [(Mode::Refuse, &one), (Mode::BlackHole, &two), (Mode::Reset, &one)] {
        link.set(mode.clone()).await;
        for _ in 0..5 {
            let credentials = Some((token.username.clone(), token.token.clone()));
            let client = Client::new(&format!("http://{registry}"), "acme", credentials);
            let served = client.manifest("app", "latest").await.expect(200);
            assert!(["revalidated", "fill"].contains(&served.cache()), "{mode:?}: {served:?}");
            assert_eq!(served.body, image.manifest);
        }
        link.set(Mode::Pass).await;
        // What was held against it is forgotten after five seconds.
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}
