//! Everything at once: pulls, purges of every kind, eviction, collection of garbage, stops and `kill -9`, for two minutes
//! (`ROADSTEAD_SOAK_SECONDS` for longer). At the end nothing is lost and nothing is left over.

use std::{
    env,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use roadstead_tests::{
    cluster::{Cluster, ClusterOptions},
    eventually::eventually_some,
    hub::{AuthMode, Hub, HubOptions},
    image::{Format, Image, ImageBuilder, digest, random_bytes},
    store_files,
};
use tokio::task::JoinSet;

/// The duration, unless the environment sets another.
const SECONDS: u64 = 120;
const PULLERS: u64 = 4;

/// Small numbers without a pattern, the same in every run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}

struct Soak {
    cluster: Cluster,
    images: Vec<(String, Image)>,
    over: AtomicBool,
    whole: AtomicU64,
    broken: AtomicU64,
}

/// Images of which neighbours share a layer.
fn images() -> Vec<(String, Image)> {
    let shared = |seed: u64| random_bytes(seed, 400_000).to_vec();
    let image = |n: u64| {
        let builder = ImageBuilder::new(if n.is_multiple_of(2) { Format::Docker } else { Format::Oci });
        let builder = builder.file("own", &random_bytes(100 + n, 150_000)).file("shared", &shared(n / 2));
        (format!("app{n}"), builder.build())
    };
    (0..6).map(image).collect()
}

impl Soak {
    fn goes_on(&self) -> bool {
        !self.over.load(Ordering::Relaxed)
    }

    /// Whatever ends cleanly with 200 has the right bytes.
    fn judge(&self, wanted: &str, answer: Result<roadstead_tests::client::Answer, reqwest::Error>) -> bool {
        match answer {
            Ok(answer) if answer.status == 200 => {
                assert_eq!(digest(&answer.body), wanted, "wrong bytes in a whole answer");
                self.whole.fetch_add(1, Ordering::Relaxed);
                true
            }
            _ => {
                self.broken.fetch_add(1, Ordering::Relaxed);
                false
            }
        }
    }

    async fn pull(&self, mut dice: Dice) {
        let client = self.cluster.anonymous();
        while self.goes_on() {
            let (name, image) = &self.images[dice.roll(self.images.len() as u64) as usize];
            let by = if dice.roll(2) == 0 { "latest".to_owned() } else { image.digest() };
            let accept = [("accept", image.media_type.as_str())];
            let answer = client.try_pull(name, &format!("manifests/{by}"), &accept).await;
            if !self.judge(&image.digest(), answer) {
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
            for blob in image.blobs() {
                let wanted = digest(blob);
                self.judge(&wanted, client.try_pull(name, &format!("blobs/{wanted}"), &[]).await);
            }
        }
    }

    async fn purge(&self, mut dice: Dice) {
        while self.goes_on() {
            let (name, image) = &self.images[dice.roll(self.images.len() as u64) as usize];
            let layer = digest(image.layers.last().unwrap());
            let what: &[&str] = match dice.roll(6) {
                0 => &[],
                1 => &["--image", name],
                2 => &["--image", name, "--tag", "latest"],
                3 => &["--digest", &layer],
                4 => &["--older-than", "2s"],
                _ => &["--digest", &image.digest()],
            };
            // It may be down this moment.
            self.cluster.cli(&[&["cache", "purge", "default", "--yes"], what].concat()).await;
            tokio::time::sleep(Duration::from_millis(300 + dice.roll(1500))).await;
        }
    }

    async fn restart(&self, mut dice: Dice) {
        while self.goes_on() {
            tokio::time::sleep(Duration::from_millis(4000 + dice.roll(14_000))).await;
            if dice.roll(3) == 0 {
                self.cluster.terminate();
                self.cluster.exit_codes(Duration::from_secs(60)).await;
            } else {
                self.cluster.kill();
            }
            self.cluster.run_processes().await;
        }
    }

    async fn stats_bytes(&self) -> u64 {
        let stats = self.cluster.cli_json(&["cache", "stats", "default"]).await;
        stats["bytes"].as_u64().unwrap_or_else(|| panic!("{stats}"))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_and_nothing_is_left_over_after_everything_at_once() {
    let seconds = env::var("ROADSTEAD_SOAK_SECONDS").map_or(SECONDS, |text| text.parse().unwrap());
    let hub = Hub::start_with(HubOptions { auth: AuthMode::Open, ..HubOptions::default() }).await;
    let images = images();
    for (name, image) in &images {
        hub.push(&format!("library/{name}"), "latest", image);
    }
    let arguments = ["--gc-grace", "1s", "--scrub-rate", "1MiB"].map(str::to_owned).to_vec();
    let cluster = Cluster::start_with(&hub, ClusterOptions { arguments, ..ClusterOptions::default() }).await;
    let (over, whole, broken) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0));
    let soak = Arc::new(Soak { cluster, images, over, whole, broken });

    let mut work = JoinSet::new();
    for puller in 0..PULLERS {
        let soak = Arc::clone(&soak);
        work.spawn(async move { soak.pull(Dice(puller)).await });
    }
    let purger = Arc::clone(&soak);
    work.spawn(async move { purger.purge(Dice(100)).await });
    let ends = Instant::now() + Duration::from_secs(seconds);
    let time = async {
        while Instant::now() < ends {
            // Nobody stops before the end, unless something is wrong.
            if let Ok(Some(ended)) = tokio::time::timeout(Duration::from_secs(1), work.join_next()).await {
                ended.unwrap();
            }
        }
        soak.over.store(true, Ordering::Relaxed);
    };
    tokio::join!(time, soak.restart(Dice(200)));
    work.join_all().await;
    let (whole, broken) = (soak.whole.load(Ordering::Relaxed), soak.broken.load(Ordering::Relaxed));
    println!("{whole} whole answers, {broken} refused or broken off");
    assert!(whole > seconds, "{whole} whole answers in {seconds} s: this tests nothing");

    // Zero lost: every tag pulls, with the right bytes.
    let store = soak.cluster.data_dir().join("blobs");
    assert_eq!(store_files::wrong(&store), Vec::<String>::new(), "partial or damaged files");
    let client = soak.cluster.anonymous();
    for (name, image) in &soak.images {
        assert_eq!(client.manifest(name, "latest").await.expect(200).body, image.manifest);
        for blob in image.blobs() {
            let got: Bytes = client.blob_hit(name, &digest(blob)).await.body;
            assert!(got == *blob, "wrong bytes");
        }
    }
    let check = soak.cluster.cli_json(&["cache", "check", "default", "--deep"]).await;
    assert_eq!(check, serde_json::json!([]), "everything linked is stored, byte by byte");
    // Zero leaked: bytes stored come to be bytes linked, and nothing is put aside or half-arrived.
    eventually_some(async || {
        let (linked, stored) = (soak.stats_bytes().await, store_files::bytes(&store));
        if linked == stored { Ok(()) } else { Err(format!("{stored} bytes stored, {linked} linked")) }
    })
    .await;
    for folder in ["staging", "quarantine"] {
        assert_eq!(store_files::entries(&store.join(folder)).len(), 0, "{folder}");
    }
}
