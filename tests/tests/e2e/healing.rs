//! Corruption in the store is found, listed, and healed by the next pull; what nobody knows of is linked again or goes.

use std::fs;

use roadstead_tests::{
    cluster::{Cluster, ClusterOptions},
    eventually::eventually,
    hub::{AuthMode, Hub, HubOptions, Kind, When},
    image::{Image, digest, random_bytes},
    small_disk::SmallDisk,
    store_files,
};

async fn start(arguments: &[&str]) -> (Hub, Cluster) {
    let hub = Hub::start_with(HubOptions { auth: AuthMode::Open, ..HubOptions::default() }).await;
    let arguments = arguments.iter().map(|text| (*text).to_owned()).collect();
    let cluster = Cluster::start_with(&hub, ClusterOptions { arguments, ..ClusterOptions::default() }).await;
    (hub, cluster)
}

/// Writes other bytes of the same length in its place; the old file may be mapped by the process.
fn spoil(cluster: &Cluster, digest: &str) {
    let path = &store_files::blobs(&cluster.data_dir().join("blobs"))[digest];
    let mut content = fs::read(path).unwrap();
    content[7] ^= 1;
    fs::remove_file(path).unwrap();
    fs::write(path, content).unwrap();
}

#[tokio::test]
async fn a_check_lists_what_is_missing_short_or_wrong_and_the_next_pull_heals_it() {
    let (hub, cluster) = start(&["--scrub-rate", "0"]).await;
    let blobs = [1, 2, 3, 4].map(|seed| random_bytes(seed, 100_000));
    let digests = blobs.clone().map(|blob| hub.push_blob("library/app", blob));
    let client = cluster.anonymous();
    for digest in &digests {
        client.blob_hit("app", digest).await;
    }
    assert_eq!(cluster.cli_json(&["cache", "check", "default", "--deep"]).await, serde_json::json!([]));
    let files = store_files::blobs(&cluster.data_dir().join("blobs"));
    fs::remove_file(&files[&digests[0]]).unwrap();
    fs::remove_file(&files[&digests[1]]).unwrap();
    fs::write(&files[&digests[1]], b"short").unwrap();
    spoil(&cluster, &digests[2]);
    let kinds = |list: &serde_json::Value| {
        let mut kinds: Vec<(String, String)> = list
            .as_array()
            .unwrap()
            .iter()
            .map(|damage| (damage["digest"].as_str().unwrap().to_owned(), damage["kind"].as_str().unwrap().to_owned()))
            .collect();
        kinds.sort();
        kinds
    };
    let expected = |corruptions: &[(usize, &str)]| {
        let mut all: Vec<_> = corruptions.iter().map(|(n, kind)| (digests[*n].clone(), (*kind).to_owned())).collect();
        all.sort();
        all
    };
    let shallow = cluster.cli_json(&["cache", "check", "default"]).await;
    assert_eq!(kinds(&shallow), expected(&[(0, "CORRUPTION_KIND_MISSING"), (1, "CORRUPTION_KIND_SIZE")]));
    assert_eq!(shallow[0]["images"], serde_json::json!(["docker.io/library/app"]));
    // What was short is out of the way by now, and so it is missing.
    let deep = cluster.cli_json(&["cache", "check", "default", "--deep"]).await;
    let found = [(0, "CORRUPTION_KIND_MISSING"), (1, "CORRUPTION_KIND_MISSING"), (2, "CORRUPTION_KIND_DIGEST")];
    assert_eq!(kinds(&deep), expected(&found));
    assert_eq!(store_files::entries(&cluster.data_dir().join("blobs/quarantine")).len(), 2);
    assert!(cluster.metric("roadstead_damaged_contents_total", &["kind=\"digest\""]).await >= 1.0);
    for (digest, blob) in digests.iter().zip(&blobs) {
        assert_eq!(client.blob("app", digest).await.expect(200).body, *blob);
        client.blob_hit("app", digest).await;
    }
    assert_eq!(hub.count(&When::get(Kind::Blob)), 7, "each once, and three again");
    // What the pulls noticed may be told while the next check runs.
    eventually("a check finds nothing", async || {
        cluster.cli_json(&["cache", "check", "default", "--deep"]).await == serde_json::json!([])
    })
    .await;
}

#[tokio::test]
async fn the_scrub_finds_wrong_bytes_that_nobody_asked_about() {
    let (hub, cluster) = start(&["--scrub-rate", "0"]).await;
    let blob = random_bytes(1, 500_000);
    let wanted = hub.push_blob("library/app", blob.clone());
    cluster.anonymous().blob_hit("app", &wanted).await;
    cluster.kill();
    spoil(&cluster, &wanted);
    let options = ClusterOptions {
        arguments: ["--scrub-rate", "10MiB"].map(str::to_owned).to_vec(),
        data_dir: Some(cluster.data_dir()),
        ..ClusterOptions::default()
    };
    let (_folder, cluster) = (cluster, Cluster::start_bare(options).await);
    eventually("the scrub has put it aside", async || {
        cluster.metric("roadstead_damaged_contents_total", &["kind=\"digest\""]).await >= 1.0
    })
    .await;
    assert!(cluster.metric("roadstead_scrubbed_bytes_total", &[]).await >= 500_000.0);
    hub.forget_requests();
    assert_eq!(cluster.anonymous().blob("app", &wanted).await.expect(200).body, blob);
    assert_eq!(hub.count(&When::get(Kind::Blob)), 1, "fetched again");
}

