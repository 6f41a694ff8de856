//! The executable: its first start, its admin commands, its exit codes.

use std::{fs, net::TcpListener, os::unix::fs::PermissionsExt, time::Duration};

use roadstead_tests::{
    client::Client,
    cluster::{Cluster, ClusterOptions},
    eventually::{eventually, eventually_some},
    hub::{Kind, When},
    image::{Image, digest},
    process::{Finished, run_command},
};
use serde_json::{Value, json};

use crate::open_pair;

/// Waits until the log holds `text`: it is written when the server is ready, which others may notice first.
async fn logged(cluster: &Cluster, text: &str) -> String {
    eventually_some(async || {
        let log = cluster.log();
        if log.contains(text) { Ok(log) } else { Err(format!("{text:?} is not in\n{log}")) }
    })
    .await
}

#[tokio::test]
async fn a_first_start_says_where_it_listens_and_how_to_begin() {
    let cluster = Cluster::start_bare(ClusterOptions::default()).await;
    let line = format!("docker pull {}", cluster.image("alpine:latest"));
    let log = logged(&cluster, &line).await;
    let token_file = cluster.data_dir().join("admin-token");
    for text in [
        cluster.registry.to_string(),
        cluster.control.to_string(),
        cluster.metrics.to_string(),
        token_file.display().to_string(),
    ] {
        assert!(log.contains(&text), "{text} is not in\n{log}");
    }
    let token = cluster.admin_token();
    assert_eq!(log.matches(&token).count(), 1, "the token is shown once:\n{log}");
    let mode = |path: &std::path::Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&cluster.data_dir()), mode(&token_file)), (0o700, 0o600));
    assert_eq!(mode(&cluster.data_dir().join("control.db")), 0o600);

    cluster.terminate();
    assert_eq!(cluster.exit_codes(Duration::from_secs(10)).await, [0]);
    cluster.run_processes().await;
    assert_eq!(cluster.admin_token(), token, "the token stays");
    assert_eq!(cluster.log().matches(&token).count(), 1, "and is not shown again:\n{}", cluster.log());
    let default = cluster.cli_json(&["group", "get", "default"]).await;
    assert_eq!(default["group"]["anonymous_pull"], true);
}

#[tokio::test]
async fn the_administrators_token_can_be_chosen_at_the_first_start() {
    let chosen = "a-token-of-my-own-choosing-0123456789".to_owned();
    let environment = vec![("ROADSTEAD_ADMIN_TOKEN".to_owned(), chosen.clone())];
    let cluster = Cluster::start_bare(ClusterOptions { environment, ..ClusterOptions::default() }).await;
    let mut command = cluster.command(&["group", "list", "--token", &chosen]);
    command.args(["--control", &format!("http://{}", cluster.control)]);
    run_command(command.into(), "").await.ok();
    assert!(!cluster.log().contains(&chosen), "{}", cluster.log());
}

#[tokio::test]
async fn bad_settings_are_named_before_a_port_is_bound() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    let cluster = Cluster::prepare(ClusterOptions::default());
    for (arguments, flag, value) in [
        (vec!["serve", "--listen", "nonsense"], "--listen", "nonsense"),
        (vec!["serve", "--drain-timeout", "soon"], "--drain-timeout", "soon"),
        (vec!["serve", "--external-url", "images"], "--external-url", "images"),
        (vec!["serve", "--storage", "ftp://x"], "--storage", "ftp://x"),
        (vec!["serve", "--storage", "s3://Bad_Bucket/x"], "--storage", "Bad_Bucket"),
        // No credentials: neither in the environment nor from the machine.
        (vec!["dataplane", "--node-token", "x", "--storage", "s3://bucket"], "--storage", "AWS_ACCESS_KEY_ID"),
        (vec!["serve", "--database-url", "oracle://x"], "--database-url", "oracle"),
        (vec!["serve", "--tls-cert", "/nowhere/cert.pem"], "--tls-key", ""),
        (vec!["serve", "--tls-cert", "/nowhere/c.pem", "--tls-key", "/nowhere/k.pem"], "--tls-cert", "/nowhere/c.pem"),
        (vec!["serve", "--gc-grace=-1"], "--gc-grace", "-1"),
        (vec!["serve", "--no-such-flag"], "--no-such-flag", ""),
        (vec!["frobnicate"], "frobnicate", ""),
        (vec!["control", "--control-listen", "1.2.3.4"], "--control-listen", "1.2.3.4"),
    ] {
        let finished = run_command(cluster.command(&arguments).into(), "").await;
        assert_eq!(finished.code, 2, "{arguments:?}: {finished:?}");
        assert!(finished.stderr.contains(flag) && finished.stderr.contains(value), "{arguments:?}: {finished:?}");
        assert!(finished.stdout.is_empty(), "{finished:?}");
    }
    let ports = ["serve", "--listen", &taken, "--control-listen", "127.0.0.1:0", "--metrics-listen", "127.0.0.1:0"];
    let occupied = run_command(cluster.command(&ports).into(), "").await;
    // Freed in the meantime or not, it must not hang: the listener above is still held.
    assert_ne!(occupied.code, 0, "{occupied:?}");
    assert!(occupied.stderr.contains(&taken), "{occupied:?}");
}

