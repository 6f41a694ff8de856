//! Blobs in S3: what the bucket holds, and what it is asked for.

use std::{
    fs,
    time::{Duration, Instant},
};

use bytes::Bytes;
use reqwest::Method;
use roadstead_tests::{
    client::{self, Client},
    cluster::{Cluster, ClusterOptions},
    engines::{DockerEngine, Podman, skopeo},
    eventually::{eventually, eventually_some},
    hub::{Fault, Gate, Hub, Kind, When},
    image::{Format, ImageBuilder, random_bytes},
    link::{Link, Mode},
    seaweed::Seaweed,
    store_files,
};

/// Three parts of an upload.
const LARGE: usize = 20 * 1024 * 1024;

/// A hub, S3 behind a link that can be broken, and how to start nodes on it.
struct Stage {
    hub: Hub,
    seaweed: Seaweed,
    link: Link,
}

impl Stage {
    async fn new() -> Self {
        let seaweed = Seaweed::start().await;
        seaweed.create_bucket("blobs").await;
        let link = Link::to(seaweed.address()).await;
        Self { hub: Hub::start().await, seaweed, link }
    }

    fn options(&self, arguments: &[&str]) -> ClusterOptions {
        let endpoint = format!("http://{}", self.link.address());
        let mut all = vec!["--storage".to_owned(), "s3://blobs/cache".to_owned(), "--s3-endpoint".to_owned(), endpoint];
        all.extend(arguments.iter().map(ToString::to_string));
        // The environment names another place: the flag has the last word.
        let environment = Seaweed::environment("http://127.0.0.1:9");
        ClusterOptions { arguments: all, environment, ..ClusterOptions::default() }
    }

    async fn node(&self, arguments: &[&str]) -> Cluster {
        Cluster::start_with(&self.hub, self.options(arguments)).await
    }

    /// Pushes a blob and pulls it once.
    async fn warm(&self, client: &Client, size: usize) -> (String, Bytes) {
        let blob = random_bytes(size as u64, size);
        let wanted = self.hub.push_blob("library/app", blob.clone());
        assert!(client.blob("app", &wanted).await.expect(200).body == blob, "{size}");
        self.stored(&wanted).await;
        (wanted, blob)
    }

    /// Pulls a blob, and starts the node anew without its cache: the blob is in the bucket only.
    async fn only_in_bucket(&self, cluster: &Cluster, size: usize) -> (String, Bytes) {
        let reader = client(cluster).await;
        let (wanted, blob) = self.warm(&reader, size).await;
        reader.blob_hit("app", &wanted).await;
        cluster.terminate();
        cluster.exit_codes(Duration::from_secs(60)).await;
        let _ = fs::remove_dir_all(cluster.data_dir().join("node-cache"));
        cluster.run_processes().await;
        (wanted, blob)
    }

    /// Waits until the bucket holds a blob.
    async fn stored(&self, wanted: &str) {
        let path = path(wanted);
        let is_there = async || self.seaweed.objects("blobs").await.contains(&path);
        eventually(format_args!("{path} is in the bucket"), is_there).await;
    }
}

fn path(wanted: &str) -> String {
    let hex = wanted.strip_prefix("sha256:").unwrap();
    format!("cache/sha256/{}/{hex}", &hex[..2])
}

async fn client(cluster: &Cluster) -> Client {
    let client = cluster.anonymous();
    client.token("app").await;
    client
}

/// Returns the number of a node's requests to the store for `operation`.
async fn requests(cluster: &Cluster, operation: &str) -> f64 {
    let label = format!("operation=\"{operation}\"");
    cluster.metric("roadstead_store_requests_total", &[&label]).await
}

