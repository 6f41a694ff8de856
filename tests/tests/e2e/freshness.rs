//! Freshness as a contract: what groups and rules say of tags, by the command line, is what pulls get.

use std::time::Duration;

use http::Method;
use roadstead_tests::{
    client::{Answer, Client},
    cluster::Cluster,
    eventually::eventually_some,
    hub::{Hub, Kind, When},
    image::{Image, digest},
};

use crate::{open_pair, soon, within};

/// `default` with these settings, and `library/app:latest` cached in it.
async fn warm(settings: &[&str]) -> (Hub, Cluster, Client, Image) {
    let (hub, cluster) = open_pair().await;
    if !settings.is_empty() {
        cluster.cli(&[&["group", "update", "default"], settings].concat()).await.ok();
    }
    let image = Image::small(1);
    hub.push("library/app", "latest", &image);
    let client = cluster.anonymous();
    client.manifest("app", "latest").await.expect(200);
    (hub, cluster, client, image)
}

/// Asks until the answer is as wanted, at most 10 s: settings reach nodes a moment later.
async fn until(what: &str, ask: impl AsyncFn() -> Answer, wanted: impl Fn(&Answer) -> bool) -> Answer {
    eventually_some(async || {
        let answer = ask().await;
        if wanted(&answer) { Ok(answer) } else { Err(format!("not yet {what}: {answer:?}")) }
    })
    .await
}

#[track_caller]
fn is_served_as_it_was(answer: &Answer, image: &Image) {
    assert_eq!((answer.status.as_u16(), answer.cache()), (200, "stale"), "{answer:?}");
    assert!(answer.header("warning").starts_with("110 "), "{answer:?}");
    assert_eq!(answer.body, image.manifest);
}

#[tokio::test]
async fn a_tag_is_served_unconfirmed_for_its_max_stale_and_no_longer() {
    let (hub, _cluster, client, image) = warm(&["--max-stale", "2s"]).await;
    hub.down().await;
    let stale = client.manifest("app", "latest").await.expect(200);
    assert_eq!((stale.cache(), &stale.body), ("stale", &image.manifest));
    let refused = within(Duration::from_secs(10), 503, async || client.manifest("app", "latest").await).await;
    let message = String::from_utf8_lossy(&refused.body).into_owned();
    refused.expect_error(503, "UNAVAILABLE");
    assert!(message.contains("confirm"), "{message}");
    // What it means by its digest needs no confirmation.
    assert_eq!(client.manifest("app", &image.digest()).await.expect(200).cache(), "hit");
    hub.up();
    until("confirmed", async || client.manifest("app", "latest").await, |answer| answer.cache() == "revalidated").await;
}

#[tokio::test]
async fn a_tag_that_is_gone_upstream_is_gone_or_kept_as_the_group_wants() {
    let (hub, cluster, client, image) = warm(&[]).await;
    hub.push("library/app", "kept", &image);
    client.manifest("app", "kept").await.expect(200);
    hub.untag("library/app", "latest");
    hub.untag("library/app", "kept");
    client.manifest("app", "latest").await.expect_error(404, "MANIFEST_UNKNOWN");
    cluster.cli(&["group", "update", "default", "--missing-tag", "keep"]).await.ok();
    is_served_as_it_was(&client.manifest("app", "kept").await, &image);
    client.manifest("app", "latest").await.expect_error(404, "MANIFEST_UNKNOWN");
}

#[tokio::test]
async fn a_pinned_tag_means_its_digest_and_upstream_is_not_asked() {
    let (hub, cluster, client, first) = warm(&[]).await;
    let second = Image::small(2);
    hub.push("library/app", "latest", &second);
    assert_eq!(client.manifest("app", "latest").await.expect(200).body, second.manifest);
    // Back to what it was, as the history has it.
    let history = cluster.cli_json(&["cache", "history", "default", "app:latest"]).await;
    let digests: Vec<_> =
        history.as_array().unwrap().iter().map(|it| it["digest"].as_str().unwrap().to_owned()).collect();
    assert_eq!(digests, [second.digest(), first.digest()], "newest first: {history}");
    assert!(history.as_array().unwrap().iter().all(|it| it["cached"] == true), "{history}");
    cluster.cli(&["cache", "pin", "default", "app:latest", &digests[1]]).await.ok();
    hub.forget_requests();
    for _ in 0..2 {
        let pinned = client.manifest("app", "latest").await.expect(200);
        assert_eq!((pinned.cache(), &pinned.body), ("hit", &first.manifest));
        assert!(!pinned.header("cache-control").contains("immutable"), "{pinned:?}");
    }
    assert_eq!(hub.count(&When::any()), 0, "{}", hub.log());
    // To something that is not cached: fetched once, by its digest.
    let third = Image::small(3);
    let wanted = hub.push_manifest("library/app", None, &third.media_type, third.manifest.clone());
    cluster.cli(&["cache", "pin", "default", "docker.io/library/app:latest", &wanted]).await.ok();
    assert_eq!(client.manifest("app", "latest").await.expect(200).body, third.manifest);
    assert_eq!(client.manifest("app", "latest").await.expect(200).cache(), "hit");
    assert_eq!(hub.count(&When::get(Kind::Manifest).at(&wanted)), 1, "{}", hub.log());
    assert_eq!(hub.count(&When::any()), 1, "{}", hub.log());
    cluster.cli(&["cache", "unpin", "default", "app:latest"]).await.ok();
    assert_eq!(client.manifest("app", "latest").await.expect(200).body, second.manifest);
}

