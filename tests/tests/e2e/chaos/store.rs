//! S3 refuses, and is slow.

use std::time::Duration;

use roadstead_tests::{
    fleet::{Fleet, Purpose},
    image::{digest, random_bytes},
    link::Mode,
};

use super::{open_fleet, pull, push};

async fn set_store(fleet: &Fleet, mode: Mode) {
    for node in &fleet.nodes {
        node.set_links(Purpose::Store, mode.clone()).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_node_keeps_is_served_while_s3_answers_503_and_the_rest_is_a_clear_error() {
    let (hub, fleet) = open_fleet().await;
    let (name, image) = push(&hub, "app", 1);
    let layer = digest(&image.layers[0]);
    let [at_first, at_second] = [0, 1].map(|index| fleet.nodes[index].anonymous());
    pull(&at_first, name, &image).await;
    at_first.blob_hit(name, &layer).await;
    at_second.token(name).await;
    let cold = random_bytes(5, 2_000_000);
    let cold_digest = hub.push_blob("library/app", cold.clone());

    set_store(&fleet, Mode::status("503 Slow Down")).await;
    for _ in 0..3 {
        // In the first node's own cache.
        assert_eq!(at_first.blob(name, &layer).await.expect(200).body, image.layers[0]);
    }
    // Only in S3, as far as the second is concerned, or in the peer; and one that is nowhere yet.
    for wanted in [&layer, &cold_digest] {
        match at_second.try_blob(name, wanted).await {
            Ok(answer) if answer.status == 200 => {
                let right = if wanted == &layer { &image.layers[0] } else { &cold };
                assert_eq!(answer.body, *right);
            }
            Ok(answer) => {
                assert!(answer.status.is_server_error(), "{answer:?}");
                assert!(answer.json()["errors"][0]["code"].is_string(), "{answer:?}");
            }
            // Broken off, never ended cleanly.
            Err(error) => assert!(!error.is_timeout(), "{error:?}"),
        }
    }

    set_store(&fleet, Mode::Pass).await;
    for node in &fleet.nodes {
        let client = node.anonymous();
        crate::within(Duration::from_secs(20), 200, async || client.blob(name, &cold_digest).await).await;
        assert_eq!(client.blob(name, &cold_digest).await.expect(200).body, cold);
        pull(&client, name, &image).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_s3_slows_pulls_and_breaks_none() {
    let (hub, fleet) = open_fleet().await;
    set_store(&fleet, Mode::Delay(Duration::from_millis(100))).await;
    let (name, image) = push(&hub, "app", 1);
    let large = random_bytes(6, 20_000_000);
    let wanted = hub.push_blob("library/app", large.clone());
    for node in &fleet.nodes {
        pull(&node.anonymous(), name, &image).await;
    }
    assert!(fleet.nodes[0].anonymous().blob(name, &wanted).await.expect(200).body == large);
    assert!(fleet.nodes[1].anonymous().blob(name, &wanted).await.expect(200).body == large);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_of_an_upload_that_broke_off_is_visible() {
    let (hub, fleet) = open_fleet().await;
    let (name, image) = push(&hub, "app", 1);
    pull(&fleet.nodes[0].anonymous(), name, &image).await;
    let before = fleet.seaweed.objects(roadstead_tests::fleet::BUCKET).await;
    assert!(!before.is_empty());
    let blob = random_bytes(7, 20_000_000);
    let wanted = hub.push_blob("library/app", blob.clone());
    let gate = roadstead_tests::hub::Gate::closed();
    gate.release(15_000_000);
    let blobs = roadstead_tests::hub::When::get(roadstead_tests::hub::Kind::Blob).at(&wanted);
    hub.fault(blobs, roadstead_tests::hub::Fault::Gated(gate.clone()));
    let client = fleet.nodes[0].anonymous();
    let mut answer = client.open_blob(name, &wanted, &[]).await;
    let mut got = 0;
    while got < 10_000_000 {
        got += answer.chunk().await.unwrap().unwrap().len();
    }
    fleet.nodes[0].kill();
    assert_eq!(fleet.seaweed.objects(roadstead_tests::fleet::BUCKET).await, before);
    gate.open();
    assert!(fleet.nodes[1].anonymous().blob(name, &wanted).await.expect(200).body == blob);
}