#[tokio::test]
async fn what_is_fetched_is_in_the_bucket_and_what_is_hot_costs_it_nothing() {
    let stage = Stage::new().await;
    // The scrub reads what is stored, which is not what is asked about here.
    let cluster = stage.node(&["--scrub-rate", "0"]).await;
    let client = client(&cluster).await;
    for size in [0, 1000, 300_000, LARGE] {
        let (wanted, blob) = stage.warm(&client, size).await;
        client.blob_hit("app", &wanted).await;
        let asked = requests(&cluster, "get").await;
        for _ in 0..3 {
            assert!(client.blob_hit("app", &wanted).await.body == blob, "{size}");
        }
        assert_eq!(requests(&cluster, "get").await, asked, "{size}");
    }
    assert!(requests(&cluster, "put_part").await >= 3.0, "the large one went up in parts");
}

#[tokio::test]
async fn clients_are_sent_to_the_bucket_once_they_were_let_in() {
    let stage = Stage::new().await;
    let cluster = stage.node(&["--redirect-blobs", "--scrub-rate", "0"]).await;
    let layer = random_bytes(1, 5_000_000);
    stage.hub.push("library/app", "latest", &ImageBuilder::new(Format::Oci).file("data", &layer).build());
    let reader = client(&cluster).await;
    let (wanted, blob) = stage.warm(&reader, LARGE).await;

    // Until the download is recorded, its readers follow it.
    let answer = eventually_some(async || {
        let answer = reader.blob("app", &wanted).await;
        if answer.status == 307 { Ok(answer) } else { Err(format!("{} {}", answer.status, answer.cache())) }
    })
    .await;
    let url = answer.header("location").to_owned();
    assert!(url.contains("X-Amz-Expires=300") && url.contains("X-Amz-Signature="), "{url}");
    let direct = client::http();
    assert!(direct.get(&url).send().await.unwrap().bytes().await.unwrap() == blob);
    let part = direct.get(&url).header("range", "bytes=5-9").send().await.unwrap().bytes().await.unwrap();
    assert_eq!(part, blob.slice(5..10));
    assert!(!cluster.log().contains("X-Amz-Signature"), "whoever has such a URL has the blob");
    // Nobody gets one who may not have the blob here.
    let stranger = direct.get(reader.url("app", &format!("blobs/{wanted}"))).send().await.unwrap();
    assert_eq!((stranger.status().as_u16(), stranger.headers().get("location")), (401, None));
    let other = cluster.client_of_new_group("other").await;
    stage.hub.down().await;
    let refused = other.blob("app", &wanted).await;
    assert!(refused.status != 307 && refused.header("location").is_empty(), "{refused:?}");
    stage.hub.up();

    // The clients that people have.
    let image = cluster.image("app:latest");
    let engine = DockerEngine::start().await;
    for _ in 0..2 {
        engine.docker(&["pull", &image]).await.ok();
        engine.docker(&["image", "rm", &image]).await.ok();
    }
    let folder = tempfile::tempdir().unwrap();
    let to = format!("oci:{}:latest", folder.path().join("image").display());
    skopeo(&["copy", "--src-tls-verify=false", &format!("docker://{image}"), &to]).await.ok();
    Podman::new().podman(&["pull", "--tls-verify=false", &image]).await.ok();
    let sent = cluster.metric("roadstead_requests_total", &["status=\"307\""]).await;
    assert!(sent >= 4.0, "sent to the bucket {sent} times");
}

#[tokio::test]
async fn ranges_come_from_the_bucket_with_and_without_a_node_cache() {
    let stage = Stage::new().await;
    for arguments in [["--node-cache", "0", "--scrub-rate", "0"], ["--node-cache", "1GiB", "--scrub-rate", "0"]] {
        let cluster = stage.node(&arguments).await;
        let (wanted, blob) = stage.only_in_bucket(&cluster, LARGE).await;
        let (reader, len) = (client(&cluster).await, blob.len());
        stage.hub.forget_requests();
        for (range, expected) in [
            ("bytes=0-0".to_owned(), 0..1),
            ("bytes=4194300-4194310".to_owned(), 4_194_300..4_194_311),
            (format!("bytes={}-", len - 7), len - 7..len),
            ("bytes=-5".to_owned(), len - 5..len),
            (format!("bytes=100-{}", len - 2), 100..len - 1),
        ] {
            let answer = reader.blob_range("app", &wanted, &range).await.expect(206);
            assert!(answer.body == blob.slice(expected), "{range} with {arguments:?}");
        }
        reader.blob_range("app", &wanted, &format!("bytes={len}-")).await.expect(416);
        assert!(reader.blob("app", &wanted).await.expect(200).body == blob, "{arguments:?}");
        assert_eq!(stage.hub.count(&When::get(Kind::Blob)), 0, "{}", stage.hub.log());
    }
}

