//! Pull limits: spent knowingly, and by all nodes together.

use std::{net::SocketAddr, time::Duration};

use roadstead_tests::{
    client::{self, Client},
    cluster::{Cluster, ClusterOptions},
    eventually::{eventually, eventually_some},
    hub::{AuthMode, Fault, Hub, HubOptions, Kind, When},
    image::Image,
    ports::free_address,
    process::Daemon,
};
use serde_json::Value;

use crate::{open_pair, within};

const SOON: Duration = Duration::from_secs(10);

/// The one status of `upstream status`, once it is as wanted.
async fn status(cluster: &Cluster, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    eventually_some(async || {
        let listed = cluster.cli_json(&["upstream", "status"]).await;
        let found = listed.as_array().unwrap().iter().find(|status| wanted(status));
        found.cloned().ok_or_else(|| format!("not yet {what}: {listed}"))
    })
    .await
}

/// Numbers of 64 bits are texts in JSON made of protobuf; small ones may be either.
fn number(value: &Value) -> i64 {
    value.as_i64().unwrap_or_else(|| value.as_str().unwrap_or("0").parse().unwrap())
}

#[tokio::test]
async fn what_is_left_is_known_and_the_reserve_is_kept_for_what_is_not_cached() {
    let (hub, cluster) = open_pair().await;
    hub.set_pulls_left(50);
    let old = Image::small(1);
    hub.push("library/app", "latest", &old);
    let client = cluster.anonymous();
    client.manifest("app", "latest").await.expect(200);
    let told = status(&cluster, "a limit", |it| number(&it["limits"][0]["remaining"]) == 49).await;
    assert_eq!((&told["host"], number(&told["limits"][0]["limit"])), (&"docker.io".into(), 100), "{told}");
    assert_eq!((&told["spent"][0]["group_path"], number(&told["spent"][0]["pulls"])), (&"default".into(), 1), "{told}");

    // 5 of 100 are left: less than the tenth that is kept.
    hub.set_pulls_left(5);
    client.manifest("app", "latest").await.expect(200);
    status(&cluster, "little left", |it| number(&it["limits"][0]["remaining"]) == 5).await;
    hub.push("library/app", "latest", &Image::small(2));
    hub.forget_requests();
    let held = client.manifest("app", "latest").await.expect(200);
    assert_eq!((held.cache(), &held.body), ("stale", &old.manifest), "{held:?}");
    assert!(held.header("warning").starts_with("110 "), "{held:?}");
    assert_eq!(hub.count(&When::get(Kind::Manifest)), 0, "{}", hub.log());
    // What is not cached may have it.
    hub.push("library/other", "latest", &Image::small(3));
    client.manifest("other", "latest").await.expect(200);
    // A prefetch can wait.
    hub.push("library/later", "latest", &Image::small(4));
    let refused = cluster.cli(&["cache", "prefetch", "default", "later:latest"]).await.failed();
    assert!(refused.contains("limit"), "{refused}");
    // A smaller reserve lets the tag be fetched.
    cluster.cli(&["upstream", "set", "docker.io", "--url", &hub.url(), "--reserve", "1%"]).await.ok();
    let is_fetched = async || client.manifest("app", "latest").await.expect(200).body != old.manifest;
    eventually("the tag is fetched again", is_fetched).await;
}

/// One more node of a cluster.
async fn second_node(cluster: &Cluster) -> (Daemon, SocketAddr) {
    let (registry, metrics) = (free_address(), free_address());
    let node = cluster.cli_json(&["token", "create", "--node", "--name", "node-2"]).await;
    let (listen, metrics) = (registry.to_string(), metrics.to_string());
    let mut command = cluster.command(&["dataplane", "--listen", &listen, "--metrics-listen", &metrics]);
    command.args([
        "--control",
        &format!("http://{}", cluster.control),
        "--node-token",
        node["token"].as_str().unwrap(),
    ]);
    command.args(["--node-name", "node-2"]).arg("--data-dir").arg(cluster.folder().join("node-2"));
    let mut daemon = Daemon::spawn(&mut command, &cluster.folder().join("node-2.log"));
    let (http, ready) = (client::http(), format!("http://{metrics}/readyz"));
    let is_ready = async || http.get(&ready).send().await.ok().filter(|answer| answer.status().is_success());
    daemon.wait_for(Duration::from_secs(30), is_ready).await;
    (daemon, registry)
}

#[tokio::test]
async fn a_429_pauses_every_node_for_uncached_pulls_and_none_for_cached_ones() {
    let hub = Hub::start_with(HubOptions { auth: AuthMode::Open, ..HubOptions::default() }).await;
    let cluster = Cluster::start_with(&hub, ClusterOptions { split: true, ..ClusterOptions::default() }).await;
    let (_daemon, second) = second_node(&cluster).await;
    let image = Image::small(1);
    for tag in ["warm", "cold", "colder"] {
        hub.push("library/app", tag, &image);
    }
    hub.push("library/other", "cold", &Image::small(2));
    cluster.create_group("acme").await;
    let token = cluster.create_token("acme").await;
    let here = cluster.client("acme", &token);
    let there = Client::new(&format!("http://{second}"), "acme", Some((token.username.clone(), token.token.clone())));
    here.manifest("app", "warm").await.expect(200);
    there.manifest("app", "warm").await.expect(200);

    hub.fault_times(When::kind(Kind::Manifest), Fault::RateLimited(60), 1);
    let limited = here.manifest("other", "cold").await.expect_error(429, "TOOMANYREQUESTS");
    assert!((1..=60).contains(&limited.header("retry-after").parse::<u64>().unwrap()), "{limited:?}");
    let told = status(&cluster, "a pause", |it| !it["paused_until"].is_null()).await;
    assert_eq!(told["host"], "docker.io", "{told}");
    // The other node hears of it, though upstream would answer it.
    within(SOON, 429, async || there.manifest("other", "cold").await).await;
    hub.forget_requests();
    for node in [&here, &there] {
        let limited = node.manifest("other", "cold").await.expect_error(429, "TOOMANYREQUESTS");
        assert!((1..=60).contains(&limited.header("retry-after").parse::<u64>().unwrap()), "{limited:?}");
        let cached = node.manifest("app", "warm").await.expect(200);
        assert_eq!((cached.cache(), &cached.body), ("stale", &image.manifest), "{cached:?}");
        assert!(cached.header("warning").starts_with("111 "), "{cached:?}");
    }
    assert_eq!(hub.count(&When::any()), 0, "nobody asks during the pause:\n{}", hub.log());
}