#[tokio::test]
async fn after_a_lost_database_each_content_is_fetched_once_more_and_kept() {
    let (hub, cluster) = start(&[]).await;
    let image = Image::small(1);
    hub.push("library/app", "latest", &image);
    let client = cluster.anonymous();
    client.manifest("app", "latest").await.expect(200);
    for blob in image.blobs() {
        client.blob_hit("app", &digest(blob)).await;
    }
    cluster.kill();
    for file in store_files::entries(&cluster.data_dir()) {
        if file.file_name().unwrap().to_string_lossy().starts_with("control.db") {
            fs::remove_file(file).unwrap();
        }
    }
    fs::remove_file(cluster.data_dir().join("admin-token")).unwrap();
    cluster.run_processes().await;
    cluster.cli(&["upstream", "set", "docker.io", "--url", &hub.url()]).await.ok();
    // After the walk: everything is known, as garbage of the future. Which upstream it came from is lost, so that no HEAD is
    // proof of a right to it: it is fetched once, and that is proof for all.
    eventually("the walk is through", async || cluster.log().contains("walked through the store")).await;
    hub.forget_requests();
    let client = cluster.anonymous();
    assert_eq!(client.manifest("app", &image.digest()).await.expect(200).body, image.manifest);
    for blob in image.blobs() {
        assert_eq!(client.blob("app", &digest(blob)).await.expect(200).body, *blob);
    }
    let expected = (1, image.blobs().count());
    assert_eq!((hub.count(&When::get(Kind::Manifest)), hub.count(&When::get(Kind::Blob))), expected, "{}", hub.log());
    let other = cluster.client_of_new_group("other").await;
    hub.forget_requests();
    for blob in image.blobs() {
        assert_eq!(other.blob("app", &digest(blob)).await.expect(200).body, *blob);
    }
    assert_eq!(hub.count(&When::get(Kind::Blob)), 0, "{}", hub.log());
    client.blob_hit("app", &digest(&image.layers[0])).await;
}

#[tokio::test]
async fn files_that_nobody_knows_of_go_after_the_grace() {
    let (hub, cluster) = start(&["--gc-grace", "1s"]).await;
    let kept = hub.push_blob("library/app", random_bytes(1, 50_000));
    cluster.anonymous().blob_hit("app", &kept).await;
    cluster.kill();
    let stray = random_bytes(2, 50_000);
    let hex = digest(&stray)["sha256:".len()..].to_owned();
    let folder = cluster.data_dir().join("blobs/sha256").join(&hex[..2]);
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join(&hex), &stray).unwrap();
    cluster.run_processes().await;
    eventually("the stray file is gone", async || !folder.join(&hex).exists()).await;
    cluster.anonymous().blob_hit("app", &kept).await;
}

#[tokio::test]
async fn a_read_only_store_serves_what_it_has_and_says_why_it_takes_nothing() {
    let disk = SmallDisk::mount(64);
    let hub = Hub::start_with(HubOptions { auth: AuthMode::Open, ..HubOptions::default() }).await;
    let arguments = vec!["--storage".to_owned(), format!("file://{}", disk.path().join("blobs").display())];
    let cluster = Cluster::start_with(&hub, ClusterOptions { arguments, ..ClusterOptions::default() }).await;
    let (cached, new) = (random_bytes(1, 300_000), random_bytes(2, 300_000));
    let [cached_digest, new_digest] = [&cached, &new].map(|blob| hub.push_blob("library/app", blob.clone()));
    let client = cluster.anonymous();
    client.blob_hit("app", &cached_digest).await;
    disk.set_read_only(true);
    assert_eq!(client.blob("app", &cached_digest).await.expect(200).body, cached);
    let refused = client.try_blob("app", &new_digest).await.unwrap();
    assert!(refused.status.is_server_error(), "{refused:?}");
    assert!(refused.json()["errors"][0]["message"].as_str().unwrap().contains("read-only"), "{refused:?}");
    disk.set_read_only(false);
    assert_eq!(client.blob("app", &new_digest).await.expect(200).body, new);
    cluster.kill();
}

#[tokio::test]
async fn garbage_goes_from_a_full_disk_and_makes_room() {
    let disk = SmallDisk::mount(64);
    let hub = Hub::start_with(HubOptions { auth: AuthMode::Open, ..HubOptions::default() }).await;
    let storage = format!("file://{}", disk.path().join("blobs").display());
    let arguments = ["--storage", &storage, "--gc-grace", "1s"].map(str::to_owned).to_vec();
    let cluster = Cluster::start_with(&hub, ClusterOptions { arguments, ..ClusterOptions::default() }).await;
    let (old, new) = (random_bytes(1, 20_000_000), random_bytes(2, 15_000_000));
    let [old_digest, new_digest] = [&old, &new].map(|blob| hub.push_blob("library/app", blob.clone()));
    let client = cluster.anonymous();
    client.blob_hit("app", &old_digest).await;
    disk.fill_up();
    let refused = client.try_blob("app", &new_digest).await.unwrap();
    assert!(refused.status.is_server_error(), "{refused:?}");
    cluster.cli(&["cache", "purge", "default", "--digest", &old_digest]).await.ok();
    let store = disk.path().join("blobs");
    eventually("the garbage is gone", async || store_files::blobs(&store).is_empty()).await;
    eventually("there is room again", async || {
        client.try_blob("app", &new_digest).await.is_ok_and(|answer| answer.status == 200)
    })
    .await;
    cluster.kill();
}