#[tokio::test]
async fn what_is_damaged_or_gone_in_the_bucket_is_found_put_aside_and_healed_for_good() {
    let stage = Stage::new().await;
    let cluster = stage.node(&["--node-cache", "0", "--scrub-rate", "0"]).await;
    let reader = client(&cluster).await;
    let (wanted, blob) = stage.warm(&reader, LARGE).await;
    let mut wrong = blob.to_vec();
    wrong[LARGE / 2] ^= 1;
    stage.seaweed.replace("blobs", &path(&wanted), wrong).await;
    // Read before anybody has noticed: what this leaves in memory must not outlive the object.
    reader.blob("app", &wanted).await.expect(200);
    let found = cluster.cli_json(&["cache", "check", "default", "--deep"]).await;
    assert_eq!(found[0]["kind"], "CORRUPTION_KIND_DIGEST", "{found}");
    let aside = stage.seaweed.objects("blobs").await;
    assert!(aside.iter().any(|path| path.starts_with("cache/quarantine/")), "{aside:?}");
    let healed = reader.blob("app", &wanted).await.expect(200);
    assert!(healed.cache() == "fill" && healed.body == blob);
    stage.stored(&wanted).await;
    for _ in 0..3 {
        assert!(reader.blob_hit("app", &wanted).await.body == blob, "healed, and wrong again");
    }
    assert_eq!(cluster.cli_json(&["cache", "check", "default", "--deep"]).await, serde_json::json!([]));

    stage.seaweed.remove("blobs", &path(&wanted)).await;
    let found = cluster.cli_json(&["cache", "check", "default"]).await;
    assert_eq!(found[0]["kind"], "CORRUPTION_KIND_MISSING", "{found}");
    let again = reader.blob("app", &wanted).await.expect(200);
    assert!(again.cache() == "fill" && again.body == blob);
    stage.stored(&wanted).await;
}

#[tokio::test]
async fn a_damaged_copy_on_one_node_costs_neither_the_bucket_nor_upstream_anything() {
    let stage = Stage::new().await;
    let cluster = stage.node(&["--scrub-rate", "0"]).await;
    let reader = client(&cluster).await;
    let mut blobs = Vec::new();
    for size in [LARGE, LARGE + 1] {
        blobs.push(stage.warm(&reader, size).await);
    }
    reader.blob_hit("app", &blobs[1].0).await;
    cluster.terminate();
    cluster.exit_codes(Duration::from_secs(30)).await;
    let copies = store_files::blobs(&cluster.data_dir().join("node-cache"));
    fs::File::options().write(true).open(&copies[&blobs[0].0]).unwrap().set_len(1000).unwrap();
    let mut wrong = blobs[1].1.to_vec();
    wrong[7] ^= 1;
    fs::write(&copies[&blobs[1].0], wrong).unwrap();
    cluster.run_processes().await;
    stage.hub.down().await;
    for (wanted, blob) in &blobs {
        let answer = reader.blob("app", wanted).await.expect(200);
        assert!(answer.cache() == "hit" && answer.body == *blob);
    }
    let objects = stage.seaweed.objects("blobs").await;
    assert!(!objects.iter().any(|path| path.contains("quarantine")), "{objects:?}");
    // All of it may go at any time.
    fs::remove_dir_all(cluster.data_dir().join("node-cache")).unwrap();
    assert!(reader.blob("app", &blobs[0].0).await.expect(200).body == blobs[0].1);
}

