//! Nothing secret is kept in plain text or said: every password, token and credential that a whole scenario uses is
//! searched for in the database's files, in the log at its loudest, in exported traces, in answers and in the audit.

use std::{
    fs,
    path::Path,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use http::Uri;
use roadstead_proto::v1::{Role, Visibility};
use roadstead_tests::{
    api::PULL,
    client::{self, Client},
    cluster::{Cluster, ClusterOptions},
    hub::{Fault, Hub, When},
    image::Image,
    issuer::{Issuer, Signer},
};

/// Takes traces by http and keeps them.
async fn collector() -> (String, Arc<Mutex<Vec<u8>>>) {
    let taken = Arc::<Mutex<Vec<u8>>>::default();
    let keep = Arc::clone(&taken);
    let take = move |_: Uri, body: Bytes| {
        keep.lock().unwrap().extend_from_slice(&body);
        async { "" }
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(axum::serve(listener, axum::Router::new().fallback(take)).into_future());
    (url, taken)
}

/// All files in a folder and below, without the cached bytes and the file that is there to hold the administrator's token.
fn files(folder: &Path, found: &mut Vec<(String, Vec<u8>)>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        match path.is_dir() {
            true if name == "blobs" => {}
            true => files(&path, found),
            false if name == "admin-token" => {}
            false => found.push((path.display().to_string(), fs::read(&path).unwrap_or_default())),
        }
    }
}

fn holds(bytes: &[u8], secret: &str) -> bool {
    bytes.windows(secret.len()).any(|window| window == secret.as_bytes())
}

#[tokio::test]
async fn no_secret_is_in_database_log_traces_answers_or_audit() {
    const HUB_PASSWORD: &str = "hub-password-of-robot-1";
    const PASSWORD: &str = "alices-own-password-1";
    const NEW_PASSWORD: &str = "alices-next-password-2";
    const GUESS: &str = "a-guess-of-her-password";
    const ADMIN: &str = "chosen-admin-token-0123456789abcdef";
    let hub = Hub::start().await;
    let (endpoint, traces) = collector().await;
    let environment = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.as_str()),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf"),
        ("OTEL_BSP_SCHEDULE_DELAY", "100"),
        ("ROADSTEAD_ADMIN_TOKEN", ADMIN),
    ];
    let environment = environment.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
    let arguments = ["--log", "trace"].map(str::to_owned).to_vec();
    let cluster = Cluster::prepare(ClusterOptions { arguments, environment, ..ClusterOptions::default() });
    cluster.run_processes().await;
    fs::write(cluster.data_dir().join("admin-token"), ADMIN).unwrap();
    cluster.cli(&["upstream", "set", "docker.io", "--url", &hub.url()]).await.ok();
    hub.add_user("robot", HUB_PASSWORD);
    hub.push("library/app", "latest", &Image::small(1));
    let signer = Signer::ec("k1");
    let issuer = Issuer::start(&[&signer]).await;
    let admin = cluster.admin();
    admin.group("acme", Visibility::Private, false).await;
    let login = ["upstream", "login", "acme", "docker.io", "--username", "robot", "--password-stdin"];
    cluster.cli_with_input(&login, HUB_PASSWORD).await.ok();
    cluster.cli_with_input(&["user", "create", "alice", "--password-stdin"], PASSWORD).await.ok();
    admin.member("acme", "alice", Role::Owner).await;
    admin.allow_issuer(&issuer).await;
    admin.trust("acme", &issuer, "acme/*").await;
    let id_token = signer.sign(&issuer.claims("acme/app"));
    let mut all = vec![("alice".to_owned(), PASSWORD.to_owned()), ("oidc".to_owned(), id_token.clone())];
    for token in [
        admin.personal("alice", &PULL).await,
        admin.personal("alice", &["api"]).await,
        admin.deploy("acme", &PULL).await,
        admin.access("acme", Role::Guest, &PULL).await,
        admin.job("acme").await,
        admin.service("acme").await,
        admin.node().await,
    ] {
        all.push((token.username, token.token));
    }

    let mut answers = Vec::new();
    let mut registry_tokens = Vec::new();
    for (name, secret) in &all {
        for group in ["acme", "nowhere"] {
            let client = Client::new(&cluster.url(), group, Some((name.clone(), secret.clone())));
            let answer = client.sign_in("app").await;
            if answer.status == 200 {
                registry_tokens.push(answer.json()["token"].as_str().unwrap().to_owned());
                client.manifest("app", "latest").await.expect(200);
                client.manifest("app", "absent").await;
            } else {
                answers.push(String::from_utf8_lossy(&answer.body).into_owned());
            }
        }
        // On the other port, and in the wrong place.
        let control = format!("http://{}", cluster.control);
        let call = |header: &'static str, value: String| {
            let url = format!("{control}/api/v4/groups/acme/dependency_proxy/settings");
            client::http().get(url).header(header, value).send()
        };
        for (header, value) in [
            ("private-token", secret.clone()),
            ("authorization", format!("Bearer {secret}")),
            ("x-unknown", secret.clone()),
        ] {
            let answer = client::read(call(header, value).await).await.unwrap();
            answers.push(String::from_utf8_lossy(&answer.body).into_owned());
        }
        let broken = Client::new(&cluster.url(), "acme", Some((name.clone(), format!("{secret}x"))));
        let answer = broken.from_address([127, 0, 2, 1].into()).sign_in("app").await;
        answers.push(String::from_utf8_lossy(&answer.body).into_owned());
    }
    let guess = Client::new(&cluster.url(), "acme", Some(("alice".into(), GUESS.into())));
    guess.from_address([127, 0, 2, 2].into()).sign_in("app").await.expect(401);
    hub.fault(When::any(), Fault::Status(500));
    cluster.client("acme", &admin.deploy("acme", &PULL).await).manifest("app", "cold").await;
    cluster.cli_with_input(&["user", "update", "alice", "--password-stdin"], NEW_PASSWORD).await.ok();
    answers.push(cluster.cli_json(&["audit", "list", "--limit", "1000"]).await.to_string());
    answers.push(cluster.cli_json(&["token", "list", "--group", "acme"]).await.to_string());
    answers.push(cluster.cli_json(&["user", "list"]).await.to_string());
    answers.push(String::from_utf8_lossy(&cluster.metrics_port("/metrics").await.body).into_owned());

    let mut places = Vec::new();
    files(&cluster.data_dir(), &mut places);
    assert!(places.iter().any(|(name, bytes)| name.ends_with("control.db") && !bytes.is_empty()), "the database");
    let log = cluster.log();
    assert!(log.contains("TRACE"), "the log is as loud as it gets");
    assert!(!traces.lock().unwrap().is_empty(), "traces were exported");
    places.push(("log".into(), log.into_bytes()));
    places.push(("traces".into(), traces.lock().unwrap().clone()));
    places.push(("answers".into(), answers.join("\n").into_bytes()));
    let mut secrets: Vec<String> = [HUB_PASSWORD, PASSWORD, NEW_PASSWORD, GUESS, ADMIN].map(str::to_owned).to_vec();
    secrets.extend(all.into_iter().map(|(_, secret)| secret));
    // Of signed tokens the signature is what nobody may learn.
    secrets
        .extend(registry_tokens.iter().chain([&id_token]).filter_map(|jwt| jwt.rsplit('.').next().map(str::to_owned)));
    let upstream = hub.requests(&When::any());
    let bearers = upstream.iter().filter_map(|request| request.header("authorization").split_once(' '));
    secrets.extend(bearers.map(|(_, secret)| secret.to_owned()));
    assert!(registry_tokens.len() >= 6 && secrets.len() > 20, "{} secrets", secrets.len());
    let mut found = Vec::new();
    for secret in secrets {
        let part = &secret[..secret.len().min(200)];
        found.extend(
            places.iter().filter(|(_, bytes)| holds(bytes, part)).map(|(place, _)| format!("{part} in {place}")),
        );
    }
    assert!(found.is_empty(), "{found:#?}");
}
