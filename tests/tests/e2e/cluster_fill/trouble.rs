//! Owners of downloads that hang, and nodes that upstream cannot be reached from.

use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::future::join_all;
use roadstead_tests::{
    client::Client,
    cluster::Cluster,
    hub::{AuthMode, Fault, Gate, Hub, Kind, When},
    image::{Image, random_bytes},
    link::Mode,
};

use super::node::{Node, NodeOptions, began, three, three_with};
use crate::cluster_fill::MIB;

const HALF: usize = 4 * MIB;

/// A client that has begun to read a blob.
struct Reader {
    answer: reqwest::Response,
    body: Vec<u8>,
}

impl Reader {
    async fn open(client: &Client, name: &str) -> Self {
        let answer = client.open_blob("app", name, &[]).await;
        assert_eq!(answer.status(), 200);
        Self { answer, body: Vec::new() }
    }

    async fn read_to(&mut self, bytes: usize) {
        while self.body.len() < bytes {
            let piece = tokio::time::timeout(Duration::from_secs(40), self.answer.chunk()).await;
            self.body.extend(piece.expect("nothing came for 40 s").unwrap().expect("the body ended"));
        }
    }

    async fn whole(mut self) -> Vec<u8> {
        self.read_to(2 * HALF).await;
        self.body
    }
}

/// A blob of which half has come to all nodes: the first download of it stops there, others are free. The first node owns it.
async fn half_way(hub: &Hub, nodes: &[Node], seed: u64) -> (Bytes, Gate, Vec<Reader>) {
    let blob = random_bytes(seed, 2 * HALF);
    let name = hub.push_blob("library/app", blob.clone());
    let gate = Gate::closed();
    gate.release(HALF as u64);
    hub.fault_times(When::get(Kind::Blob), Fault::Gated(gate.clone()), 1);
    let mut readers = Vec::new();
    for node in nodes {
        let mut reader = Reader::open(&node.anonymous(), &name).await;
        reader.read_to(HALF / 2).await;
        readers.push(reader);
    }
    assert_eq!((hub.count(&When::get(Kind::Blob)), nodes[0].began("upstream").await), (1, 1.0), "{}", hub.log());
    (blob, gate, readers)
}

/// Upstream was asked once more, for the rest.
fn fetched_once_more(hub: &Hub, blob: &Bytes) {
    assert_eq!(hub.count(&When::get(Kind::Blob)), 2, "{}", hub.log());
    let sent = hub.bytes_sent(&When::get(Kind::Blob));
    assert!(sent <= blob.len() as u64 * 6 / 5, "{sent} bytes were sent:\n{}", hub.log());
}

#[tokio::test]
async fn an_owner_that_hangs_is_replaced_and_follows_its_successor_when_it_goes_on() {
    let (hub, _cluster, nodes, _) = three(AuthMode::Open).await;
    let (blob, gate, mut readers) = half_way(&hub, &nodes, 11).await;
    nodes[0].daemon.pause();
    let at_owner = readers.remove(0);
    for body in join_all(readers.into_iter().map(Reader::whole)).await {
        assert!(body == blob, "a body is wrong");
    }
    nodes[0].daemon.resume();
    // Its own download is still held back: what it lacks it takes from the others.
    assert!(at_owner.whole().await == blob, "the owner's body is wrong");
    fetched_once_more(&hub, &blob);
    assert_eq!(began(&nodes).await, [2.0, 3.0, 0.0]);
    drop(gate);
    for node in &nodes {
        assert_eq!(node.anonymous().blob_hit("app", &roadstead_tests::image::digest(&blob)).await.body, blob);
    }
}

async fn three_with_links_to_upstream() -> (Hub, Cluster, Vec<Node>, String) {
    three_with(AuthMode::Open, |_| NodeOptions { own_upstream: true, ..NodeOptions::default() }).await
}

#[tokio::test]
async fn an_owner_cut_off_from_upstream_hands_over_and_its_clients_finish() {
    let (hub, _cluster, nodes, _) = three_with_links_to_upstream().await;
    let (blob, _gate, readers) = half_way(&hub, &nodes, 12).await;
    nodes[0].upstream.set(Mode::Refuse).await;
    for body in join_all(readers.into_iter().map(Reader::whole)).await {
        assert!(body == blob, "a body is wrong");
    }
    fetched_once_more(&hub, &blob);
}

#[tokio::test]
async fn a_node_cut_off_from_upstream_serves_what_others_fetch_and_says_clearly_what_it_cannot() {
    let (hub, _cluster, nodes, _) = three_with_links_to_upstream().await;
    let (image, blob) = (Image::small(13), random_bytes(13, MIB));
    let (manifest, name) = (hub.push("library/app", "latest", &image), hub.push_blob("library/app", blob.clone()));
    nodes[0].upstream.set(Mode::Refuse).await;
    let (cut_off, other) = (nodes[0].anonymous(), nodes[1].anonymous());
    for asked in [format!("manifests/{manifest}"), format!("blobs/{name}")] {
        let started = Instant::now();
        let refused = cut_off.ask(http::Method::GET, "app", &asked, &[]).await;
        assert!(matches!(refused.status.as_u16(), 502..=504), "{refused:?}");
        assert!(refused.json()["errors"][0]["message"].as_str().unwrap().contains("docker.io"), "{refused:?}");
        assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
    }
    assert_eq!(hub.count(&When::any()), 0, "{}", hub.log());
    let gate = Gate::closed();
    hub.fault(When::get(Kind::Blob), Fault::Gated(gate.clone()));
    let (there, here) = tokio::join!(other.blob("app", &name), async {
        hub.wait_for(&When::get(Kind::Blob), 1).await;
        let opened = async {
            super::node::until_asked(&nodes, 1).await;
            gate.open();
        };
        tokio::join!(cut_off.blob("app", &name), opened).0
    });
    assert_eq!((there.expect(200).body, here.expect(200).body), (blob.clone(), blob));
    assert_eq!(other.manifest("app", &manifest).await.expect(200).body, image.manifest);
    assert_eq!(cut_off.manifest("app", &manifest).await.expect(200).body, image.manifest);
    let counts = [When::get(Kind::Manifest), When::get(Kind::Blob)].map(|when| hub.count(&when));
    assert_eq!(counts, [1, 1], "{}", hub.log());
}
