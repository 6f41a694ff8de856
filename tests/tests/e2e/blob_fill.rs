//! One download per cold blob, read by everybody at their own pace.

use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use http::Method;
use roadstead_tests::{
    client::Client,
    cluster::Cluster,
    hub::{Fault, Gate, Hub, HubOptions, Kind, When},
    image::{Image, digest, random_bytes},
};

use crate::open_pair;

/// More than sockets and pipes between upstream and client can hide.
const LARGE: usize = 24 * 1024 * 1024;

/// A hub with one blob that comes only as far as the gate is open, and the product before it.
async fn gated(size: usize) -> (Hub, Cluster, Gate, Bytes, String) {
    let (hub, cluster) = open_pair().await;
    let blob = random_bytes(7, size);
    let wanted = hub.push_blob("library/app", blob.clone());
    let gate = Gate::closed();
    hub.fault(When::get(Kind::Blob), Fault::Gated(gate.clone()));
    (hub, cluster, gate, blob, wanted)
}

async fn client_with_token(cluster: &Cluster) -> Client {
    let client = cluster.anonymous();
    client.token("app").await;
    client
}

#[tokio::test]
async fn many_clients_of_a_cold_blob_cost_one_upstream_get_and_get_every_byte() {
    let (hub, cluster, gate, blob, wanted) = gated(3_000_000).await;
    let client = client_with_token(&cluster).await;
    // Every client has its headers before the first byte came from upstream.
    let opened = join_all((0..20).map(|_| client.open_blob("app", &wanted, &[]))).await;
    let status = |response: &reqwest::Response| response.headers()["x-cache"].to_str().unwrap().to_owned();
    assert_eq!(opened.iter().filter(|response| status(response) == "fill").count(), 1);
    assert_eq!(opened.iter().filter(|response| status(response) == "join").count(), 19);
    for response in &opened {
        assert_eq!(response.headers()["content-length"], "3000000");
        assert_eq!(response.headers()["docker-content-digest"], wanted.as_str());
    }
    gate.open();
    for body in join_all(opened.into_iter().map(reqwest::Response::bytes)).await {
        assert_eq!(body.unwrap(), blob);
    }
    assert_eq!(hub.count(&When::get(Kind::Blob)), 1, "{}", hub.log());
    client.blob_hit("app", &wanted).await;
    assert_eq!(hub.count(&When::get(Kind::Blob)), 1, "{}", hub.log());
}

#[tokio::test]
async fn the_first_byte_arrives_when_upstream_sends_it() {
    let (_hub, cluster, gate, blob, wanted) = gated(3_000_000).await;
    let client = client_with_token(&cluster).await;
    let mut responses = vec![client.open_blob("app", &wanted, &[]).await, client.open_blob("app", &wanted, &[]).await];
    let mut got = [0, 0];
    for released in [1_usize, 100_000, 2_999_999] {
        gate.release(released as u64);
        for (response, got) in responses.iter_mut().zip(&mut got) {
            while *got < released {
                let piece = response.chunk().await.unwrap().unwrap();
                assert_eq!(piece, blob.slice(*got..*got + piece.len()));
                *got += piece.len();
            }
            assert_eq!(*got, released);
        }
    }
    gate.open();
    for response in responses {
        assert_eq!(response.bytes().await.unwrap(), blob.slice(2_999_999..));
    }
}

#[tokio::test]
async fn a_slow_reader_slows_nobody_and_loses_nothing() {
    let (hub, cluster, gate, blob, wanted) = gated(LARGE).await;
    let client = client_with_token(&cluster).await;
    // The first requester reads nothing at all until the others are done.
    let slow = client.open_blob("app", &wanted, &[]).await;
    gate.open();
    for body in join_all((0..3).map(|_| client.blob("app", &wanted))).await {
        assert_eq!(body.expect(200).body, blob);
    }
    assert_eq!(slow.bytes().await.unwrap(), blob);
    assert_eq!(hub.count(&When::get(Kind::Blob)), 1, "{}", hub.log());
}

