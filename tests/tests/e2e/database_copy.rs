//! `roadstead database copy` moves an installation from SQLite to PostgreSQL and back, and a database says what it is.

use std::{fs, time::Duration};

use roadstead_tests::{
    cluster::{Cluster, ClusterOptions},
    hub::{Hub, Kind, When},
    image::{Image, digest},
    postgres::Postgres,
    process::{Finished, run_command},
};

/// A server on this database with the files of another one's folder.
fn on(url: &str, data_dir: std::path::PathBuf) -> ClusterOptions {
    let arguments = vec!["--database-url".into(), url.into()];
    ClusterOptions { arguments, data_dir: Some(data_dir), ..ClusterOptions::default() }
}

async fn copy(cluster: &Cluster, from: &str, to: &str) -> Finished {
    run_command(cluster.command(&["database", "copy", "--from", from, "--to", to]).into(), "").await
}

#[tokio::test]
async fn an_installation_moves_to_postgresql_and_back_with_all_that_it_has() {
    let (hub, database) = (Hub::start().await, Postgres::start().await);
    let first = Cluster::start(&hub).await;
    hub.add_user("alice", "alices-password");
    let image = Image::small(1);
    hub.push("secret/app", "latest", &image);
    hub.make_private("secret/app", &["alice"]);
    first.create_group("acme").await;
    let token = first.create_token("acme").await;
    let login = ["upstream", "login", "acme", "docker.io", "--username", "alice", "--password-stdin"];
    first.cli_with_input(&login, "alices-password\n").await.ok();
    let client = first.client("acme", &token);
    client.manifest("secret/app", "latest").await.expect(200);
    let layer = digest(&image.layers[0]);
    client.blob("secret/app", &layer).await.expect(200);
    client.blob_hit("secret/app", &layer).await;
    let registry_token = client.token("secret/app").await;
    first.terminate();
    first.exit_codes(Duration::from_secs(40)).await;

    let sqlite = format!("sqlite://{}", first.data_dir().join("control.db").display());
    let copied = copy(&first, &sqlite, &database.url()).await;
    assert!(copied.stderr.contains("groups: 2 rows") && copied.stdout.starts_with("copied "), "{copied:?}");
    let again = copy(&first, &sqlite, &database.url()).await;
    assert_eq!((again.code, again.stderr.contains("has rows in")), (1, true), "{again:?}");

    let moved = Cluster::prepare(on(&database.url(), first.data_dir()));
    moved.run_processes().await;
    hub.forget_requests();
    let client = moved.client("acme", &token);
    // A registry token that was issued before, the cached tag and blob, the audit, and the group's credentials.
    let url = format!("{}/v2/acme/dependency_proxy/containers/secret/app/blobs/{layer}", moved.url());
    let old_token = roadstead_tests::client::http().get(url).bearer_auth(registry_token).send().await.unwrap();
    assert_eq!(old_token.status().as_u16(), 200);
    assert_eq!(client.manifest("secret/app", "latest").await.expect(200).body, image.manifest);
    client.blob_hit("secret/app", &layer).await;
    assert_eq!(hub.count(&When::get(Kind::Blob)) + hub.count(&When::get(Kind::Manifest)), 0, "{}", hub.log());
    assert!(moved.cli(&["audit", "list"]).await.ok().contains("group.create"));
    let other = Image::small(2);
    hub.push("secret/app", "other", &other);
    hub.make_private("secret/app", &["alice"]);
    assert_eq!(client.manifest("secret/app", "other").await.expect(200).body, other.manifest);
    moved.terminate();
    moved.exit_codes(Duration::from_secs(40)).await;

    // Back, and all of it is there again.
    let back = format!("sqlite://{}", first.folder().join("back.db").display());
    copy(&first, &database.url(), &back).await.ok();
    let last = Cluster::prepare(on(&back, first.data_dir()));
    last.run_processes().await;
    assert_eq!(last.client("acme", &token).manifest("secret/app", "other").await.expect(200).body, other.manifest);
}

#[tokio::test]
async fn a_database_that_cannot_be_used_says_what_it_is() {
    let (hub, database) = (Hub::start().await, Postgres::start().await);
    let cluster = Cluster::prepare(ClusterOptions::default());
    let junk = cluster.folder().join("junk.db");
    fs::write(&junk, "this is a letter to somebody, and no database").unwrap();
    let start = async |url: &str| {
        let arguments = ["control", "--database-url", url, "--data-dir", "d", "--control-listen", "127.0.0.1:0"];
        let ports = [&arguments[..], &["--metrics-listen", "127.0.0.1:0"]].concat();
        run_command(cluster.command(&ports).into(), "").await.failed()
    };
    let said = start(&format!("sqlite://{}", junk.display())).await;
    assert!(said.contains("junk.db is not a SQLite database"), "{said}");
    let said = start(&format!("sqlite://{}", cluster.folder().display())).await;
    assert!(said.contains("cannot be opened"), "{said}");
    let missing = copy(&cluster, "sqlite:///nowhere/control.db", &database.url()).await;
    assert_eq!((missing.code, missing.stderr.contains("/nowhere/control.db")), (2, true), "{missing:?}");

    // A later version has been here: its migration is unknown to this one.
    let later =
        Cluster::start_with(&hub, ClusterOptions { data_dir: None, ..on(&database.url(), "unused".into()) }).await;
    later.kill();
    database.query("UPDATE installation SET version = '7.8.9'").await;
    let migration = "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
        VALUES (9999, 'later', true, '', 0)";
    database.query(migration).await;
    let said = start(&database.url()).await;
    assert!(said.contains("was made by Roadstead 7.8.9; this is 0."), "{said}");
}
