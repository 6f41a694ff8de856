//! A pull of a cached tag waits at most 3 s: when upstream takes its time, the cached answer goes out, and what was
//! begun goes on behind it.

use std::time::{Duration, Instant};

use http::Method;
use roadstead_tests::{
    client::{Answer, Client},
    cluster::Cluster,
    hub::{Fault, Gate, Hub, Kind, When},
    image::Image,
};

use crate::open_pair;

const SOON: Duration = Duration::from_secs(3);

async fn warm() -> (Hub, Cluster, Client, Image) {
    let (hub, cluster) = open_pair().await;
    let image = Image::small(1);
    hub.push("library/app", "latest", &image);
    let client = cluster.anonymous();
    client.manifest("app", "latest").await.expect(200);
    (hub, cluster, client, image)
}

async fn stale_in_time(client: &Client, method: Method, image: &Image) -> Answer {
    let started = Instant::now();
    let answer = client.ask(method, "app", "manifests/latest", &[]).await.expect(200);
    assert!(started.elapsed() < SOON, "took {:?}", started.elapsed());
    assert_eq!(
        (answer.cache(), answer.header("docker-content-digest")),
        ("stale", image.digest().as_str()),
        "{answer:?}"
    );
    assert!(answer.header("warning").starts_with("111 "), "{answer:?}");
    answer
}

#[tokio::test]
async fn the_check_goes_on_behind_the_answer() {
    let (hub, cluster, client, image) = warm().await;
    hub.forget_requests();
    let gate = Gate::closed();
    let heads = When::head(Kind::Manifest);
    hub.fault(heads.clone(), Fault::HoldAnswer(gate.clone()));
    stale_in_time(&client, Method::GET, &image).await;
    assert_eq!(hub.count(&heads), 1, "{}", hub.log());
    // Whoever comes meanwhile waits for the same question.
    stale_in_time(&client, Method::GET, &image).await;
    assert_eq!(hub.count(&heads), 1, "{}", hub.log());
    gate.open();
    hub.wait_until(|hub| hub.requests(&heads).iter().all(|head| head.status() == 200), "the HEAD's answer").await;
    // What it said counts: with a max_age nobody has to ask again.
    cluster.cli(&["group", "update", "default", "--max-age", "1h"]).await.ok();
    let started = Instant::now();
    loop {
        let answer = client.manifest("app", "latest").await.expect(200);
        if answer.cache() == "hit" {
            break;
        }
        assert!(started.elapsed() < SOON, "{answer:?}");
    }
}

#[tokio::test]
async fn a_moved_tag_whose_manifest_does_not_come_is_served_as_it_was() {
    let (hub, _cluster, client, old) = warm().await;
    let new = Image::small(2);
    hub.push("library/app", "latest", &new);
    let gate = Gate::closed();
    hub.fault(When::get(Kind::Manifest), Fault::HoldAnswer(gate.clone()));
    // Who only asks what the tag means is not told of what could not be fetched.
    stale_in_time(&client, Method::HEAD, &old).await;
    stale_in_time(&client, Method::GET, &old).await;
    assert_eq!(hub.count(&When::get(Kind::Manifest).at(&new.digest())), 1, "{}", hub.log());
    gate.open();
    let started = Instant::now();
    loop {
        let answer = client.manifest("app", "latest").await.expect(200);
        if answer.body == new.manifest {
            break;
        }
        assert!(started.elapsed() < Duration::from_secs(10), "{answer:?}");
    }
    assert_eq!(hub.count(&When::get(Kind::Manifest).at(&new.digest())), 1, "it was fetched once:\n{}", hub.log());
}

#[tokio::test]
async fn a_manifest_that_upstream_has_not_after_all_leaves_the_tag_as_it_was() {
    let (hub, _cluster, client, old) = warm().await;
    let new = Image::small(2);
    hub.push("library/app", "latest", &new);
    hub.fault(When::get(Kind::Manifest), Fault::Status(404));
    stale_in_time(&client, Method::GET, &old).await;
}

#[tokio::test]
async fn a_stale_answer_is_logged_once_with_its_reason() {
    let (hub, cluster, client, image) = warm().await;
    hub.down().await;
    stale_in_time(&client, Method::GET, &image).await;
    let log = cluster.log();
    let lines: Vec<&str> = log.lines().filter(|line| line.contains("x_cache=\"stale\"")).collect();
    assert_eq!(lines.len(), 1, "{log}");
    assert!(
        lines[0].contains("latest")
            && lines[0].contains("docker.io")
            && lines[0].contains("cause=\"docker.io cannot be reached"),
        "{lines:?}"
    );
}
