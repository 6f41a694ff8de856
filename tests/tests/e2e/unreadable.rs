//! Stored bytes that cannot be read, or that somebody cut short, are damage: put aside, told of, and fetched again. No file ends
//! the process.

use std::{fs, os::unix::fs::symlink, path::PathBuf};

use roadstead_tests::{
    client,
    cluster::Cluster,
    eventually::eventually_some,
    hub::{Hub, Kind, When},
    image::{Image, digest, random_bytes},
};

use crate::open_pair;

fn path(cluster: &Cluster, digest: &str) -> PathBuf {
    let hex = digest.strip_prefix("sha256:").unwrap();
    cluster.data_dir().join("blobs/sha256").join(&hex[..2]).join(hex)
}

/// Makes reading the file fail as a bad block does: nothing is mapped at address 0 of the process, so reading its memory there is EIO.
fn make_unreadable(cluster: &Cluster, digest: &str) {
    let path = path(cluster, digest);
    fs::remove_file(&path).unwrap();
    symlink("/proc/self/mem", &path).unwrap();
}

async fn pulled() -> (Hub, Cluster, Image, String) {
    let (hub, cluster) = open_pair().await;
    let image = Image::small(1);
    hub.push("library/app", "latest", &image);
    let layer = digest(&image.layers[0]);
    let client = cluster.anonymous();
    client.manifest("app", "latest").await.expect(200);
    client.blob_hit("app", &layer).await;
    // What is open is read from memory: a restart forgets it.
    cluster.kill();
    for digest in [&image.digest(), &layer] {
        make_unreadable(&cluster, digest);
    }
    cluster.run_processes().await;
    (hub, cluster, image, layer)
}

#[tokio::test]
async fn unreadable_content_is_put_aside_and_fetched_again_by_the_next_pull() {
    let (hub, cluster, image, layer) = pulled().await;
    hub.forget_requests();
    let client = cluster.anonymous();
    assert_eq!(client.manifest("app", &image.digest()).await.expect(200).body, image.manifest);
    assert_eq!(client.manifest("app", "latest").await.expect(200).body, image.manifest);
    assert_eq!(client.blob("app", &layer).await.expect(200).body, image.layers[0]);
    client.blob_hit("app", &layer).await;
    assert_eq!(hub.count(&When::get(Kind::Manifest)) + hub.count(&When::get(Kind::Blob)), 2, "{}", hub.log());
    assert!(cluster.log().contains("cannot be read"));
}

#[tokio::test]
async fn a_deep_check_goes_on_after_content_that_cannot_be_read() {
    let (_hub, cluster, image, layer) = pulled().await;
    // The node may still be connecting to the control plane.
    let found = eventually_some(async || {
        let finished = cluster.cli(&["cache", "check", "default", "--deep", "--output", "json"]).await;
        serde_json::from_str::<serde_json::Value>(&finished.stdout).map_err(|_| format!("{finished:?}"))
    })
    .await;
    let mut told: Vec<_> = found.as_array().unwrap().iter().map(|it| it["digest"].as_str().unwrap()).collect();
    told.sort_unstable();
    let mut expected = [image.digest(), layer];
    expected.sort_unstable();
    assert_eq!(told, expected);
}

#[tokio::test]
async fn a_file_that_is_cut_short_while_it_is_served_breaks_that_answer_and_nothing_else() {
    let (hub, cluster) = open_pair().await;
    let blob = random_bytes(1, 20_000_000);
    let wanted = hub.push_blob("library/app", blob.clone());
    // Over HTTP/2 the process itself reads the bytes that it sends.
    let http = client::builder().http2_prior_knowledge().build().unwrap();
    let client = cluster.anonymous().with_http(http);
    client.blob_hit("app", &wanted).await;
    let mut body = client.open_blob("app", &wanted, &[]).await;
    body.chunk().await.unwrap().unwrap();
    fs::File::options().write(true).open(path(&cluster, &wanted)).unwrap().set_len(1000).unwrap();
    while let Ok(Some(_)) = body.chunk().await {}
    // The next pulls find it, and the process is the same.
    let again = cluster.anonymous();
    for _ in 0..20 {
        if again.try_blob("app", &wanted).await.is_ok_and(|answer| answer.body == blob) {
            break;
        }
    }
    assert_eq!(again.blob("app", &wanted).await.expect(200).body, blob);
}
