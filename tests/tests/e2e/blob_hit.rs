//! Blobs that are stored: ranges, conditions, headers.

use http::Method;
use roadstead_tests::{
    client::{Answer, Client},
    cluster::Cluster,
    hub::{Hub, Kind, When},
    image::random_bytes,
};

use crate::open_pair;

const SIZE: usize = 100_000;

/// A client of a blob that is stored, and a hub that is not to be asked again.
async fn stored() -> (Hub, Cluster, Client, String) {
    let (hub, cluster) = open_pair().await;
    let wanted = hub.push_blob("library/app", random_bytes(9, SIZE));
    let client = cluster.anonymous();
    client.blob_hit("app", &wanted).await;
    hub.forget_requests();
    (hub, cluster, client, wanted)
}

async fn ask(client: &Client, digest: &str, headers: &[(&str, &str)]) -> Answer {
    client.ask(Method::GET, "app", &format!("blobs/{digest}"), headers).await
}

#[tokio::test]
async fn a_hit_carries_length_digest_etag_and_says_that_it_never_changes() {
    let (hub, _cluster, client, wanted) = stored().await;
    for method in [Method::GET, Method::HEAD] {
        let hit = client.ask(method, "app", &format!("blobs/{wanted}"), &[]).await.expect(200);
        assert_eq!(hit.header("content-length"), SIZE.to_string());
        assert_eq!(hit.header("docker-content-digest"), wanted);
        assert_eq!(hit.header("etag"), format!("\"{wanted}\""));
        assert_eq!(hit.header("accept-ranges"), "bytes");
        assert!(hit.header("cache-control").contains("immutable"), "{:?}", hit.headers);
        assert_eq!(hit.header("content-type"), "application/octet-stream");
        assert_eq!(hit.cache(), "hit");
    }
    assert_eq!(hub.count(&When::any()), 0, "{}", hub.log());
}

#[tokio::test]
async fn ranges_of_a_hit_are_exact() {
    let (hub, _cluster, client, wanted) = stored().await;
    let blob = random_bytes(9, SIZE);
    for (range, start, end) in [
        ("bytes=0-0", 0, 1),
        ("bytes=10-19", 10, 20),
        ("bytes=99999-", 99_999, SIZE),
        ("bytes=-1", 99_999, SIZE),
        ("bytes=-200000", 0, SIZE),
        ("bytes=50-9999999", 50, SIZE),
    ] {
        let part = ask(&client, &wanted, &[("range", range)]).await.expect(206);
        assert_eq!(part.header("content-range"), format!("bytes {start}-{}/{SIZE}", end - 1), "{range}");
        assert_eq!(part.header("content-length"), (end - start).to_string(), "{range}");
        assert_eq!(part.body, blob.slice(start..end), "{range}");
    }
    for range in ["bytes=100000-", "bytes=100000-100001", "bytes=-0", "bytes=5-2"] {
        let beyond = ask(&client, &wanted, &[("range", range)]).await.expect(416);
        assert_eq!(beyond.header("content-range"), format!("bytes */{SIZE}"), "{range}");
    }
    // What is no range that we know is ignored, as RFC 9110 asks.
    for range in ["lines=1-2", "bytes=", "bytes=a-b", "bytes"] {
        assert_eq!(ask(&client, &wanted, &[("range", range)]).await.expect(200).body, blob, "{range}");
    }
    assert_eq!(hub.count(&When::get(Kind::Blob)), 0, "{}", hub.log());
}

#[tokio::test]
async fn if_range_serves_the_part_only_of_the_same_content() {
    let (_hub, _cluster, client, wanted) = stored().await;
    let (same, other) = (format!("\"{wanted}\""), "\"sha256:other\"");
    ask(&client, &wanted, &[("range", "bytes=0-9"), ("if-range", &same)]).await.expect(206);
    ask(&client, &wanted, &[("range", "bytes=0-9"), ("if-range", other)]).await.expect(200);
}

#[tokio::test]
async fn if_none_match_is_answered_304() {
    let (_hub, _cluster, client, wanted) = stored().await;
    let weak = format!("\"x\", W/\"{wanted}\"");
    for tag in [format!("\"{wanted}\""), weak, "*".to_owned()] {
        let unchanged = ask(&client, &wanted, &[("if-none-match", &tag)]).await.expect(304);
        assert_eq!((unchanged.body.len(), unchanged.header("etag")), (0, format!("\"{wanted}\"").as_str()), "{tag}");
    }
    ask(&client, &wanted, &[("if-none-match", "\"sha256:other\"")]).await.expect(200);
}

#[tokio::test]
async fn manifests_answer_conditions_too() {
    let (hub, cluster) = open_pair().await;
    let image = roadstead_tests::image::Image::small(1);
    hub.push("library/app", "latest", &image);
    let client = cluster.anonymous();
    let etag = client.manifest("app", "latest").await.expect(200).header("etag").to_owned();
    assert_eq!(etag, format!("\"{}\"", image.digest()));
    let rest = format!("manifests/{}", image.digest());
    client.ask(Method::GET, "app", &rest, &[("if-none-match", &etag)]).await.expect(304);
}