#[tokio::test]
async fn client_disconnect_does_not_abort_the_fill() {
    let (hub, cluster, gate, blob, wanted) = gated(LARGE).await;
    let client = client_with_token(&cluster).await;
    let mut first = client.open_blob("app", &wanted, &[]).await;
    gate.release(1000);
    first.chunk().await.unwrap().unwrap();
    drop(first);
    gate.open();
    let all_sent = |hub: &Hub| hub.bytes_sent(&When::get(Kind::Blob)) == LARGE as u64;
    hub.wait_until(all_sent, "the whole blob to be fetched for nobody").await;
    assert_eq!(client.blob("app", &wanted).await.expect(200).body, blob);
    assert_eq!(hub.count(&When::get(Kind::Blob)), 1, "{}", hub.log());
}

#[tokio::test]
async fn a_range_of_a_cold_blob_is_served_from_the_one_fill() {
    let (hub, cluster, gate, blob, wanted) = gated(3_000_000).await;
    let client = client_with_token(&cluster).await;
    let ranges =
        [("bytes=2000000-2000099", 2_000_000..2_000_100), ("bytes=0-9", 0..10), ("bytes=-5", 2_999_995..3_000_000)];
    let asked = join_all(ranges.iter().map(|(range, _)| client.blob_range("app", &wanted, range)));
    let (answers, ()) = tokio::join!(asked, async {
        hub.wait_for(&When::get(Kind::Blob), 1).await;
        gate.open();
    });
    for (answer, (text, range)) in answers.into_iter().zip(ranges) {
        let answer = answer.expect(206);
        let (first, last) = (range.start, range.end - 1);
        assert_eq!(answer.header("content-range"), format!("bytes {first}-{last}/3000000"), "{text}");
        assert_eq!(answer.body, blob.slice(range), "{text}");
    }
    let beyond = client.blob_range("app", &wanted, "bytes=3000000-").await.expect(416);
    assert_eq!(beyond.header("content-range"), "bytes */3000000");
    assert_eq!(client.blob("app", &wanted).await.expect(200).body, blob);
    assert_eq!(hub.count(&When::get(Kind::Blob)), 1, "{}", hub.log());
    assert_eq!(hub.requests(&When::get(Kind::Blob))[0].header("range"), "", "the fill is of everything");
}

#[tokio::test]
async fn containerds_parallel_open_ended_ranges_cost_one_download() {
    let (hub, cluster, gate, blob, wanted) = gated(LARGE).await;
    let client = client_with_token(&cluster).await;
    let part = LARGE / 4;
    gate.release(LARGE as u64 / 2);
    let fetch = async |index: usize| {
        let start = index * part;
        let mut response = client.open_blob("app", &wanted, &[("range", &format!("bytes={start}-"))]).await;
        assert_eq!(response.status().as_u16(), 206);
        let mut got = Vec::new();
        // Closed as soon as this part is here, though everything to the end was asked for.
        while got.len() < part {
            got.extend_from_slice(&response.chunk().await.unwrap().unwrap());
        }
        got.truncate(part);
        assert_eq!(got, blob.slice(start..start + part));
    };
    tokio::join!(fetch(0), fetch(1), fetch(2), fetch(3), async {
        hub.wait_for(&When::get(Kind::Blob), 1).await;
        gate.open();
    });
    assert_eq!(client.blob("app", &wanted).await.expect(200).body, blob);
    assert_eq!(hub.count(&When::get(Kind::Blob)), 1, "{}", hub.log());
}

/// One client of many: asks for everything or a part, and may leave before the end.
async fn roam(client: &Client, wanted: &str, blob: &Bytes, seed: usize) {
    let start = (seed * 7_919 * 131) % blob.len();
    let leaves_after = if seed.is_multiple_of(3) { (seed * 104_729) % blob.len() } else { usize::MAX };
    let range = format!("bytes={start}-");
    let headers = [("range", range.as_str())];
    let (start, headers) = if seed.is_multiple_of(2) { (0, &headers[..0]) } else { (start, &headers[..]) };
    let mut response = client.open_blob("app", wanted, headers).await;
    assert!(response.status().is_success(), "{response:?}");
    let mut at = start;
    while at - start < leaves_after {
        let Some(piece) = response.chunk().await.unwrap() else { break };
        assert_eq!(piece, blob.slice(at..at + piece.len()), "client {seed} at byte {at}");
        at += piece.len();
    }
    assert!(leaves_after < usize::MAX || at == blob.len(), "client {seed} ended at byte {at}");
}

