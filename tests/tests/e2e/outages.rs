//! Upstreams in trouble: what is cached is served and says so, the rest fails soon and clearly.

use std::time::{Duration, Instant};

use http::Method;
use roadstead_tests::{
    client::{Answer, Client},
    cluster::Cluster,
    hub::{Fault, Hub, HubOptions, Kind, Realm, When},
    image::{Image, digest, random_bytes},
};

use crate::open_pair;

/// Longest time until a pull of uncached content fails.
const SOON: Duration = Duration::from_secs(10);

async fn timed(client: &Client, tag: &str) -> Answer {
    let started = Instant::now();
    let answer = client.manifest("app", tag).await;
    assert!(started.elapsed() < SOON, "took {:?}: {answer:?}", started.elapsed());
    answer
}

#[track_caller]
fn is_stale(answer: &Answer, image: &Image) {
    assert_eq!((answer.status.as_u16(), answer.cache()), (200, "stale"), "{answer:?}");
    assert_eq!(answer.body, image.manifest);
    assert!(answer.header("age").parse::<u64>().is_ok(), "{:?}", answer.headers);
    assert!(!answer.header("warning").is_empty(), "{:?}", answer.headers);
}

/// A hub with authentication, `library/app:latest` of which is cached and `library/app:cold` is not.
async fn warm(options: HubOptions) -> (Hub, Cluster, Client, Image) {
    let hub = Hub::start_with(options).await;
    let cluster = Cluster::start(&hub).await;
    let image = Image::small(1);
    hub.push("library/app", "latest", &image);
    hub.push("library/app", "cold", &Image::small(2));
    let client = cluster.anonymous();
    client.manifest("app", "latest").await.expect(200);
    (hub, cluster, client, image)
}

#[track_caller]
fn is_unavailable(answer: &Answer) {
    assert!(answer.status.is_server_error(), "{answer:?}");
    let error = answer.json()["errors"][0].clone();
    assert!(error["code"].is_string() && !error["message"].as_str().unwrap().is_empty(), "{error}");
}

#[tokio::test]
async fn a_dead_upstream_leaves_cached_tags_and_fails_others_soon() {
    let (hub, cluster, client, image) = warm(HubOptions::default()).await;
    let layer = digest(&image.layers[0]);
    client.blob_hit("app", &layer).await;
    hub.down().await;
    is_stale(&timed(&client, "latest").await, &image);
    is_unavailable(&timed(&client, "cold").await);
    assert_eq!(timed(&client, &image.digest()).await.expect(200).cache(), "hit");
    assert_eq!(client.blob("app", &layer).await.expect(200).cache(), "hit");
    let head = client.head_manifest("app", "latest").await.expect(200);
    assert_eq!(head.header("docker-content-digest"), image.digest());
    let log = cluster.log();
    let is_said =
        log.lines().any(|line| line.contains("x_cache=\"stale\"") && line.contains("docker.io cannot be reached"));
    assert!(is_said, "the log says so:\n{log}");
    hub.up();
    let recovered = timed(&client, "latest").await.expect(200);
    assert!(matches!(recovered.cache(), "revalidated" | "hit"), "{recovered:?}");
    timed(&client, "cold").await.expect(200);
}

#[tokio::test]
async fn a_failing_registry_leaves_cached_tags_and_fails_others_soon() {
    for fault in [Fault::Status(500), Fault::Status(502), Fault::Status(503), Fault::Reset] {
        let (hub, _cluster, client, image) = warm(HubOptions::default()).await;
        hub.fault(When::kind(Kind::Manifest), fault);
        is_stale(&timed(&client, "latest").await, &image);
        is_unavailable(&timed(&client, "cold").await);
    }
}

#[tokio::test]
async fn a_hanging_registry_leaves_cached_tags_and_fails_others_soon() {
    let (hub, _cluster, client, image) = warm(HubOptions::default()).await;
    hub.fault(When::any(), Fault::Hang);
    is_stale(&timed(&client, "latest").await, &image);
    is_unavailable(&timed(&client, "cold").await);
    let blob = hub.push_blob("library/app", random_bytes(1, 10));
    let started = Instant::now();
    is_unavailable(&client.blob("app", &blob).await);
    assert!(started.elapsed() < SOON, "{:?}", started.elapsed());
    let started = Instant::now();
    let tags = client.ask(Method::GET, "app", "tags/list", &[]).await.expect(200);
    assert_eq!((tags.cache(), &tags.json()["tags"]), ("stale", &serde_json::json!(["latest"])), "what is cached");
    assert!(started.elapsed() < SOON, "{:?}", started.elapsed());
    let started = Instant::now();
    is_unavailable(&client.ask(Method::GET, "other", "tags/list", &[]).await);
    assert!(started.elapsed() < SOON, "{:?}", started.elapsed());
}

