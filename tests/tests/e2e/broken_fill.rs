//! Downloads that break: what can be mended is mended unseen, and what cannot never looks complete.

use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use roadstead_tests::{
    client::Answer,
    cluster::Cluster,
    hub::{Fault, Gate, Hub, HubOptions, Kind, When},
    image::random_bytes,
};

use crate::open_pair;

const SIZE: usize = 2_000_000;

async fn with_blob() -> (Hub, Cluster, Bytes, String) {
    let (hub, cluster) = open_pair().await;
    let blob = random_bytes(3, SIZE);
    let wanted = hub.push_blob("library/app", blob.clone());
    (hub, cluster, blob, wanted)
}

/// The client can tell that this is not the blob: an error status, or a body that did not end cleanly.
#[track_caller]
fn is_visibly_broken(answer: Result<Answer, reqwest::Error>) {
    if let Ok(answer) = answer {
        assert!(answer.status.is_server_error(), "a clean {} with {} bytes", answer.status, answer.body.len());
        assert!(answer.json()["errors"][0]["code"].is_string());
    }
}

#[tokio::test]
async fn a_cut_download_is_resumed_by_range_unseen() {
    let (hub, cluster, blob, wanted) = with_blob().await;
    hub.fault_times(When::get(Kind::Blob), Fault::CutAt(700_000), 1);
    let client = cluster.anonymous();
    client.token("app").await;
    for answer in join_all((0..4).map(|_| client.blob("app", &wanted))).await {
        assert_eq!(answer.expect(200).body, blob);
    }
    let asked = hub.requests(&When::get(Kind::Blob));
    assert_eq!(asked.len(), 2, "{}", hub.log());
    assert_eq!((asked[1].header("range"), asked[1].status()), ("bytes=700000-", 206), "{}", hub.log());
    client.blob_hit("app", &wanted).await;
}

#[tokio::test]
async fn a_cut_download_without_range_support_starts_over_unseen() {
    let (hub, cluster, blob, wanted) = with_blob().await;
    hub.fault(When::get(Kind::Blob), Fault::NoRange);
    hub.fault_times(When::get(Kind::Blob), Fault::CutAt(700_000), 1);
    assert_eq!(cluster.anonymous().blob("app", &wanted).await.expect(200).body, blob);
    assert_eq!(hub.count(&When::get(Kind::Blob)), 2, "{}", hub.log());
}

#[tokio::test]
async fn a_cut_download_from_a_cdn_is_resumed() {
    let hub = Hub::start_with(HubOptions { cdn: true, ..HubOptions::default() }).await;
    let cluster = Cluster::start(&hub).await;
    let blob = random_bytes(3, SIZE);
    let wanted = hub.push_blob("library/app", blob.clone());
    hub.fault_times(When::get(Kind::Cdn), Fault::CutAt(1), 1);
    assert_eq!(cluster.anonymous().blob("app", &wanted).await.expect(200).body, blob);
    assert_eq!(hub.count(&When::get(Kind::Cdn)), 2, "{}", hub.log());
}

#[tokio::test]
async fn a_stalled_download_is_taken_up_again() {
    let (hub, cluster, blob, wanted) = with_blob().await;
    let gate = Gate::closed();
    gate.release(300_000);
    hub.fault_times(When::get(Kind::Blob), Fault::Gated(gate), 1);
    assert_eq!(cluster.anonymous().blob("app", &wanted).await.expect(200).body, blob);
    assert_eq!(hub.requests(&When::get(Kind::Blob))[1].header("range"), "bytes=300000-", "{}", hub.log());
}

#[tokio::test]
async fn a_download_that_is_always_cut_ends_in_an_error_and_leaves_nothing() {
    let (hub, cluster, blob, wanted) = with_blob().await;
    hub.fault(When::get(Kind::Blob), Fault::CutAt(700_000));
    let client = cluster.anonymous();
    is_visibly_broken(client.try_blob("app", &wanted).await);
    hub.clear_faults();
    hub.forget_requests();
    let anew = client.blob("app", &wanted).await.expect(200);
    assert_eq!((anew.cache(), &anew.body), ("fill", &blob));
    assert_eq!(hub.requests(&When::get(Kind::Blob))[0].header("range"), "", "{}", hub.log());
}

