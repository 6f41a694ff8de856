//! Bytes on disk: they go when nobody needs them, and come back when they are missing or damaged.

use std::{
    fs,
    path::{Path, PathBuf},
};

use roadstead_tests::{
    cluster::{Cluster, ClusterOptions},
    eventually::eventually,
    hub::{Hub, Kind, When},
    image::{Image, digest, random_bytes},
};

use crate::open_pair;

/// The file that holds the content with this digest.
fn file_of(cluster: &Cluster, digest: &str) -> Option<PathBuf> {
    let hex = digest.split(':').nth(1).unwrap();
    find(&cluster.data_dir().join("blobs"), hex)
}

fn find(folder: &Path, hex: &str) -> Option<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let found = |path: &PathBuf| path.is_file() && path.to_string_lossy().replace('/', "").contains(hex);
    let (folders, files): (Vec<_>, Vec<_>) = entries.partition(|path| path.is_dir());
    files.into_iter().find(found).or_else(|| folders.iter().find_map(|folder| find(folder, hex)))
}

#[tokio::test]
async fn content_that_is_missing_or_damaged_in_the_store_is_fetched_again() {
    let (hub, cluster) = open_pair().await;
    let image = Image::small(1);
    hub.push("library/app", "latest", &image);
    let blob = random_bytes(1, 50_000);
    let wanted = hub.push_blob("library/app", blob.clone());
    let client = cluster.anonymous();
    client.manifest("app", "latest").await.expect(200);
    client.blob_hit("app", &wanted).await;
    for what in ["missing", "cut short"] {
        for digest in [&wanted, &image.digest()] {
            let path = file_of(&cluster, digest).unwrap();
            let content = fs::read(&path).unwrap();
            // A new file in its place, if any: the old one may be mapped by the process.
            fs::remove_file(&path).unwrap();
            if what == "cut short" {
                fs::write(&path, &content[..content.len() / 2]).unwrap();
            }
        }
        // What the process still holds in memory or open may serve; after a restart there is only the disk.
        cluster.kill();
        cluster.run_processes().await;
        let client = cluster.anonymous();
        assert_eq!(client.blob("app", &wanted).await.expect(200).body, blob, "{what}");
        assert_eq!(client.manifest("app", &image.digest()).await.expect(200).body, image.manifest, "{what}");
        client.blob_hit("app", &wanted).await;
    }
    assert_eq!(hub.count(&When::get(Kind::Blob)), 3, "once cold and once for each damage:\n{}", hub.log());
}

#[tokio::test]
async fn bytes_that_nobody_links_any_more_leave_the_disk_after_the_grace() {
    let hub = Hub::start().await;
    let arguments = ["--gc-grace", "1s"].map(str::to_owned).to_vec();
    let cluster = Cluster::start_with(&hub, ClusterOptions { arguments, ..ClusterOptions::default() }).await;
    let (gone, kept) = (random_bytes(1, 50_000), random_bytes(2, 50_000));
    let (gone, kept) = (hub.push_blob("library/app", gone), hub.push_blob("library/app", kept));
    let client = cluster.anonymous();
    for blob in [&gone, &kept] {
        client.blob_hit("app", blob).await;
    }
    cluster.cli(&["cache", "purge", "default", "--digest", &gone]).await.ok();
    eventually("the bytes leave the disk", async || file_of(&cluster, &gone).is_none()).await;
    assert!(file_of(&cluster, &kept).is_some());
    // It comes back as if it had never been there.
    hub.forget_requests();
    assert_eq!(digest(&client.blob("app", &gone).await.expect(200).body), gone);
    assert_eq!(hub.count(&When::get(Kind::Blob)), 1, "{}", hub.log());
    client.blob_hit("app", &kept).await;
}