#[tokio::test]
async fn whatever_clients_do_every_byte_is_right_and_upstream_sends_it_once() {
    let (hub, cluster, gate, blob, wanted) = gated(8_000_000).await;
    hub.fault_times(When::get(Kind::Blob), Fault::CutAt(3_333_333), 1);
    let client = client_with_token(&cluster).await;
    let clients = join_all((0..60).map(|seed| roam(&client, &wanted, &blob, seed)));
    let (_, ()) = tokio::join!(clients, async {
        hub.wait_for(&When::get(Kind::Blob), 1).await;
        for step in 1..=16 {
            gate.release(step * 500_000);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        gate.open();
    });
    client.blob_hit("app", &wanted).await;
    assert_eq!(hub.count(&When::get(Kind::Blob)), 2, "one download and its resumption:\n{}", hub.log());
    assert_eq!(hub.bytes_sent(&When::get(Kind::Blob)), 8_000_000, "{}", hub.log());
}

#[tokio::test]
async fn a_head_during_a_fill_tells_the_length() {
    let (_hub, cluster, gate, _, wanted) = gated(3_000_000).await;
    let client = client_with_token(&cluster).await;
    let under_way = client.open_blob("app", &wanted, &[]).await;
    let head = client.ask(Method::HEAD, "app", &format!("blobs/{wanted}"), &[]).await.expect(200);
    assert_eq!(head.header("content-length"), "3000000");
    gate.open();
    under_way.bytes().await.unwrap();
}

#[tokio::test]
async fn a_cold_head_of_a_blob_downloads_nothing() {
    let (hub, cluster) = open_pair().await;
    let image = Image::small(1);
    hub.push("library/app", "latest", &image);
    let layer = digest(&image.layers[0]);
    let head = cluster.anonymous().ask(Method::HEAD, "app", &format!("blobs/{layer}"), &[]).await.expect(200);
    assert_eq!(head.header("content-length"), image.layers[0].len().to_string());
    assert_eq!(hub.count(&When::get(Kind::Blob)), 0, "{}", hub.log());
}

#[tokio::test]
async fn a_redirect_to_a_cdn_is_followed_without_authorization() {
    let hub = Hub::start_with(HubOptions { cdn: true, ..HubOptions::default() }).await;
    let cluster = Cluster::start(&hub).await;
    let blob = random_bytes(1, 500_000);
    let wanted = hub.push_blob("library/app", blob.clone());
    assert_eq!(cluster.anonymous().blob("app", &wanted).await.expect(200).body, blob);
    let at_cdn = hub.requests(&When::get(Kind::Cdn));
    assert_eq!((at_cdn.len(), at_cdn[0].status(), at_cdn[0].header("authorization")), (1, 200, ""), "{}", hub.log());
}

#[tokio::test]
async fn a_blob_whose_length_upstream_does_not_say_is_served() {
    let (hub, cluster) = open_pair().await;
    let blob = random_bytes(1, 500_000);
    let wanted = hub.push_blob("library/app", blob.clone());
    hub.fault(When::get(Kind::Blob), Fault::NoLength);
    let client = cluster.anonymous();
    assert_eq!(client.blob("app", &wanted).await.expect(200).body, blob);
    assert_eq!(client.blob_hit("app", &wanted).await.header("content-length"), "500000");
}

#[tokio::test]
async fn a_blob_that_trickles_in_is_not_given_up() {
    let (hub, cluster) = open_pair().await;
    let blob = random_bytes(1, 40_000);
    let wanted = hub.push_blob("library/app", blob.clone());
    hub.fault(When::get(Kind::Blob), Fault::Slow(1000, Duration::from_millis(25)));
    assert_eq!(cluster.anonymous().blob("app", &wanted).await.expect(200).body, blob);
    assert_eq!(hub.count(&When::get(Kind::Blob)), 1, "{}", hub.log());
}

#[tokio::test]
async fn an_empty_blob_is_served_cold_and_warm() {
    let (hub, cluster) = open_pair().await;
    let wanted = hub.push_blob("library/app", Bytes::new());
    let client = cluster.anonymous();
    for _ in 0..2 {
        let answer = client.blob("app", &wanted).await.expect(200);
        assert_eq!((answer.header("content-length"), answer.body.len()), ("0", 0));
    }
    assert_eq!(hub.count(&When::get(Kind::Blob)), 1, "{}", hub.log());
}