#[tokio::test]
async fn groups_are_created_changed_listed_and_deleted() {
    let cluster = Cluster::start_bare(ClusterOptions::default()).await;
    let made = cluster.cli_json(&["group", "create", "acme", "--visibility", "internal"]).await;
    assert_eq!((&made["group"]["path"], &made["group"]["visibility"]), (&json!("acme"), &json!("VISIBILITY_INTERNAL")));
    assert_eq!(made["group"]["upstreams"], json!(["docker.io"]));
    let changed = cluster.cli_json(&["group", "update", "acme", "--frozen", "true", "--max-age", "10m"]).await;
    assert_eq!((&changed["group"]["frozen"], &changed["group"]["max_age"]), (&json!(true), &json!("600s")));
    assert_eq!(changed["group"]["enabled"], true, "what is not said stays");
    let listed = cluster.cli_json(&["group", "list"]).await;
    let paths: Vec<&str> = listed.as_array().unwrap().iter().map(|group| group["path"].as_str().unwrap()).collect();
    assert_eq!(paths, ["acme", "default"]);
    let table = cluster.cli(&["group", "list"]).await.ok();
    assert!(table.lines().any(|line| line.starts_with("acme") && line.contains("internal")), "{table}");
    cluster.cli(&["group", "delete", "acme", "--yes"]).await.ok();
    let gone = cluster.cli(&["group", "get", "acme"]).await;
    assert_eq!((gone.code, gone.stdout.as_str()), (1, ""), "{gone:?}");
    assert!(gone.stderr.contains("acme"), "an error names the object: {gone:?}");
}

#[tokio::test]
async fn commands_tell_refusals_from_wrong_usage() {
    let cluster = Cluster::start_bare(ClusterOptions::default()).await;
    cluster.create_group("acme").await;
    let refused = |finished: Finished| assert_eq!((finished.code, finished.stdout.as_str()), (1, ""), "{finished:?}");
    refused(cluster.cli(&["group", "create", "acme"]).await);
    refused(cluster.cli(&["group", "create", "Not A Path"]).await);
    refused(cluster.cli(&["token", "revoke", "01920c3e-0000-7000-8000-000000000000"]).await);
    let mut command = cluster.command(&["group", "list", "--token", "junk"]);
    command.args(["--control", &format!("http://{}", cluster.control)]);
    refused(run_command(command.into(), "").await);
    let mut command = cluster.command(&["group", "list", "--token", "junk", "--control", "http://127.0.0.1:1"]);
    command.current_dir(cluster.folder());
    let unreachable = run_command(command.into(), "").await;
    assert!(unreachable.stderr.contains("127.0.0.1:1"), "{unreachable:?}");
    refused(unreachable);
    for arguments in [
        &["group"][..],
        &["group", "create"],
        &["token", "create", "--name", "x"],
        &["group", "list", "--output", "xml"],
    ] {
        let wrong = cluster.cli(arguments).await;
        assert_eq!(wrong.code, 2, "{wrong:?}");
    }
}

