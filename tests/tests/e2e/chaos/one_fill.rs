//! One download in the whole cluster, whoever asks and whoever dies.

use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use roadstead_tests::{
    client::{self, Client},
    eventually::{eventually, eventually_some},
    fleet::{Fleet, Purpose},
    hub::{Fault, Gate, Hub, Kind, When},
    image::random_bytes,
    link::Mode,
};

use super::open_fleet;

const CLIENTS: usize = 200;
const BLOB_BYTES: usize = 4_000_000;

/// A blob that comes as far as the gate is open.
fn gated_blob(hub: &Hub, seed: u64) -> (Bytes, String, Gate) {
    let blob = random_bytes(seed, BLOB_BYTES);
    let wanted = hub.push_blob("library/app", blob.clone());
    let gate = Gate::closed();
    hub.fault(When::get(Kind::Blob).at(&wanted), Fault::Gated(gate.clone()));
    (blob, wanted, gate)
}

/// Waits until a client has read so many bytes of its answer.
async fn read_to(response: &mut reqwest::Response, body: &mut Vec<u8>, bytes: usize) {
    while body.len() < bytes {
        let chunk = tokio::time::timeout(Duration::from_secs(30), response.chunk()).await;
        body.extend(chunk.expect("nothing came for 30 s").unwrap().expect("the body ended"));
    }
}

/// Downloads a blob as clients do that are not discouraged: what breaks off goes on from where it was, anywhere.
async fn insist(client: &Client, wanted: &str) -> Vec<u8> {
    let mut body = Vec::new();
    eventually_some(async || {
        let range = format!("bytes={}-", body.len());
        let request = client.request(http::Method::GET, "app", &format!("blobs/{wanted}")).await;
        if let Ok(mut response) = request.header("range", range).send().await
            && response.status().is_success()
        {
            while let Ok(Some(chunk)) = response.chunk().await {
                body.extend(chunk);
            }
        }
        if body.len() >= BLOB_BYTES { Ok(()) } else { Err(format!("{} bytes", body.len())) }
    })
    .await;
    body
}

/// Somebody who is signed in already, by a connection of their own.
async fn signed_in(url: &str) -> Client {
    let client = Client::new(url, "default", None);
    client.token("app").await;
    client
}

fn node_url(fleet: &Fleet, index: usize) -> String {
    format!("http://{}", fleet.nodes[index].address)
}

