//! Clocks that are minutes apart.

use std::{fs, path::PathBuf};

use futures_util::future::join_all;
use roadstead_tests::{
    fleet::FleetOptions,
    hub::{Kind, When},
    image::{Image, digest, random_bytes},
};

use super::{open_fleet_with, pull, push};

/// The folder of Debian's library that shifts a process's clock.
fn library() -> PathBuf {
    let folders = fs::read_dir("/usr/lib").unwrap().map(|folder| folder.unwrap().path());
    let mut found = folders.map(|folder| folder.join("faketime/libfaketime.so.1")).filter(|file| file.exists());
    found.next().expect("libfaketime is missing: ./tests/run installs it")
}

/// The environment of a process whose clock is off by so much. Its timers run as ever.
fn shifted(by: &str) -> Vec<(String, String)> {
    let library = library().display().to_string();
    let variables = [("LD_PRELOAD", library.as_str()), ("FAKETIME", by), ("FAKETIME_DONT_FAKE_MONOTONIC", "1")];
    variables.map(|(name, value)| (name.to_owned(), value.to_owned())).into()
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_whose_clocks_are_minutes_apart_serve_alike() {
    let environment = vec![("node-1", shifted("+120s")), ("node-3", shifted("-120s"))];
    let (hub, fleet) = open_fleet_with(FleetOptions { environment, ..FleetOptions::default() }).await;
    let (name, image) = push(&hub, "app", 1);
    for node in &fleet.nodes {
        // Each has its token from one node and pulls by all of them.
        let token = node.anonymous().token(name).await;
        for other in &fleet.nodes {
            let url = other.anonymous().url(name, "manifests/latest");
            let request = roadstead_tests::client::http().get(url).bearer_auth(&token);
            let answer = request.header("accept", image.media_type.as_str()).send().await.unwrap();
            assert_eq!(answer.status(), 200, "token of {} at {}:\n{}", node.name, other.name, other.log());
        }
        pull(&node.anonymous(), name, &image).await;
    }
    // They know each other's news in order: a change is one everywhere, whatever the clocks say.
    fleet.cli(&["group", "update", "default", "--enabled", "false"]).await.ok();
    for node in &fleet.nodes {
        let client = node.anonymous();
        crate::soon(403, async || client.sign_in(name).await).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_whose_clocks_are_minutes_apart_have_each_blob_fetched_once() {
    let environment = vec![("control-1", shifted("+120s")), ("control-2", shifted("-120s"))];
    let (hub, fleet) = open_fleet_with(FleetOptions { environment, ..FleetOptions::default() }).await;
    let clients: Vec<_> = fleet.nodes.iter().map(|node| node.anonymous()).collect();
    // Calls of a node go to either replica: some ask for the lease at one, some renew it at the other.
    for seed in 0..8 {
        let blob = random_bytes(seed, 300_000);
        let wanted = hub.push_blob("library/app", blob.clone());
        let answers = join_all((0..9).map(|n| clients[n % clients.len()].blob("app", &wanted))).await;
        for answer in answers {
            assert_eq!(answer.expect(200).body, blob, "{wanted}\n{}", fleet.logs());
        }
        assert_eq!(hub.count(&When::get(Kind::Blob).at(&digest(&blob))), 1, "{}\n{}", hub.log(), fleet.logs());
    }
    // The tokens and tickets of one are good for the other's nodes; so are pulls by tag.
    hub.push("library/tagged", "latest", &Image::small(1));
    for client in &clients {
        pull(client, "tagged", &Image::small(1)).await;
    }
}
