//! One group, or one upstream, takes neither every download place nor the disk from the others.

use std::time::Duration;

use futures_util::future::join_all;
use roadstead_tests::{
    cluster::{Cluster, ClusterOptions},
    hub::{AuthMode, Fault, Gate, Hub, HubOptions, Kind, When},
    image::random_bytes,
    small_disk::SmallDisk,
};

const HOST: &str = "other.example";

async fn open_hub() -> Hub {
    Hub::start_with(HubOptions { auth: AuthMode::Open, ..HubOptions::default() }).await
}

#[tokio::test]
async fn a_group_whose_upstream_drips_leaves_download_places_to_the_others_and_to_itself() {
    let (hub, other) = (open_hub().await, open_hub().await);
    let cluster = Cluster::start(&hub).await;
    cluster.cli(&["upstream", "set", HOST, "--url", &other.url()]).await.ok();
    cluster.cli(&["group", "create", "dripping", "--upstream", HOST]).await.ok();
    let token = cluster.create_token("dripping").await;
    let dripping = cluster.client("dripping", &token);
    dripping.token("app").await;
    other.fault(When::get(Kind::Blob).of("drip"), Fault::Slow(1, Duration::from_millis(500)));
    let drips: Vec<_> = (0..288).map(|seed| other.push_blob("drip", random_bytes(seed, 10_000))).collect();
    dripping.token("drip").await;
    // All that get a place keep their connections open; the rest is told to come again.
    let open = join_all(drips.iter().map(|digest| dripping.open_blob("drip", digest, &[]))).await;
    let answers: Vec<_> = open.iter().map(|answer| answer.status().as_u16()).collect();
    assert!(answers.iter().filter(|status| **status == 200).count() >= 90, "{answers:?}");
    let cold = random_bytes(1000, 300_000);
    let here = hub.push_blob("library/app", cold.clone());
    assert_eq!(cluster.anonymous().blob("app", &here).await.expect(200).body, cold);
    // What brings next to nothing gives its place to what waits for it.
    let own = random_bytes(1001, 300_000);
    let there = other.push_blob("app", own.clone());
    assert_eq!(dripping.blob("app", &there).await.expect(200).body, own);
}

#[tokio::test]
async fn an_announced_size_takes_no_room_before_its_bytes_arrive() {
    let disk = SmallDisk::mount(128);
    let hub = open_hub().await;
    let options = ClusterOptions { data_dir: Some(disk.path().join("data")), ..ClusterOptions::default() };
    let cluster = Cluster::start_with(&hub, options).await;
    let gate = Gate::closed();
    gate.release(1_000_000);
    // Making these takes long and lets nothing else run: a connection that waits meanwhile may be closed as idle.
    let large = hub.push_blob("library/app", random_bytes(1, 110_000_000));
    let other = random_bytes(2, 40_000_000);
    let wanted = hub.push_blob("library/app", other.clone());
    let client = cluster.anonymous();
    client.token("app").await;
    hub.fault(When::get(Kind::Blob).at(&large), Fault::Gated(gate.clone()));
    let mut first = client.open_blob("app", &large, &[]).await;
    first.chunk().await.unwrap().unwrap();
    assert_eq!(client.blob("app", &wanted).await.expect(200).body, other);
    // Now the large one does not fit any more: it ends, and the database goes on having room.
    gate.open();
    while let Ok(Some(_)) = first.chunk().await {}
    cluster.cli(&["group", "create", "later"]).await.ok();
    assert_eq!(client.blob("app", &wanted).await.expect(200).body, other);
}