#[tokio::test]
async fn tokens_are_created_listed_without_secrets_and_revoked() {
    let cluster = Cluster::start_bare(ClusterOptions::default()).await;
    cluster.create_group("acme").await;
    let made = cluster.cli_json(&["token", "create", "--group", "acme", "--name", "ci", "--expires-in", "30d"]).await;
    let (id, secret) = (made["id"].as_str().unwrap(), made["token"].as_str().unwrap());
    assert!(secret.starts_with("rs_dep_") && secret.len() == 7 + 49, "{secret}");
    assert!(made["expires_at"].is_string() && made["username"].is_string(), "{made}");
    let listed = cluster.cli(&["token", "list", "--group", "acme", "--output", "json"]).await.ok();
    assert!(!listed.contains(secret), "{listed}");
    let listed: Value = serde_json::from_str(&listed).unwrap();
    assert_eq!((listed[0]["id"].as_str(), listed[0]["name"].as_str()), (Some(id), Some("ci")));
    assert_eq!(listed[0]["scopes"], json!(["read_registry", "write_registry"]));
    cluster.cli(&["token", "revoke", id]).await.ok();
    assert_eq!(cluster.cli_json(&["token", "list", "--group", "acme"]).await, json!([]));
    let node = cluster.cli_json(&["token", "create", "--node", "--name", "n1"]).await;
    assert!(
        node["token"].as_str().unwrap().starts_with("rs_node_")
            || node["token"].as_str().unwrap().starts_with("rs_nod_")
    );
}

#[tokio::test]
async fn upstreams_are_set_listed_signed_in_to_and_removed() {
    let cluster = Cluster::start_bare(ClusterOptions::default()).await;
    let built_in = cluster.cli_json(&["upstream", "list"]).await;
    assert!(built_in.as_array().unwrap().iter().any(|upstream| upstream["host"] == "docker.io"), "{built_in}");
    cluster.cli(&["upstream", "set", "registry.example", "--url", "https://registry.example/mirror"]).await.ok();
    let listed = cluster.cli_json(&["upstream", "list"]).await;
    let ours = listed.as_array().unwrap().iter().find(|upstream| upstream["host"] == "registry.example").unwrap();
    assert_eq!(ours["url"], "https://registry.example/mirror");
    let login = ["upstream", "login", "default", "docker.io", "--username", "bot", "--password-stdin", "--no-verify"];
    let stored = cluster.cli_with_input(&login, "very-secret\n").await.ok();
    assert!(!stored.contains("very-secret"), "{stored}");
    cluster.cli(&["upstream", "logout", "default", "docker.io"]).await.ok();
    assert_eq!(cluster.cli(&["upstream", "logout", "default", "docker.io"]).await.code, 1);
    cluster.cli(&["upstream", "delete", "registry.example", "--yes"]).await.ok();
    assert_eq!(cluster.cli(&["upstream", "delete", "registry.example", "--yes"]).await.code, 1);
}

#[tokio::test]
async fn the_cache_is_listed_counted_and_purged() {
    let (hub, cluster) = open_pair().await;
    let (image, other) = (Image::small(1), Image::small(2));
    hub.push("library/app", "latest", &image);
    hub.push("library/other", "1", &other);
    let client = cluster.anonymous();
    for (name, tag, image) in [("app", "latest", &image), ("other", "1", &other)] {
        client.manifest(name, tag).await.expect(200);
        for blob in image.blobs() {
            client.blob(name, &digest(blob)).await.expect(200);
        }
    }
    // What was pulled is recorded within a second.
    let is_recorded = async || cluster.cli_json(&["cache", "stats", "default"]).await["blobs"] == 4;
    eventually("all blobs are recorded", is_recorded).await;
    let listed = cluster.cli_json(&["cache", "list", "default"]).await;
    assert_eq!(listed.as_array().unwrap().len(), 2, "{listed}");
    let one = cluster.cli_json(&["cache", "list", "default", "--image", "app"]).await;
    let one = &one.as_array().unwrap()[0];
    assert_eq!(
        (one["image"].as_str(), one["digest"].as_str()),
        (Some("docker.io/library/app"), Some(&*image.digest()))
    );
    assert_eq!((&one["tags"], one["media_type"].as_str()), (&json!(["latest"]), Some(&*image.media_type)));
    let size = image.manifest.len() + image.config.len() + image.layers[0].len();
    assert_eq!(one["size_bytes"], size);
    let stats = cluster.cli_json(&["cache", "stats", "default"]).await;
    assert_eq!((&stats["images"], &stats["manifests"], &stats["blobs"]), (&json!(2), &json!(2), &json!(4)), "{stats}");

    let dry = cluster.cli_json(&["cache", "purge", "default", "--image", "app", "--dry-run"]).await;
    assert_eq!((&dry["manifests"], &dry["blobs"], &dry["tags"]), (&json!(1), &json!(2), &json!(1)), "{dry}");
    assert_eq!(cluster.cli_json(&["cache", "stats", "default"]).await["manifests"], 2, "a dry run removes nothing");
    let purged = cluster.cli_json(&["cache", "purge", "default", "--image", "app", "--tag", "latest"]).await;
    assert_eq!(purged, dry);
    let stats = cluster.cli_json(&["cache", "stats", "default"]).await;
    assert_eq!((&stats["images"], &stats["manifests"], &stats["blobs"]), (&json!(1), &json!(1), &json!(2)), "{stats}");
    hub.forget_requests();
    client.manifest("other", &other.digest()).await.expect(200);
    assert_eq!(hub.count(&When::any()), 0, "the other image is still cached:\n{}", hub.log());
    client.manifest("app", "latest").await.expect(200);
    assert_eq!(hub.count(&When::get(Kind::Manifest)), 1, "a purged manifest is fetched again:\n{}", hub.log());
}

