//! Images fetched ahead of pulls: all of them, once, by the command line; and credentials tried before they are stored.

use std::time::Duration;

use roadstead_tests::{
    cluster::Cluster,
    hub::{Fault, Gate, Hub, HubOptions, Kind, When},
    image::{Format, Image, ImageBuilder, Index, digest, random_bytes},
};

use crate::open_pair;

fn large(architecture: &str) -> Image {
    let builder =
        ImageBuilder::new(Format::Oci).architecture(architecture).file("common.bin", &random_bytes(1, 300_000));
    builder.file("own.txt", architecture.as_bytes()).build()
}

#[tokio::test]
async fn a_prefetched_image_is_pulled_without_upstream() {
    let (hub, cluster) = open_pair().await;
    let index = Index::new(Format::Oci, vec![large("amd64"), large("arm64")]);
    hub.push_index("library/app", "1", &index);
    cluster.cli(&["cache", "prefetch", "default", "app:1", "--platform", "linux/amd64"]).await.ok();
    let [amd64, arm64] = &index.images[..] else { panic!("two platforms") };
    assert_eq!(hub.count(&When::get(Kind::Manifest)), 2, "index and platform, once each:\n{}", hub.log());
    assert_eq!(hub.count(&When::get(Kind::Blob)), amd64.blobs().count(), "{}", hub.log());
    assert_eq!(hub.count(&When::get(Kind::Manifest).at(&arm64.digest())), 0, "nobody asked for it");

    // Nobody has pulled it yet.
    let listed = cluster.cli_json(&["cache", "list", "default"]).await;
    assert_eq!(listed.as_array().unwrap().len(), 2, "{listed}");
    assert!(listed.as_array().unwrap().iter().all(|it| it["last_pulled_at"].is_null()), "{listed}");
    let stats = cluster.cli_json(&["cache", "stats", "default"]).await;
    let number =
        |name: &str| stats[name].as_str().map_or(stats[name].as_i64().unwrap_or_default(), |it| it.parse().unwrap());
    assert_eq!((number("hits"), number("misses")), (0, 0), "{stats}");

    let client = cluster.anonymous();
    hub.down().await;
    assert_eq!(client.manifest("app", "1").await.expect(200).body, index.manifest);
    assert_eq!(client.manifest("app", &amd64.digest()).await.expect(200).cache(), "hit");
    for blob in amd64.blobs() {
        assert_eq!(client.blob("app", &digest(blob)).await.expect(200).cache(), "hit");
    }
    hub.up();

    // All the rest; what is there is not fetched again.
    hub.forget_requests();
    let output = cluster.cli_json(&["cache", "prefetch", "default", "app:1"]).await;
    assert_eq!(hub.count(&When::get(Kind::Manifest)), 1, "arm64's:\n{}", hub.log());
    let own = arm64.blobs().filter(|blob| amd64.blobs().all(|other| other != *blob)).count();
    assert_eq!(hub.count(&When::get(Kind::Blob)), own, "{}", hub.log());
    let last = output.as_array().and_then(|all| all.last()).unwrap_or(&output);
    assert_eq!((&last["done"], &last["digest"]), (&true.into(), &digest(&index.manifest).into()), "{output}");
}

#[tokio::test]
async fn a_prefetch_and_pulls_of_the_same_image_share_its_downloads() {
    let (hub, cluster) = open_pair().await;
    let image = large("amd64");
    hub.push("library/app", "1", &image);
    let gate = Gate::closed();
    let layer = digest(&image.layers[0]);
    hub.fault(When::get(Kind::Blob).at(&layer), Fault::Gated(gate.clone()));
    let client = cluster.anonymous();
    client.token("app").await;
    let prefetch = cluster.cli(&["cache", "prefetch", "default", "app:1"]);
    let pull = async {
        hub.wait_for(&When::get(Kind::Blob).at(&layer), 1).await;
        let joined = client.open_blob("app", &layer, &[]).await;
        assert_eq!(joined.headers()["x-cache"], "join");
        gate.open();
        assert_eq!(joined.bytes().await.unwrap(), image.layers[0]);
    };
    let (prefetched, ()) = tokio::join!(prefetch, pull);
    prefetched.ok();
    assert_eq!(hub.count(&When::get(Kind::Blob).at(&layer)), 1, "{}", hub.log());
}

#[tokio::test]
async fn a_prefetch_that_cannot_be_done_says_why() {
    let (hub, cluster) = open_pair().await;
    hub.push_index("library/app", "1", &Index::new(Format::Oci, vec![large("amd64")]));
    let failed =
        async |arguments: &[&str]| cluster.cli(&[&["cache", "prefetch", "default"], arguments].concat()).await.failed();
    assert!(failed(&["nowhere:1"]).await.contains("has no "));
    assert!(failed(&["app:1", "--platform", "linux/s390x"]).await.contains("linux/s390x"));
    assert!(failed(&["ghcr.io/org/app:1"]).await.contains("ghcr.io"));
    hub.fault(When::kind(Kind::Manifest), Fault::Status(403));
    assert!(failed(&["app:1"]).await.contains("denied access"));
    hub.clear_faults();
    hub.down().await;
    let said = failed(&["app:1"]).await;
    assert!(said.contains("the upstream is unavailable"), "{said}");
}

async fn login(cluster: &Cluster, password: &str, more: &[&str]) -> roadstead_tests::process::Finished {
    let arguments = ["upstream", "login", "default", "docker.io", "--username", "alice", "--password-stdin"];
    cluster.cli_with_input(&[&arguments[..], more].concat(), password).await
}

#[tokio::test]
async fn credentials_are_tried_upstream_before_they_are_stored() {
    let hub = Hub::start_with(HubOptions::default()).await;
    hub.add_user("alice", "alices-password");
    hub.push("library/app", "latest", &Image::small(1));
    hub.make_private("library/app", &["alice"]);
    let cluster = Cluster::start(&hub).await;
    let client = cluster.anonymous();
    let refused = login(&cluster, "not-her-password", &[]).await.failed();
    assert!(refused.contains("refuses") && !refused.contains("not-her-password"), "{refused}");
    client.manifest("app", "latest").await.expect_error(403, "DENIED");
    login(&cluster, "alices-password", &[]).await.ok();
    crate::soon(200, async || client.manifest("app", "latest").await).await;

    hub.down().await;
    let unreachable = login(&cluster, "other-password", &[]).await.failed();
    assert!(unreachable.contains("cannot be"), "{unreachable}");
    login(&cluster, "other-password", &["--no-verify"]).await.ok();
    hub.up();
    let stored = async || client.manifest("app", "latest").await;
    crate::within(Duration::from_secs(10), 403, stored).await.expect_error(403, "DENIED");
}
