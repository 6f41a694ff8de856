//! Random faults, drawn from a seed, over a whole fleet while clients pull: two control replicas, three nodes, PostgreSQL and S3 behind a
//! balancer. Every byte is hashed, and every answer that is not the right one must be one that the documentation allows at that moment.
//! The end is an account of what is held: objects, uploads, rows, open files, memory.
//!
//! A minute by default; `tests/soak --hours N --seed S` runs it for longer.

mod account;
mod faults;
mod judge;

use std::{
    env,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use roadstead_tests::{
    client::{self, Client},
    eventually::eventually,
    fleet::{Fleet, FleetOptions},
    hub::{AuthMode, Hub, HubOptions},
    image::{Format, Image, ImageBuilder, digest, random_bytes},
};
use tokio::task::JoinSet;

use self::judge::Judge;

/// Clients that pull at the same time.
const PULLERS: u64 = 4;
/// Images at the start; more arrive all the time.
const IMAGES: u64 = 4;
/// Interval at which an image that nobody has pulled arrives at the hub.
const NEW_IMAGE_EVERY: Duration = Duration::from_secs(3);

/// Small numbers without a pattern, the same for the same seed.
pub struct Dice(u64);

impl Dice {
    /// The numbers of one of the actors of a run.
    pub fn of(seed: u64, actor: u64) -> Self {
        let mut dice = Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(actor));
        // Neighbouring seeds begin alike.
        for _ in 0..4 {
            dice.roll(2);
        }
        dice
    }

    /// A number below `sides`.
    pub fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}

/// The common state of the actors.
struct Soak {
    images: Mutex<Vec<(String, Image)>>,
    judge: Judge,
    over: AtomicBool,
}

impl Soak {
    fn goes_on(&self) -> bool {
        !self.over.load(Ordering::Relaxed)
    }

    fn some_image(&self, dice: &mut Dice) -> (String, Image) {
        let images = self.images.lock().unwrap();
        images[dice.roll(images.len() as u64) as usize].clone()
    }

    /// Pulls images, each by a client of its own, from the balancer or from one of the nodes.
    async fn pull(&self, urls: &[String], mut dice: Dice) {
        while self.goes_on() {
            let (name, image) = self.some_image(&mut dice);
            let url = &urls[dice.roll(urls.len() as u64) as usize];
            let client = Client::new(url, "default", None).with_http(client::builder().build().unwrap());
            let reference = if dice.roll(2) == 0 { "latest".to_owned() } else { image.digest() };
            let accept = client::ENGINE_ACCEPTS.map(|kind| ("accept", kind));
            let began = Instant::now();
            let answer = client.try_pull(&name, &format!("manifests/{reference}"), &accept).await;
            if !self.judge.judge(&format!("{name}:{reference} at {url}"), began, &image.digest(), answer) {
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
            for blob in image.blobs() {
                let (wanted, began) = (digest(blob), Instant::now());
                let answer = client.try_pull(&name, &format!("blobs/{wanted}"), &[]).await;
                self.judge.judge(&format!("{name}@{wanted} at {url}"), began, &wanted, answer);
            }
        }
    }

    /// Brings new content.
    async fn push(&self, hub: &Hub) {
        let mut number = IMAGES;
        while self.goes_on() {
            tokio::time::sleep(NEW_IMAGE_EVERY).await;
            push(hub, number, &mut self.images.lock().unwrap());
            number += 1;
        }
    }
}

/// Neighbours share a layer.
fn push(hub: &Hub, number: u64, images: &mut Vec<(String, Image)>) {
    let format = if number.is_multiple_of(2) { Format::Docker } else { Format::Oci };
    let builder = ImageBuilder::new(format).file("own", &random_bytes(1000 + number, 120_000));
    let image = builder.file("shared", &random_bytes(number / 2, 300_000)).build();
    let name = format!("app{number}");
    hub.push(&format!("library/{name}"), "latest", &image);
    images.push((name, image));
}

fn number(variable: &str, default: u64) -> u64 {
    env::var(variable).map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{variable}={text}: a number")))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_answer_is_right_or_allowed_and_nothing_is_left_over() {
    let (seconds, seed) = (number("ROADSTEAD_SOAK_SECONDS", 60), number("ROADSTEAD_SOAK_SEED", 1));
    println!("{seconds} s of seed {seed}");
    let words = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect();
    let options = FleetOptions {
        control_arguments: words(&["--gc-grace", "5s"]),
        node_arguments: words(&["--scrub-rate", "1MiB"]),
        ..FleetOptions::default()
    };
    let hub = Arc::new(Hub::start_with(HubOptions { auth: AuthMode::Open, ..HubOptions::default() }).await);
    let fleet = Fleet::start_with(&hub, options).await;
    let mut images = Vec::new();
    (0..IMAGES).for_each(|number| push(&hub, number, &mut images));
    let soak = Arc::new(Soak { images: Mutex::new(images), judge: Judge::default(), over: AtomicBool::new(false) });

    let mut urls = vec![fleet.url()];
    urls.extend(fleet.nodes.iter().map(|node| format!("http://{}", node.address)));
    let mut work = JoinSet::new();
    for puller in 0..PULLERS {
        let (soak, urls) = (Arc::clone(&soak), urls.clone());
        work.spawn(async move { soak.pull(&urls, Dice::of(seed, puller)).await });
    }
    let (pusher, at) = (Arc::clone(&soak), Arc::clone(&hub));
    work.spawn(async move { pusher.push(&at).await });
    faults::run(&fleet, &soak.judge, Dice::of(seed, 100), Instant::now() + Duration::from_secs(seconds)).await;
    soak.over.store(true, Ordering::Relaxed);
    while let Some(ended) = work.join_next().await {
        ended.unwrap();
    }
    let judged = soak.judge.finish();
    println!("{judged}");
    assert_eq!(judged.faults, Vec::<String>::new(), "seed {seed}:\n{}", fleet.logs());
    assert!(judged.right as u64 > seconds, "this tests nothing: {judged}");

    // Everything can be pulled again, everywhere, and all of it is right.
    let images = soak.images.lock().unwrap().clone();
    for url in &urls {
        let client = Client::new(url, "default", None);
        for (name, image) in &images {
            let pulled = async || {
                let manifest = client.try_pull(name, "manifests/latest", &[]).await;
                manifest.is_ok_and(|answer| answer.status == 200 && answer.body == image.manifest)
            };
            eventually(format_args!("{name} at {url}"), pulled).await;
            for blob in image.blobs() {
                assert_eq!(client.blob(name, &digest(blob)).await.expect(200).body, *blob);
            }
        }
    }
    account::settle(&fleet, images.len()).await;
}