/// Waits until the tag is served as this image: what is pinned is known at the node a moment later.
async fn comes_to_serve(client: &Client, image: &Image) {
    let is_served = async || client.manifest("app", "latest").await.expect(200).body == image.manifest;
    eventually("the tag is served as this image", is_served).await;
}

#[tokio::test]
async fn a_tag_s_history_leads_back_to_what_it_was() {
    let (hub, cluster) = open_pair().await;
    let (old, new) = (Image::small(1), Image::small(2));
    let client = cluster.anonymous();
    for image in [&old, &new] {
        hub.push("library/app", "latest", image);
        assert_eq!(client.manifest("app", "latest").await.expect(200).body, image.manifest);
    }
    let history = cluster.cli_json(&["cache", "history", "default", "app:latest"]).await;
    let seen: Vec<_> = history.as_array().unwrap().iter().map(|it| (&it["digest"], &it["served"])).collect();
    assert_eq!(seen, [(&json!(new.digest()), &json!(true)), (&json!(old.digest()), &json!(false))], "{history}");

    cluster.cli(&["cache", "pin", "default", "app:latest", "--previous"]).await.ok();
    let table = cluster.cli(&["cache", "history", "default", "app:latest", "--no-trunc"]).await.ok();
    assert!(table.lines().any(|line| line.starts_with(&old.digest()) && line.ends_with("pinned")), "{table}");
    comes_to_serve(&client, &old).await;
    assert_eq!(cluster.cli(&["cache", "pin", "default", "app:latest", "--previous"]).await.code, 1, "nothing is older");

    cluster.cli(&["cache", "unpin", "default", "app:latest"]).await.ok();
    comes_to_serve(&client, &new).await;
}

#[tokio::test]
async fn pulls_are_counted_for_their_group() {
    let (hub, cluster) = open_pair().await;
    hub.push("library/app", "latest", &Image::small(1));
    let client = cluster.anonymous();
    for _ in 0..3 {
        client.manifest("app", "latest").await.expect(200);
    }
    // Counts are reported in batches; a stop reports what is left.
    cluster.terminate();
    assert_eq!(cluster.exit_codes(Duration::from_secs(10)).await, [0]);
    cluster.run_processes().await;
    let stats = cluster.cli_json(&["cache", "stats", "default"]).await;
    assert_eq!((&stats["hits"], &stats["misses"]), (&json!(2), &json!(1)), "{stats}");
    let listed = cluster.cli_json(&["cache", "list", "default"]).await;
    assert!(listed[0]["last_pulled_at"].is_string(), "{listed}");
}

#[tokio::test]
async fn completions_are_printed_for_three_shells() {
    let cluster = Cluster::prepare(ClusterOptions::default());
    for shell in ["bash", "zsh", "fish"] {
        let script = run_command(cluster.command(&["completions", shell]).into(), "").await.ok();
        assert!(script.contains("roadstead") && script.contains("upstream"), "{shell}: {script}");
    }
    let version = run_command(cluster.command(&["--version"]).into(), "").await.ok();
    assert!(version.starts_with("roadstead "), "{version}");
}
