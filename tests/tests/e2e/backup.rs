//! A backup that is made while the server works can be restored to a server that works.

use std::fs;

use roadstead_tests::{
    cluster::{Cluster, ClusterOptions, executable},
    hub::{Hub, Kind, When},
    image::{Image, digest},
    postgres::Postgres,
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

#[tokio::test]
async fn postgresql_is_backed_up_by_its_own_tool_without_showing_the_password() {
    let database = Postgres::start().await;
    // The server takes any password; what matters is where ours shows.
    let url = database.url().replace("roadstead@", "roadstead:hunter2@");
    let hub = Hub::start().await;
    let on = |url: &str| ClusterOptions {
        arguments: vec!["--database-url".into(), url.into()],
        ..ClusterOptions::default()
    };
    let cluster = Cluster::start_with(&hub, on(&url)).await;
    cluster.create_group("acme").await;
    let token = cluster.create_token("acme").await;
    let folder = tempfile::tempdir().unwrap();
    let backup = folder.path().join("backup");
    let data_dir = cluster.data_dir();
    let arguments = [backup.to_str().unwrap(), "--data-dir", data_dir.to_str().unwrap(), "--database-url", &url];
    let program = executable();
    let listed = run(program.to_str().unwrap(), &[&["backup"][..], &arguments].concat()).await.ok();
    assert!(listed.contains("control.dump") && listed.contains("secret.key"), "{listed}");
    let unreachable = format!("{url}-of-nobody");
    let other = folder.path().join("other");
    let arguments = ["backup", other.to_str().unwrap(), "--data-dir", data_dir.to_str().unwrap()];
    let failed =
        run(program.to_str().unwrap(), &[&arguments[..], &["--database-url", &unreachable]].concat()).await.failed();
    assert!(failed.contains("pg_dump failed") && failed.contains("of-nobody"), "{failed}");
    assert!(!failed.contains("hunter2"), "{failed}");

    let restored = database.create_database("restored").await;
    let dump = backup.join("control.dump");
    run("pg_restore", &["--clean", "--if-exists", "--dbname", &restored, dump.to_str().unwrap()]).await.ok();
    let again = Cluster::prepare(ClusterOptions { data_dir: Some(backup), ..on(&restored) });
    again.run_processes().await;
    hub.push("library/app", "latest", &Image::small(1));
    assert_eq!(again.client("acme", &token).sign_in("app").await.status, 200);
}
