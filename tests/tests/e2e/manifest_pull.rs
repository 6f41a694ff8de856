//! Manifests: what a pull costs upstream, and what clients see.

use http::Method;
use roadstead_tests::{
    cluster::Cluster,
    eventually::eventually,
    hub::{Fault, Gate, Hub, Kind, When},
    image::{DOCKER_MANIFEST, Format, Image, ImageBuilder, Index, digest},
};

use crate::{open_pair, soon};

/// Pulls an image as clients do: manifest by tag, then config and layers.
async fn pull(cluster: &Cluster, name: &str, tag: &str, image: &Image) {
    let client = cluster.anonymous();
    let manifest = client.manifest(name, tag).await.expect(200);
    assert_eq!(manifest.body, image.manifest);
    for blob in image.blobs() {
        assert_eq!(client.blob(name, &digest(blob)).await.expect(200).body, blob);
    }
}

#[tokio::test]
async fn a_cold_pull_costs_one_get_each_and_a_warm_pull_one_head() {
    let hub = Hub::start().await;
    let cluster = Cluster::start(&hub).await;
    let image = ImageBuilder::new(Format::Docker).file("a", b"a").file("b", b"b").build();
    hub.push("library/alpine", "latest", &image);

    pull(&cluster, "alpine", "latest", &image).await;
    assert_eq!(hub.count(&When::get(Kind::Manifest)), 1, "{}", hub.log());
    assert_eq!(hub.count(&When::get(Kind::Blob)), 3, "{}", hub.log());
    for blob in image.blobs() {
        assert_eq!(hub.count(&When::get(Kind::Blob).at(&digest(blob))), 1, "{}", hub.log());
    }
    assert_eq!(hub.count(&When::kind(Kind::Token)), 1, "{}", hub.log());

    hub.forget_requests();
    pull(&cluster, "alpine", "latest", &image).await;
    assert_eq!(hub.count(&When::head(Kind::Manifest).at("latest")), 1, "{}", hub.log());
    assert_eq!(hub.count(&When::any()), 1, "a warm pull costs one HEAD and nothing else:\n{}", hub.log());
}

#[tokio::test]
async fn a_cold_pull_from_an_open_registry_is_one_head_and_one_get() {
    let (hub, cluster) = open_pair().await;
    hub.push("org/app", "1.0", &Image::small(1));
    let cold = cluster.anonymous().manifest("org/app", "1.0").await.expect(200);
    assert_eq!(cold.cache(), "fill");
    assert_eq!(
        (hub.count(&When::head(Kind::Manifest)), hub.count(&When::get(Kind::Manifest))),
        (1, 1),
        "{}",
        hub.log()
    );
    assert_eq!(hub.count(&When::any()), 2, "{}", hub.log());
    let warm = cluster.anonymous().manifest("org/app", "1.0").await.expect(200);
    assert_eq!(warm.cache(), "revalidated");
    assert_eq!(warm.body, cold.body);
}

#[tokio::test]
async fn a_changed_tag_costs_one_get_and_the_old_digest_stays() {
    let (hub, cluster) = open_pair().await;
    let (old, new) = (Image::small(1), Image::small(2));
    hub.push("library/app", "latest", &old);
    let client = cluster.anonymous();
    client.manifest("app", "latest").await.expect(200);
    hub.push("library/app", "latest", &new);
    hub.forget_requests();
    let changed = client.manifest("app", "latest").await.expect(200);
    assert_eq!(changed.header("docker-content-digest"), new.digest());
    assert_eq!(
        (hub.count(&When::get(Kind::Manifest)), hub.count(&When::head(Kind::Manifest))),
        (1, 1),
        "{}",
        hub.log()
    );
    hub.forget_requests();
    assert_eq!(client.manifest("app", &old.digest()).await.expect(200).body, old.manifest);
    // A tag that comes back to what is still cached costs no GET.
    hub.retag("library/app", "latest", &old.digest());
    assert_eq!(client.manifest("app", "latest").await.expect(200).body, old.manifest);
    assert_eq!(hub.count(&When::get(Kind::Manifest)), 0, "{}", hub.log());
}

#[tokio::test]
async fn a_linked_manifest_by_digest_asks_upstream_nothing() {
    let (hub, cluster) = open_pair().await;
    let image = Image::small(1);
    hub.push("library/app", "latest", &image);
    let client = cluster.anonymous();
    client.manifest("app", "latest").await.expect(200);
    hub.forget_requests();
    for _ in 0..2 {
        let hit = client.manifest("app", &image.digest()).await.expect(200);
        assert_eq!((hit.cache(), &hit.body), ("hit", &image.manifest));
        client.head_manifest("app", &image.digest()).await.expect(200);
    }
    assert_eq!(hub.count(&When::any()), 0, "{}", hub.log());
}

#[tokio::test]
async fn head_answers_what_get_answers_and_costs_no_upstream_get() {
    let (hub, cluster) = open_pair().await;
    let image = Image::small(1);
    hub.push("library/app", "latest", &image);
    let client = cluster.anonymous();
    let same = |head: &roadstead_tests::client::Answer| {
        assert_eq!(head.header("docker-content-digest"), image.digest());
        assert_eq!(head.header("content-length"), image.manifest.len().to_string());
        assert_eq!(head.header("content-type"), DOCKER_MANIFEST);
        assert!(head.body.is_empty());
    };
    same(&client.head_manifest("app", "latest").await.expect(200));
    same(&client.head_manifest("app", &image.digest()).await.expect(200));
    assert_eq!(hub.count(&When::get(Kind::Manifest)), 0, "a cold HEAD is a HEAD:\n{}", hub.log());
    let get = client.manifest("app", "latest").await.expect(200);
    assert_eq!(get.header("content-length"), image.manifest.len().to_string());
    assert_eq!(get.header("docker-content-digest"), image.digest());
    same(&client.head_manifest("app", "latest").await.expect(200));
    assert_eq!(hub.count(&When::get(Kind::Manifest)), 1, "{}", hub.log());
}

