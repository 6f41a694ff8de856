//! Counts of pulls: kept through a graceful stop to the last one, and through a crash but for the last ten seconds.

use std::time::Duration;

use roadstead_tests::{
    cluster::Cluster,
    eventually::eventually,
    image::{Format, ImageBuilder},
};

use crate::open_pair;

/// Hits and misses of the default group.
async fn pulls(cluster: &Cluster) -> i64 {
    let stats = cluster.cli_json(&["cache", "stats", "default"]).await;
    stats["hits"].as_i64().unwrap() + stats["misses"].as_i64().unwrap()
}

#[tokio::test]
async fn a_graceful_stop_loses_no_count() {
    let (hub, cluster) = open_pair().await;
    hub.push("library/app", "1", &ImageBuilder::new(Format::Oci).file("a", b"a").build());
    let client = cluster.anonymous();
    for _ in 0..5 {
        client.manifest("app", "1").await.expect(200);
    }
    cluster.terminate();
    assert!(cluster.exit_codes(Duration::from_secs(30)).await.iter().all(|code| *code == 0));
    cluster.run_processes().await;
    assert_eq!(pulls(&cluster).await, 5);
    let days = cluster.cli_json(&["cache", "stats", "default", "--days", "2"]).await;
    let days = days.as_array().unwrap();
    assert_eq!((days.len(), days.iter().map(|day| day["hits"].as_i64().unwrap()).sum::<i64>()), (2, 4));
    let tags = cluster.cli_json(&["cache", "tags", "default"]).await;
    assert_eq!((&tags[0]["tag"], &tags[0]["pulls"]), (&"1".into(), &5.into()), "{tags}");
}

#[tokio::test]
async fn a_crash_loses_at_most_what_was_counted_since_the_last_report() {
    let (hub, cluster) = open_pair().await;
    hub.push("library/app", "1", &ImageBuilder::new(Format::Oci).file("a", b"a").build());
    let client = cluster.anonymous();
    for _ in 0..3 {
        client.manifest("app", "1").await.expect(200);
    }
    eventually("three pulls are reported", async || pulls(&cluster).await >= 3).await;
    client.manifest("app", "1").await.expect(200);
    cluster.kill();
    cluster.run_processes().await;
    let kept = pulls(&cluster).await;
    assert!((3..=4).contains(&kept), "{kept}");
}

#[tokio::test]
async fn lists_of_every_kind_are_read_by_the_command_line() {
    let (hub, cluster) = open_pair().await;
    let image = ImageBuilder::new(Format::Oci).file("a", b"a").build();
    hub.push("library/app", "1", &image);
    hub.push("library/other", "release-2", &image);
    cluster.cli(&["cache", "prefetch", "default", "app:1"]).await.ok();
    cluster.cli(&["cache", "prefetch", "default", "other:release-2"]).await.ok();
    for (arguments, count) in [
        (&["list", "default", "--sort", "size"][..], 2),
        (&["list", "default", "--upstream", "ghcr.io"], 0),
        (&["list", "default", "--older-than", "1d", "--sort", "last-pulled"], 0),
        (&["images", "default", "--sort", "pulls"], 2),
        (&["images", "default", "--name", "oth"], 1),
        (&["tags", "default", "--tag", "release-*"], 1),
        (&["tags", "default", "--image", "app"], 1),
        (&["blobs", "default", "--image", "app", "--sort", "size"], 2),
    ] {
        let arguments: Vec<_> = ["cache"].into_iter().chain(arguments.iter().copied()).collect();
        let listed = cluster.cli_json(&arguments).await;
        assert_eq!(listed.as_array().map(Vec::len), Some(count), "{arguments:?}: {listed}");
        cluster.cli(&arguments).await.ok();
    }
    let manifest = &cluster.cli_json(&["cache", "list", "default", "--image", "app"]).await[0];
    let (size, unique) = (manifest["size_bytes"].as_i64().unwrap(), manifest["unique_bytes"].as_i64().unwrap());
    assert_eq!((unique, manifest["shared_bytes"].as_i64().unwrap()), (0, size), "all of it is in the other image too");
}