#[tokio::test]
async fn an_immutable_tag_is_asked_about_once() {
    let (hub, cluster, client, image) = warm(&[]).await;
    let rule = ["group", "rule", "set", "default", "docker.io/library/app:v*", "--immutable"];
    cluster.cli(&rule).await.ok();
    hub.push("library/app", "v1", &image);
    client.manifest("app", "v1").await.expect(200);
    hub.push("library/app", "v1", &Image::small(2));
    hub.push("library/app", "latest", &Image::small(2));
    hub.forget_requests();
    let answer = client.manifest("app", "v1").await.expect(200);
    assert_eq!((answer.cache(), &answer.body), ("hit", &image.manifest));
    assert_eq!(hub.count(&When::any()), 0, "{}", hub.log());
    assert_eq!(client.manifest("app", "latest").await.expect(200).body, Image::small(2).manifest, "no rule fits it");
}

#[tokio::test]
async fn a_moved_tag_is_followed_after_its_cooldown() {
    let (hub, _cluster, client, old) = warm(&["--cooldown", "3s"]).await;
    let new = Image::small(2);
    hub.push("library/app", "latest", &new);
    is_served_as_it_was(&client.manifest("app", "latest").await, &old);
    let head = client.head_manifest("app", "latest").await.expect(200);
    assert_eq!(head.header("docker-content-digest"), old.digest());
    assert_eq!(hub.count(&When::get(Kind::Manifest).at(&new.digest())), 0, "{}", hub.log());
    let ask = async || client.manifest("app", "latest").await;
    let followed = until("followed", ask, |answer| answer.body == new.manifest).await;
    assert_eq!(followed.cache(), "fill", "{followed:?}");
}

#[tokio::test]
async fn rules_for_some_tags_stand_before_the_groups_settings() {
    let (hub, cluster, client, _) = warm(&["--max-age", "1h"]).await;
    cluster.cli(&["group", "rule", "set", "default", "app:nightly", "--max-age", "0s"]).await.ok();
    hub.push("library/app", "nightly", &Image::small(1));
    client.manifest("app", "nightly").await.expect(200);
    hub.push("library/app", "latest", &Image::small(2));
    hub.push("library/app", "nightly", &Image::small(2));
    assert_eq!(client.manifest("app", "nightly").await.expect(200).body, Image::small(2).manifest);
    assert_eq!(client.manifest("app", "latest").await.expect(200).body, Image::small(1).manifest);
}

#[tokio::test]
async fn images_that_rules_refuse_cannot_be_pulled_in_any_way() {
    let (hub, cluster, client, _) = warm(&[]).await;
    let image = Image::small(7);
    hub.push("library/xminer", "latest", &image);
    client.manifest("xminer", "latest").await.expect(200);
    client.blob_hit("xminer", &digest(&image.layers[0])).await;
    cluster.cli(&["group", "update", "default", "--deny", "docker.io/*miner*"]).await.ok();
    soon(403, async || client.manifest("xminer", "latest").await).await;
    hub.forget_requests();
    let manifest = image.digest();
    let blob = digest(&image.layers[0]);
    for rest in [
        "manifests/latest".to_owned(),
        format!("manifests/{manifest}"),
        format!("blobs/{blob}"),
        "tags/list".to_owned(),
        format!("referrers/{manifest}"),
    ] {
        let refused = client.ask(Method::GET, "xminer", &rest, &[]).await.expect_error(403, "DENIED");
        let message = refused.json()["errors"][0]["message"].as_str().unwrap().to_owned();
        assert!(message.contains("docker.io/*miner*") && message.contains("library/xminer"), "{rest}: {message}");
    }
    assert_eq!(hub.count(&When::any()), 0, "{}", hub.log());
    client.manifest("app", "latest").await.expect(200);
    // Where some images are allowed, others are not; what is denied stays denied.
    cluster.cli(&["group", "update", "default", "--allow", "docker.io/library/x*"]).await.ok();
    let refused = soon(403, async || client.manifest("app", "latest").await).await.expect_error(403, "DENIED");
    assert!(String::from_utf8_lossy(&refused.body).contains("docker.io/library/x*"), "{refused:?}");
    client.manifest("xminer", "latest").await.expect_error(403, "DENIED");
    cluster.cli(&["group", "update", "default", "--no-deny"]).await.ok();
    soon(200, async || client.manifest("xminer", "latest").await).await;
}

#[tokio::test]
async fn a_client_that_takes_no_index_gets_its_usual_platform_without_upstream() {
    use roadstead_tests::image::{DOCKER_MANIFEST, Format, Index};
    let (hub, cluster) = open_pair().await;
    let index = Index::two_platforms(Format::Docker, 1);
    let wanted = hub.push_index("library/multi", "1", &index);
    let client = cluster.anonymous();
    client.manifest("multi", "1").await.expect(200);
    client.manifest("multi", &index.images[0].digest()).await.expect(200);
    cluster.cli(&["cache", "pin", "default", "multi:1", &wanted]).await.ok();
    hub.down().await;
    let simple = [("accept", DOCKER_MANIFEST)];
    let answer = client.ask(Method::GET, "multi", "manifests/1", &simple).await.expect(200);
    assert_eq!((answer.header("content-type"), &answer.body), (DOCKER_MANIFEST, &index.images[0].manifest));
    assert!(!answer.header("cache-control").contains("immutable"), "{answer:?}");
}