/// A blob asked of all nodes at once goes up once: that of the node which fetched it.
async fn one_upload(hub: &Hub, fleet: &Fleet) {
    let blob = random_bytes(2, 20 * 1024 * 1024);
    let wanted = hub.push_blob("library/app", blob.clone());
    let clients =
        join_all((0..fleet.nodes.len()).map(|node| async move { signed_in(&node_url(fleet, node)).await })).await;
    let answers = join_all(clients.iter().map(|client| client.blob("app", &wanted))).await;
    assert!(answers.into_iter().all(|answer| answer.expect(200).body == blob));
    let is_kept = |log: String| log.lines().any(|line| line.contains("blob cached") && line.contains(&wanted));
    eventually("every node has cached the blob", async || fleet.nodes.iter().all(|node| is_kept(node.log()))).await;
    let mut uploads = 0.0;
    for node in &fleet.nodes {
        uploads += node.metric("roadstead_store_requests_total", &["operation=\"begin_upload\""]).await;
    }
    assert_eq!(uploads, 1.0, "{}", fleet.logs());
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_clients_of_three_nodes_cost_one_download() {
    let (hub, fleet) = open_fleet().await;
    let (blob, wanted, gate) = gated_blob(&hub, 1);
    let token = fleet.anonymous().token("app").await;
    let http = client::builder().pool_max_idle_per_host(0).build().unwrap();
    let url = fleet.anonymous().url("app", &format!("blobs/{wanted}"));
    let requests = (0..CLIENTS).map(|_| http.get(&url).bearer_auth(&token).send());
    // Everybody has an answer under way before a byte has come.
    let answers = join_all(requests).await.into_iter().map(Result::unwrap).collect::<Vec<_>>();
    assert!(answers.iter().all(|answer| answer.status() == 200), "{}", fleet.logs());
    assert!(fleet.balancer.served().iter().all(|&count| count > CLIENTS / 4), "{:?}", fleet.balancer.served());
    gate.release(BLOB_BYTES as u64 / 2);
    gate.open();
    let bodies = join_all(answers.into_iter().map(reqwest::Response::bytes)).await;
    for body in bodies {
        assert!(body.unwrap() == blob, "a body is wrong");
    }
    assert_eq!(hub.count(&When::get(Kind::Blob).at(&wanted)), 1, "{}\n{}", hub.log(), fleet.logs());
    assert_eq!(hub.bytes_sent(&When::get(Kind::Blob)), blob.len() as u64);
    one_upload(&hub, &fleet).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_finish_when_the_owner_is_killed_in_the_middle() {
    let (hub, fleet) = open_fleet().await;
    let (blob, wanted, gate) = gated_blob(&hub, 2);
    let half = BLOB_BYTES / 2;
    gate.release(half as u64);
    // Who asks first is the owner.
    let at_owner = signed_in(&fleet.url()).await;
    let first = signed_in(&node_url(&fleet, 0)).await;
    let mut first_answer = first.open_blob("app", &wanted, &[]).await;
    read_to(&mut first_answer, &mut Vec::new(), half / 2).await;
    let mut others = Vec::new();
    for number in 0..20 {
        let client = signed_in(&node_url(&fleet, 1 + number % 2)).await;
        let mut answer = client.open_blob("app", &wanted, &[]).await;
        assert_eq!(answer.status(), 200);
        let mut body = Vec::new();
        read_to(&mut answer, &mut body, half / 2).await;
        others.push((answer, body));
    }
    assert_eq!(hub.count(&When::get(Kind::Blob).at(&wanted)), 1, "{}", hub.log());

    fleet.nodes[0].kill();
    // Upstream goes on when somebody has taken over: what is on its way to the dead would count as fetched.
    let finished = join_all(others.into_iter().map(async |(mut answer, mut body)| {
        read_to(&mut answer, &mut body, BLOB_BYTES).await;
        body
    }));
    // The owner's own clients come back by way of the balancer.
    let opened = async {
        hub.wait_for(&When::get(Kind::Blob).at(&wanted), 2).await;
        gate.open();
    };
    let (bodies, back, ()) = tokio::join!(finished, insist(&at_owner, &wanted), opened);
    assert!(bodies.iter().all(|body| *body == blob), "a body is wrong");
    assert!(back == blob, "the body of who came back is wrong");
    drop(first_answer);
    let fetched = hub.bytes_sent(&When::get(Kind::Blob));
    assert!(fetched as f64 <= 1.2 * blob.len() as f64, "{fetched} bytes fetched:\n{}", hub.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_that_cannot_reach_each_other_still_serve() {
    let (hub, fleet) = open_fleet().await;
    for node in &fleet.nodes {
        node.set_links(Purpose::Peer, Mode::Refuse).await;
    }
    let (blob, wanted, gate) = gated_blob(&hub, 3);
    let clients = join_all((0..3).map(async |index| signed_in(&node_url(&fleet, index)).await)).await;
    let pulls = clients.iter().map(async |client| client.blob("app", &wanted).await.expect(200).body == blob);
    let (right, ()) = tokio::join!(join_all(pulls), async {
        hub.wait_for(&When::get(Kind::Blob).at(&wanted), 1).await;
        gate.open();
    });
    assert_eq!(right, [true; 3]);
    let fetched = hub.count(&When::get(Kind::Blob).at(&wanted));
    assert!(fetched <= 3, "{}", hub.log());
    // Each download is counted by how it came to ask upstream.
    let mut counted = 0.0;
    for node in &fleet.nodes {
        for source in ["upstream", "upstream_uncoordinated"] {
            counted += node.metric("roadstead_fill_source_total", &[&format!("source=\"{source}\"")]).await;
        }
    }
    assert_eq!(counted, fetched as f64, "{}", hub.log());
}
