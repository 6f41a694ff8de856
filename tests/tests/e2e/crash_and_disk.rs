//! Crashes and full disks: nothing partial is ever visible, and what is cached goes on being served.

use std::{fs, path::Path};

use roadstead_tests::{
    cluster::{Cluster, ClusterOptions},
    hub::{AuthMode, Fault, Gate, Hub, HubOptions, Kind, When},
    image::{Image, digest, random_bytes},
    small_disk::SmallDisk,
};

use crate::open_pair;

#[tokio::test]
async fn nothing_partial_is_visible_after_kill_9_in_the_middle_of_a_fill() {
    let (hub, cluster) = open_pair().await;
    let blob = random_bytes(5, 4_000_000);
    let wanted = hub.push_blob("library/app", blob.clone());
    for released in [0, 1, 2_000_000, 3_999_999] {
        let gate = Gate::closed();
        gate.release(released);
        hub.fault(When::get(Kind::Blob), Fault::Gated(gate));
        let client = cluster.anonymous();
        let mut response = client.open_blob("app", &wanted, &[]).await;
        let mut got = 0;
        while got < released {
            got += response.chunk().await.unwrap().unwrap().len() as u64;
        }
        cluster.kill();
        hub.clear_faults();
        hub.forget_requests();
        assert!(response.bytes().await.is_err(), "a killed server's answer does not end cleanly");

        cluster.run_processes().await;
        let client = cluster.anonymous();
        let gate = Gate::closed();
        hub.fault(When::get(Kind::Blob), Fault::Gated(gate.clone()));
        let response = client.open_blob("app", &wanted, &[]).await;
        assert_eq!(response.headers()["x-cache"], "fill", "nothing of before counts as stored");
        // Killed once more before anything arrived, so that every round starts cold.
        drop(response);
        cluster.kill();
        hub.clear_faults();
        cluster.run_processes().await;
    }
    let client = cluster.anonymous();
    assert_eq!(client.blob("app", &wanted).await.expect(200).body, blob);
    let size = size_of(&cluster.data_dir());
    assert!(size < 2 * blob.len() as u64, "staged files of before are removed: {size} bytes");
}

#[tokio::test]
async fn what_was_cached_is_served_after_kill_9_with_upstream_down() {
    let (hub, cluster) = open_pair().await;
    let image = Image::small(1);
    hub.push("library/app", "latest", &image);
    let token = cluster.create_token("default").await;
    let layer = digest(&image.layers[0]);
    let client = cluster.client("default", &token);
    client.manifest("app", "latest").await.expect(200);
    client.blob_hit("app", &layer).await;
    cluster.kill();
    hub.down().await;
    cluster.run_processes().await;
    // The registry token from before the crash is still good: keys survive.
    assert_eq!(client.manifest("app", "latest").await.expect(200).body, image.manifest);
    assert_eq!(client.blob("app", &layer).await.expect(200).body, image.layers[0]);
    let client = cluster.client("default", &token);
    assert_eq!(client.manifest("app", "latest").await.expect(200).cache(), "stale");
}

#[tokio::test]
async fn a_full_disk_is_a_clear_error_for_fills_and_none_for_cached_pulls() {
    let disk = SmallDisk::mount(48);
    let hub = Hub::start_with(HubOptions { auth: AuthMode::Open, ..HubOptions::default() }).await;
    let options = ClusterOptions { data_dir: Some(disk.path().join("data")), ..ClusterOptions::default() };
    let cluster = Cluster::start_with(&hub, options).await;
    let cached = Image::small(1);
    hub.push("library/app", "latest", &cached);
    let layer = digest(&cached.layers[0]);
    let client = cluster.anonymous();
    client.manifest("app", "latest").await.expect(200);
    client.blob_hit("app", &layer).await;

    let (large, small) = (random_bytes(1, 60_000_000), random_bytes(2, 1_000_000));
    let (large, wanted) = (hub.push_blob("library/app", large), hub.push_blob("library/app", small.clone()));
    // More than the disk holds, whether it is noticed at the start or in the middle.
    if let Ok(answer) = client.try_blob("app", &large).await {
        assert!(answer.status.is_server_error(), "{}", answer.status);
    }
    // What the attempt took is given back.
    let fits = random_bytes(3, 20_000_000);
    let digest_of_fits = hub.push_blob("library/app", fits.clone());
    assert_eq!(client.blob("app", &digest_of_fits).await.expect(200).body, fits);

    disk.fill_up();
    let refused = client.try_blob("app", &wanted).await.unwrap();
    assert!(refused.status.is_server_error(), "{refused:?}");
    let error = refused.json()["errors"][0].clone();
    assert!(error["code"].is_string() && !error["message"].as_str().unwrap().is_empty(), "{error}");
    assert_eq!(client.blob("app", &layer).await.expect(200).body, cached.layers[0]);
    assert_eq!(client.manifest("app", &cached.digest()).await.expect(200).body, cached.manifest);
    assert_eq!(client.manifest("app", "latest").await.expect(200).body, cached.manifest);
    disk.make_room();
    assert_eq!(client.blob("app", &wanted).await.expect(200).body, small);
    cluster.kill();
}

fn size_of(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).unwrap().map(Result::unwrap);
    entries
        .map(|entry| if entry.path().is_dir() { size_of(&entry.path()) } else { entry.metadata().unwrap().len() })
        .sum()
}