#[tokio::test]
async fn parts_go_up_while_the_blob_arrives_and_nothing_is_visible_before_its_digest_is_right() {
    let stage = Stage::new().await;
    let cluster = stage.node(&["--scrub-rate", "0"]).await;
    let reader = client(&cluster).await;
    let blob = random_bytes(1, LARGE);
    let wanted = stage.hub.push_blob("library/app", blob.clone());
    let gate = Gate::closed();
    gate.release(LARGE as u64 - 1);
    stage.hub.fault(When::get(Kind::Blob), Fault::Gated(gate.clone()));
    let (reading, id) = (client(&cluster).await, wanted.clone());
    let reading = tokio::spawn(async move { reading.try_blob("app", &id).await.map(|answer| answer.body) });
    eventually("parts go up before the last byte is there", async || requests(&cluster, "put_part").await >= 2.0).await;
    assert_eq!(stage.seaweed.uploads("blobs").await, 1);
    assert!(!stage.seaweed.objects("blobs").await.contains(&path(&wanted)));

    // Killed in the middle: nothing of it shows, and the next process gives the upload up.
    cluster.kill();
    let _ = reading.await.unwrap();
    assert_eq!(stage.seaweed.uploads("blobs").await, 1);
    stage.hub.clear_faults();
    gate.open();
    cluster.run_processes().await;
    eventually("a stale upload is aborted", async || stage.seaweed.uploads("blobs").await == 0).await;
    assert!(!stage.seaweed.objects("blobs").await.contains(&path(&wanted)));

    // Wrong bytes: all parts are up when that shows.
    stage.hub.fault(When::get(Kind::Blob), Fault::Corrupt(LARGE as u64 - 1));
    assert!(reader.try_blob("app", &wanted).await.is_err(), "a client never gets the last byte of what is wrong");
    eventually("an upload of wrong bytes is aborted", async || stage.seaweed.uploads("blobs").await == 0).await;
    assert!(!stage.seaweed.objects("blobs").await.contains(&path(&wanted)));
    stage.hub.clear_faults();
    assert!(reader.blob("app", &wanted).await.expect(200).body == blob);
    stage.stored(&wanted).await;
}

#[tokio::test]
async fn a_bucket_in_trouble_fails_what_needs_it_soon_and_clearly_and_nothing_else() {
    let stage = Stage::new().await;
    let cluster = stage.node(&["--scrub-rate", "0"]).await;
    let (cold, cold_blob) = stage.only_in_bucket(&cluster, LARGE).await;
    let reader = client(&cluster).await;
    let (hot, hot_blob) = stage.warm(&reader, 3_000_000).await;
    reader.blob_hit("app", &hot).await;
    for mode in [Mode::status("503 Slow Down"), Mode::Refuse, Mode::BlackHole] {
        stage.link.set(mode.clone()).await;
        let began = Instant::now();
        assert!(reader.blob_hit("app", &hot).await.body == hot_blob, "{mode:?}");
        assert!(began.elapsed() < Duration::from_secs(5), "{mode:?}: {:?}", began.elapsed());
        // In the bucket only.
        let began = Instant::now();
        let refused = reader.try_ask(Method::GET, "app", &format!("blobs/{cold}"), &[]).await.unwrap();
        assert!([500, 503].contains(&refused.status.as_u16()), "{mode:?}: {refused:?}");
        assert!(
            refused.json()["errors"][0]["message"].as_str().is_some_and(|said| said.contains("store")),
            "{refused:?}"
        );
        assert!(began.elapsed() < Duration::from_secs(60), "{mode:?}: {:?}", began.elapsed());
        // All nodes have the same bucket: to take them all out of the balancer would help nobody.
        assert_eq!(cluster.metrics_port("/readyz").await.status, 200, "{mode:?}");
        stage.link.set(Mode::Pass).await;
        eventually("it recovers by itself", async || {
            reader.try_blob("app", &cold).await.is_ok_and(|answer| answer.status == 200 && answer.body == cold_blob)
        })
        .await;
        // For the next turn it is in the bucket only again.
        fs::remove_dir_all(cluster.data_dir().join("node-cache")).unwrap();
        let again = reader.blob("app", &hot).await.expect(200);
        assert!(again.body == hot_blob);
        reader.blob_hit("app", &hot).await;
    }
}