#[tokio::test]
async fn content_with_a_wrong_digest_never_ends_cleanly_and_is_not_kept() {
    let (hub, cluster, blob, wanted) = with_blob().await;
    let client = cluster.anonymous();
    client.token("app").await;
    for at in [0, SIZE as u64 / 2, SIZE as u64 - 1] {
        let gate = Gate::closed();
        hub.fault(When::get(Kind::Blob), Fault::Corrupt(at));
        hub.fault(When::get(Kind::Blob), Fault::Gated(gate.clone()));
        let (answers, ()) = tokio::join!(join_all((0..4).map(|_| client.try_blob("app", &wanted))), async {
            hub.wait_for(&When::get(Kind::Blob), 1).await;
            gate.open();
        });
        answers.into_iter().for_each(is_visibly_broken);
        hub.clear_faults();
        hub.forget_requests();
    }
    let anew = client.blob("app", &wanted).await.expect(200);
    assert_eq!((anew.cache(), &anew.body), ("fill", &blob));
    assert_eq!(hub.count(&When::get(Kind::Blob)), 1, "the next request starts anew:\n{}", hub.log());
}

#[tokio::test]
async fn a_range_of_corrupt_content_never_ends_cleanly_past_what_was_verified() {
    let (hub, cluster, _, wanted) = with_blob().await;
    hub.fault(When::get(Kind::Blob), Fault::Corrupt(10));
    let client = cluster.anonymous();
    let rest = format!("blobs/{wanted}");
    let tail = client.try_ask(http::Method::GET, "app", &rest, &[("range", "bytes=1000-")]).await;
    is_visibly_broken(tail);
}

#[tokio::test]
async fn content_of_a_wrong_length_never_ends_cleanly_and_is_not_kept() {
    let (hub, cluster, blob, wanted) = with_blob().await;
    let client = cluster.anonymous();
    let longer = Bytes::from([&blob[..], b"more"].concat());
    for other in [blob.slice(..SIZE - 1), blob.slice(..0), longer] {
        hub.fault(When::get(Kind::Blob), Fault::Instead(other));
        is_visibly_broken(client.try_blob("app", &wanted).await);
        hub.clear_faults();
    }
    assert_eq!(client.blob("app", &wanted).await.expect(200).body, blob);
}

#[tokio::test]
async fn a_resumption_with_other_bytes_never_ends_cleanly() {
    let (hub, cluster, blob, wanted) = with_blob().await;
    hub.fault_times(When::get(Kind::Blob), Fault::CutAt(700_000), 1);
    let client = cluster.anonymous();
    client.token("app").await;
    let broken = client.try_blob("app", &wanted);
    let (broken, ()) = tokio::join!(broken, async {
        hub.wait_for(&When::get(Kind::Blob), 1).await;
        hub.fault(When::get(Kind::Blob), Fault::Corrupt(1_000_000));
    });
    // Either the first download was already corrupt or its resumption is.
    is_visibly_broken(broken);
    hub.clear_faults();
    assert_eq!(client.blob("app", &wanted).await.expect(200).body, blob);
}

#[tokio::test]
async fn a_web_page_instead_of_a_blob_is_refused() {
    let (hub, cluster, blob, wanted) = with_blob().await;
    hub.fault(When::get(Kind::Blob), Fault::WebPage);
    let client = cluster.anonymous();
    is_visibly_broken(client.try_blob("app", &wanted).await);
    hub.clear_faults();
    assert_eq!(client.blob("app", &wanted).await.expect(200).body, blob);
}

#[tokio::test]
async fn a_reset_and_a_503_at_the_start_are_tried_again_or_told() {
    let (hub, cluster, blob, wanted) = with_blob().await;
    let client = cluster.anonymous();
    client.token("app").await;
    for fault in [Fault::Reset, Fault::Status(503), Fault::Status(500)] {
        hub.fault(When::get(Kind::Blob), fault.clone());
        let refused = tokio::time::timeout(Duration::from_secs(20), client.try_blob("app", &wanted)).await;
        is_visibly_broken(refused.expect("an answer within 20 s"));
        hub.clear_faults();
    }
    assert_eq!(client.blob("app", &wanted).await.expect(200).body, blob);
}
