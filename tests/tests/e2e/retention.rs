//! Retention by quota: within seconds, whole images, the least recently pulled first.

use std::time::Duration;

use roadstead_tests::{
    eventually::eventually,
    hub::{Kind, When},
    image::{Format, Image, ImageBuilder, digest},
};
use serde_json::Value;

use crate::open_pair;

/// An image with a layer of about so many random bytes.
fn image(seed: u64, bytes: usize) -> Image {
    let content = roadstead_tests::image::random_bytes(seed, bytes);
    ImageBuilder::new(Format::Oci).file("data", &content).build()
}

fn number(value: &Value) -> i64 {
    value.as_i64().unwrap_or_else(|| value.as_str().unwrap_or("0").parse().unwrap())
}

#[tokio::test]
async fn a_group_comes_back_within_its_quota_by_itself_and_keeps_what_is_protected() {
    let (hub, cluster) = open_pair().await;
    let client = cluster.anonymous();
    for (seed, tag) in [(1, "release-1"), (2, "nightly-1"), (3, "nightly-2")] {
        let image = image(seed, 200_000);
        hub.push("library/app", tag, &image);
        client.manifest("app", tag).await.expect(200);
        client.blob_hit("app", &digest(&image.layers[0])).await;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    cluster.cli(&["group", "update", "default", "--quota", "500KB", "--keep", "release-*"]).await.ok();
    let tags = async || {
        let listed = cluster.cli_json(&["cache", "list", "default"]).await;
        let mut tags: Vec<String> = listed
            .as_array()
            .unwrap()
            .iter()
            .flat_map(|item| item["tags"].as_array().unwrap().iter().map(|tag| tag.as_str().unwrap().to_owned()))
            .collect();
        tags.sort();
        tags
    };
    eventually("within its quota", async || tags().await.len() <= 2).await;
    assert_eq!(tags().await, ["nightly-2", "release-1"], "the oldest that is not protected went");
    let stats = cluster.cli_json(&["cache", "stats", "default"]).await;
    assert!(number(&stats["bytes"]) <= 500_000, "{stats}");
    let would = cluster.cli_json(&["cache", "retention", "default", "--dry-run"]).await;
    assert_eq!((number(&would["manifests"]), number(&would["bytes"])), (0, 0), "{would}");
    // What went comes back as if it had never been there; the bytes may still be.
    hub.forget_requests();
    client.manifest("app", "nightly-1").await.expect(200);
    assert!(hub.count(&When::kind(Kind::Manifest)) >= 1, "{}", hub.log());
}
