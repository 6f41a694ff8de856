//! Moving the blob store: from a folder in use to a bucket and back, in any number of runs.

use std::{fs, time::Duration};

use roadstead_tests::{
    cluster::{Cluster, executable},
    eventually::eventually,
    hub::Hub,
    image::random_bytes,
    link::{Link, Mode},
    process::{Finished, run_command},
    seaweed::Seaweed,
};

/// More than one part of an upload.
const LARGE: usize = 9 * 1024 * 1024;

async fn copy(seaweed: &Seaweed, from: &str, to: &str) -> Finished {
    let mut command = tokio::process::Command::new(executable());
    command.args(["store", "copy", "--from", from, "--to", to, "--jobs", "2"]);
    command.envs(Seaweed::environment(&seaweed.endpoint()));
    run_command(command, "").await
}

#[tokio::test]
async fn a_store_moves_to_a_bucket_and_back_and_every_run_goes_on_where_the_last_was() {
    let seaweed = Seaweed::start().await;
    seaweed.create_bucket("blobs").await;
    let hub = Hub::start().await;
    let cluster = Cluster::start(&hub).await;
    let client = cluster.anonymous();
    let mut wanted = Vec::new();
    for size in [1, 100_000, LARGE] {
        let digest = hub.push_blob("library/app", random_bytes(size as u64, size));
        client.blob("app", &digest).await.expect(200);
        client.blob_hit("app", &digest).await;
        wanted.push(digest);
    }
    let blobs = cluster.data_dir().join("blobs");
    let (folder, bucket) = (format!("file://{}", blobs.display()), "s3://blobs/moved");
    // The node goes on using the folder.
    let said = copy(&seaweed, &folder, bucket).await.ok();
    assert!(said.contains("copied 3 blobs") && said.contains("already present 0 blobs"), "{said}");
    let said = copy(&seaweed, &folder, bucket).await.ok();
    assert!(said.contains("copied 0 blobs") && said.contains("already present 3 blobs"), "{said}");

    let back = tempfile::tempdir().unwrap();
    let target = format!("file://{}", back.path().join("blobs").display());
    copy(&seaweed, bucket, &target).await.ok();
    let file = |root: &std::path::Path, digest: &str| {
        let hex = digest.strip_prefix("sha256:").unwrap().to_owned();
        root.join("sha256").join(&hex[..2]).join(&hex)
    };
    for digest in &wanted {
        let copied = fs::read(file(&back.path().join("blobs"), digest)).unwrap();
        assert!(copied == fs::read(file(&blobs, digest)).unwrap(), "{digest}");
    }

    // Corrupt blobs are named and skipped, and the exit code tells.
    fs::write(file(&back.path().join("blobs"), &wanted[0]), "x?").unwrap();
    let said = copy(&seaweed, &target, "s3://blobs/again").await;
    assert_eq!(said.code, 1, "{said:?}");
    assert!(said.stderr.contains(&wanted[0]) && said.stderr.contains("skipped as corrupt 1 blob"), "{said:?}");
    let refused = copy(&seaweed, &target, &folder).await.failed();
    assert!(refused.contains("in use by another node"), "{refused}");
}

/// Starts a copy through a link that is slow, and answers once some of it is up and none of it complete.
async fn begin(seaweed: &Seaweed, link: &Link, from: &str, staging: &std::path::Path) -> tokio::process::Child {
    let mut command = tokio::process::Command::new(executable());
    command.args(["store", "copy", "--from", from, "--to", "s3://blobs/moved", "--staging"]).arg(staging);
    command.envs(Seaweed::environment(&format!("http://{}", link.address()))).kill_on_drop(true);
    let child = command.spawn().unwrap();
    eventually("an upload has begun", async || seaweed.uploads("blobs").await > 0).await;
    child
}

/// Tells whether a folder holds the note of an upload, at any depth, and the note is written.
fn has_note(folder: &std::path::Path) -> bool {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).any(|path| {
        let is_note = path.extension().is_some_and(|extension| extension == "upload");
        let is_written = fs::metadata(&path).is_ok_and(|file| file.len() > 0);
        (is_note && is_written) || (path.is_dir() && has_note(&path))
    })
}

#[tokio::test]
async fn a_copy_that_is_broken_off_or_killed_leaves_nothing_behind_for_good() {
    let seaweed = Seaweed::start().await;
    seaweed.create_bucket("blobs").await;
    let link = Link::to(seaweed.address()).await;
    let (folder, staging) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let content = random_bytes(1, 40 * 1024 * 1024);
    let hex = roadstead_proto::Digest::of(roadstead_proto::Algorithm::Sha256, &content).hex();
    let shelf = folder.path().join("sha256").join(&hex[..2]);
    fs::create_dir_all(&shelf).unwrap();
    fs::write(shelf.join(&hex), &content).unwrap();
    let from = format!("file://{}", folder.path().display());
    let left = || fs::read_dir(staging.path()).unwrap().count();

    link.set(Mode::Delay(Duration::from_millis(20))).await;
    let mut child = begin(&seaweed, &link, &from, staging.path()).await;
    let id = rustix::process::Pid::from_raw(child.id().unwrap() as i32).unwrap();
    rustix::process::kill_process(id, rustix::process::Signal::INT).unwrap();
    assert_eq!(child.wait().await.unwrap().code(), Some(1));
    assert_eq!((seaweed.uploads("blobs").await, left()), (0, 0), "broken off: all is cleaned up");

    let mut child = begin(&seaweed, &link, &from, staging.path()).await;
    // The note is what the next run cleans up by.
    eventually("the upload is noted", async || has_note(staging.path())).await;
    child.kill().await.unwrap();
    assert!(seaweed.uploads("blobs").await > 0 && left() > 0, "killed: nobody could clean up");
    link.set(Mode::Pass).await;
    let mut command = tokio::process::Command::new(executable());
    command.args(["store", "copy", "--from", &from, "--to", "s3://blobs/moved", "--staging"]).arg(staging.path());
    command.envs(Seaweed::environment(&seaweed.endpoint()));
    let said = run_command(command, "").await.ok();
    assert!(said.contains("copied 1 blob"), "{said}");
    assert_eq!((seaweed.uploads("blobs").await, left()), (0, 0), "the next run cleans up after it");
}