#[tokio::test]
async fn dockers_way_head_by_tag_then_get_by_digest_ends_with_the_tag_cached() {
    let (hub, cluster) = open_pair().await;
    let image = Image::small(1);
    hub.push("library/app", "latest", &image);
    let client = cluster.anonymous();
    let head = client.head_manifest("app", "latest").await.expect(200);
    client.manifest("app", head.header("docker-content-digest")).await.expect(200);
    hub.down().await;
    assert_eq!(client.manifest("app", "latest").await.expect(200).body, image.manifest);
}

#[tokio::test]
async fn concurrent_pulls_of_a_cold_tag_share_one_get() {
    let (hub, cluster) = open_pair().await;
    hub.push("library/app", "latest", &Image::small(1));
    let client = cluster.anonymous();
    client.token("app").await;
    let pulls = (0..16).map(|_| client.manifest("app", "latest"));
    for answer in futures_util::future::join_all(pulls).await {
        answer.expect(200);
    }
    assert_eq!(hub.count(&When::get(Kind::Manifest)), 1, "{}", hub.log());
}

#[tokio::test]
async fn concurrent_pulls_of_a_warm_tag_share_one_head() {
    let (hub, cluster) = open_pair().await;
    hub.push("library/app", "latest", &Image::small(1));
    hub.push("library/app", "other", &Image::small(2));
    let client = cluster.anonymous();
    client.manifest("app", "latest").await.expect(200);
    hub.forget_requests();
    let gate = Gate::closed();
    let latest = When::any().at("latest");
    hub.fault(latest.clone(), Fault::HoldAnswer(gate.clone()));
    let pulls = futures_util::future::join_all((0..10).map(|_| client.manifest("app", "latest")));
    let (answers, ()) = tokio::join!(pulls, async {
        let in_flight = async || cluster.metric("roadstead_requests_in_flight", &[]).await;
        eventually("ten requests are under way", async || in_flight().await >= 10.0).await;
        // Who came in before these has got as far as they have: to upstream.
        for _ in 0..5 {
            client.manifest("app", "other").await.expect(200);
        }
        gate.open();
    });
    for answer in answers {
        assert_eq!(answer.expect(200).cache(), "revalidated");
    }
    assert_eq!(hub.count(&latest), 1, "{}", hub.log());
}

#[tokio::test]
async fn the_second_platform_of_an_index_fetches_only_its_own_content() {
    for format in [Format::Docker, Format::Oci] {
        let (hub, cluster) = open_pair().await;
        let index = Index::two_platforms(format, 1);
        hub.push_index("library/app", "latest", &index);
        let client = cluster.anonymous();
        for (platform, image) in index.images.iter().enumerate() {
            hub.forget_requests();
            let listed = client.manifest("app", "latest").await.expect(200);
            assert_eq!((listed.header("content-type"), &listed.body), (index.media_type.as_str(), &index.manifest));
            assert_eq!(client.manifest("app", &image.digest()).await.expect(200).body, image.manifest);
            for blob in image.blobs() {
                client.blob("app", &digest(blob)).await.expect(200);
            }
            let index_gets = usize::from(platform == 0);
            assert_eq!(hub.count(&When::get(Kind::Manifest)), 1 + index_gets, "{}", hub.log());
            assert_eq!(hub.count(&When::get(Kind::Manifest).at(&image.digest())), 1, "{}", hub.log());
            assert_eq!(hub.count(&When::get(Kind::Blob)), image.blobs().count(), "{}", hub.log());
        }
    }
}

#[tokio::test]
async fn a_name_without_slash_is_of_library_and_another_registry_is_picked_by_name_or_ns() {
    let (hub, cluster) = open_pair().await;
    let other = Hub::start_with(roadstead_tests::hub::HubOptions {
        auth: roadstead_tests::hub::AuthMode::Open,
        ..Default::default()
    })
    .await;
    other.push("org/app", "1", &Image::small(2));
    hub.push("library/org", "1", &Image::small(1));
    cluster.cli(&["upstream", "set", "registry.example", "--url", &other.url()]).await.ok();
    let client = cluster.anonymous();
    client.manifest("org", "1").await.expect(200);
    // Not before the group may use it.
    let refused = client.manifest("registry.example/org/app", "1").await;
    assert!(matches!(refused.status.as_u16(), 403 | 404), "{refused:?}");
    assert_eq!(other.count(&When::any()), 0, "{}", other.log());
    let arguments = ["group", "update", "default", "--upstream", "docker.io", "--upstream", "registry.example"];
    cluster.cli(&arguments).await.ok();
    soon(200, || client.manifest("registry.example/org/app", "1")).await;
    client.ask(Method::GET, "org/app", "manifests/1?ns=registry.example", &[]).await.expect(200);
    assert_eq!(other.count(&When::get(Kind::Manifest)), 1, "{}", other.log());
}