#[tokio::test]
async fn a_token_service_in_trouble_leaves_cached_tags_and_fails_others_soon() {
    let junk = Fault::Answer("application/json", "{\"not\": \"a token\"".into());
    for fault in [Fault::Status(503), Fault::Reset, Fault::Hang, Fault::WebPage, junk] {
        let (hub, _cluster, client, image) = warm(HubOptions::default()).await;
        hub.forget_tokens();
        hub.fault(When::kind(Kind::Token), fault.clone());
        is_stale(&timed(&client, "latest").await, &image);
        is_unavailable(&timed(&client, "cold").await);
    }
    let options = HubOptions { realm: Realm::Separate("127.0.0.1".into()), ..HubOptions::default() };
    let (hub, _cluster, client, image) = warm(options).await;
    hub.forget_tokens();
    hub.token_service_down().await;
    is_stale(&timed(&client, "latest").await, &image);
    is_unavailable(&timed(&client, "cold").await);
}

#[tokio::test]
async fn a_manifest_that_fails_after_its_head_leaves_the_old_one() {
    let (hub, _cluster, client, image) = warm(HubOptions::default()).await;
    hub.push("library/app", "latest", &Image::small(3));
    for fault in [Fault::Status(503), Fault::WebPage, Fault::Answer("application/json", "no manifest".into())] {
        hub.fault(When::get(Kind::Manifest), fault);
        is_stale(&timed(&client, "latest").await, &image);
        hub.clear_faults();
    }
    assert_eq!(timed(&client, "latest").await.expect(200).body, Image::small(3).manifest);
}

#[tokio::test]
async fn a_reached_pull_limit_leaves_cached_tags_and_tells_others_when_to_come_back() {
    let (hub, _cluster, client, image) = warm(HubOptions::default()).await;
    hub.set_pulls_left(0);
    // HEADs are not counted: an unchanged tag is as good as ever.
    assert_eq!(timed(&client, "latest").await.expect(200).cache(), "revalidated");
    let limited = timed(&client, "cold").await.expect_error(429, "TOOMANYREQUESTS");
    assert_eq!(limited.header("retry-after"), "60");
    hub.push("library/app", "latest", &Image::small(3));
    is_stale(&timed(&client, "latest").await, &image);

    let (hub, _cluster, client, image) = warm(HubOptions::default()).await;
    hub.fault(When::any(), Fault::RateLimited(7));
    is_stale(&timed(&client, "latest").await, &image);
    let limited = timed(&client, "cold").await.expect_error(429, "TOOMANYREQUESTS");
    // What is left of the seven seconds, rounded up: upstream is not asked again before.
    let wait: u64 = limited.header("retry-after").parse().unwrap();
    assert!((1..=7).contains(&wait), "{limited:?}");
    let blob = hub.push_blob("library/app", random_bytes(1, 10));
    assert_eq!(client.blob("app", &blob).await.expect_error(429, "TOOMANYREQUESTS").header("retry-after"), "7");
}

#[tokio::test]
async fn refusals_of_upstream_are_told_apart() {
    let (hub, cluster) = open_pair().await;
    hub.push("library/app", "cold", &Image::small(1));
    let blob = hub.push_blob("library/app", random_bytes(1, 10));
    let client = cluster.anonymous();
    let mut messages = Vec::new();
    for (fault, status, manifest_code, blob_code) in [
        (Fault::Status(404), 404, "MANIFEST_UNKNOWN", "BLOB_UNKNOWN"),
        (Fault::Status(401), 403, "DENIED", "DENIED"),
        (Fault::Status(403), 403, "DENIED", "DENIED"),
        (Fault::RateLimited(1), 429, "TOOMANYREQUESTS", "TOOMANYREQUESTS"),
    ] {
        hub.fault(When::any(), fault);
        let refused = timed(&client, "cold").await.expect_error(status, manifest_code);
        messages.push(refused.json()["errors"][0]["message"].as_str().unwrap().to_owned());
        client.blob("app", &blob).await.expect_error(status, blob_code);
        hub.clear_faults();
    }
    let told: std::collections::HashSet<_> = messages.iter().collect();
    assert_eq!(told.len(), messages.len(), "{messages:?}");
    // The 429 is heeded for as long as it said.
    crate::within(SOON, 200, async || timed(&client, "cold").await).await;
}

#[tokio::test]
async fn a_frozen_group_serves_what_it_has_and_asks_upstream_nothing() {
    let (hub, cluster, client, image) = warm(HubOptions::default()).await;
    cluster.cli(&["group", "update", "default", "--frozen", "true"]).await.ok();
    hub.forget_requests();
    let frozen = timed(&client, "latest").await.expect(200);
    assert_eq!(frozen.body, image.manifest);
    timed(&client, "cold").await.expect_error(403, "DENIED");
    assert_eq!(hub.count(&When::any()), 0, "{}", hub.log());
}

#[tokio::test]
async fn a_group_with_a_max_age_asks_upstream_less() {
    let (hub, cluster) = open_pair().await;
    cluster.cli(&["group", "create", "calm", "--max-age", "1h"]).await.ok();
    let token = cluster.create_token("calm").await;
    hub.push("library/app", "latest", &Image::small(1));
    let client = cluster.client("calm", &token);
    client.manifest("app", "latest").await.expect(200);
    hub.forget_requests();
    let calm = client.manifest("app", "latest").await.expect(200);
    assert_eq!((calm.cache(), hub.count(&When::any())), ("hit", 0), "{}", hub.log());
    assert!(calm.header("age").parse::<u64>().is_ok(), "{:?}", calm.headers);
}
