//! A backup that is made while the server works can be restored to a server that works.

use std::fs;

use roadstead_tests::{
    cluster::{Cluster, ClusterOptions, executable},
    hub::{Hub, Kind, When},
    image::{Image, digest},
    process::run,
};

#[tokio::test]
async fn what_was_backed_up_under_load_is_all_there_after_a_restore() {
    let hub = Hub::start().await;
    let cluster = Cluster::start(&hub).await;
    hub.add_user("alice", "alices-password");
    let image = Image::small(1);
    hub.push("secret/app", "latest", &image);
    hub.make_private("secret/app", &["alice"]);
    cluster.create_group("acme").await;
    let token = cluster.create_token("acme").await;
    let login = ["upstream", "login", "acme", "docker.io", "--username", "alice", "--password-stdin"];
    cluster.cli_with_input(&login, "alices-password\n").await.ok();
    let client = cluster.client("acme", &token);
    client.manifest("secret/app", "latest").await.expect(200);
    let layer = digest(&image.layers[0]);
    client.blob("secret/app", &layer).await.expect(200);
    client.blob_hit("secret/app", &layer).await;

    let folder = tempfile::tempdir().unwrap();
    let backup = folder.path().join("backup");
    let data_dir = cluster.data_dir();
    let arguments = ["backup", backup.to_str().unwrap(), "--data-dir", data_dir.to_str().unwrap()];
    // Somebody writes all the time meanwhile.
    let busy = async {
        for n in 0..20 {
            cluster.create_group(&format!("busy-{n}")).await;
        }
    };
    let program = executable();
    let program = program.to_str().unwrap();
    let (listed, ()) = tokio::join!(run(program, &arguments), busy);
    assert_eq!(listed.ok().lines().count(), 3);
    assert!(run(program, &arguments).await.failed().contains("is there already"));

    // The database and the keys are lost; the blobs, elsewhere, are not.
    cluster.kill();
    let restored = folder.path().join("data");
    fs::rename(&backup, &restored).unwrap();
    fs::rename(data_dir.join("blobs"), restored.join("blobs")).unwrap();
    let again = Cluster::prepare(ClusterOptions { data_dir: Some(restored), ..ClusterOptions::default() });
    again.run_processes().await;
    hub.forget_requests();
    let client = again.client("acme", &token);
    assert_eq!(client.manifest("secret/app", "latest").await.expect(200).body, image.manifest);
    client.blob_hit("secret/app", &layer).await;
    assert_eq!(hub.count(&When::get(Kind::Blob)) + hub.count(&When::get(Kind::Manifest)), 0, "{}", hub.log());
    let other = Image::small(2);
    hub.push("secret/app", "other", &other);
    hub.make_private("secret/app", &["alice"]);
    assert_eq!(client.manifest("secret/app", "other").await.expect(200).body, other.manifest);
}
