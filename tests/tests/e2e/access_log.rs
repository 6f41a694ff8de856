//! The access log: every refusal and every failure has a line that names who asked for what, and why it was refused.

use std::{collections::BTreeMap, fs};

use http::Method;
use roadstead_tests::{
    client::{self, Client},
    cluster::{Cluster, ClusterOptions},
    eventually::eventually_some,
    hub::{AuthMode, Fault, Gate, Hub, HubOptions, Kind, When},
    image::{Image, digest, random_bytes},
    small_disk::SmallDisk,
};
use serde_json::Value;

async fn start(level: &str, format: &str) -> (Hub, Cluster) {
    let hub = Hub::start_with(HubOptions { auth: AuthMode::Open, ..HubOptions::default() }).await;
    let arguments = ["--access-log", level, "--log-format", format].map(str::to_owned).to_vec();
    let cluster = Cluster::start_with(&hub, ClusterOptions { arguments, ..ClusterOptions::default() }).await;
    (hub, cluster)
}

/// The lines of the access log.
fn lines(cluster: &Cluster) -> Vec<Value> {
    let log = cluster.log();
    let parsed = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    parsed.filter(|line| line["target"] == "access").collect()
}

/// The lines about this reference, as soon as there are any.
async fn about(cluster: &Cluster, reference: &str) -> Vec<Value> {
    eventually_some(async || {
        let found: Vec<_> = lines(cluster).into_iter().filter(|line| line["reference"] == reference).collect();
        if found.is_empty() { Err(format!("no line about {reference} in\n{}", cluster.log())) } else { Ok(found) }
    })
    .await
}

/// The fields of a line, as texts.
fn fields(line: &Value) -> BTreeMap<&str, String> {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    line.as_object().unwrap().iter().map(|(name, value)| (name.as_str(), text(value))).collect()
}

#[tokio::test]
async fn every_kind_of_refusal_is_traced_to_its_cause_by_the_log_alone() {
    let disk = SmallDisk::mount(48);
    let hub = Hub::start_with(HubOptions { auth: AuthMode::Open, ..HubOptions::default() }).await;
    let arguments = ["--log-format", "json"].map(str::to_owned).to_vec();
    let data_dir = Some(disk.path().join("data"));
    let cluster = Cluster::start_with(&hub, ClusterOptions { arguments, data_dir, ..ClusterOptions::default() }).await;
    hub.push("library/app", "warm", &Image::small(1));
    let client = cluster.client_of_new_group("acme").await;
    client.manifest("app", "warm").await.expect(200);
    cluster.cli(&["group", "update", "acme", "--deny", "docker.io/*miner*"]).await.ok();

    disk.fill_up();
    let full = hub.push_blob("library/app", random_bytes(7, 2_000_000));
    client.try_blob("app", &full).await.unwrap().expect(507);
    assert!(about(&cluster, &full).await[0]["cause"].as_str().unwrap().contains("full"));
    disk.make_room();

    // A cached tag that cannot be confirmed says why.
    hub.fault(When::any().at("warm"), Fault::Status(503));
    client.manifest("app", "warm").await.expect(200);
    let stale = about(&cluster, "warm").await.pop().unwrap();
    assert_eq!((&stale["status"], &stale["x_cache"]), (&200.into(), &"stale".into()));
    assert!(stale["cause"].as_str().unwrap().contains("docker.io answered with status 503"), "{stale}");
    // What is asked for, with what trouble at the hub, and what the line says: status, and a part of the cause.
    let hub_says = |reference: &'static str, fault| hub.fault(When::any().at(reference), fault);
    hub_says("limited", Fault::RateLimited(60));
    hub_says("broken", Fault::Status(500));
    hub_says("denied", Fault::Status(403));
    hub_says("page", Fault::WebPage);
    for (reference, status, cause) in [
        ("absent", 404, "docker.io has no library/app:absent"),
        ("denied", 403, "docker.io denied access"),
        ("broken", 502, "docker.io answered with status 500"),
        ("page", 502, "docker.io"),
        ("limited", 429, "the pull limit of docker.io is reached"),
    ] {
        client.manifest("app", reference).await.expect(status);
        let found = about(&cluster, reference).await;
        let line = fields(&found[0]);
        let is = |name: &str, value: &str| assert_eq!(line[name], value, "{reference}: {line:?}");
        is("status", &status.to_string());
        is("method", "GET");
        is("route", "manifest");
        is("client", "127.0.0.1");
        is("group", "acme");
        is("image", "app");
        is("upstream", "docker.io");
        assert!(line["cause"].contains(cause), "{reference}: {line:?}");
        assert!(line["caller"].starts_with("gitlab+deploy-token") || !line["token_id"].is_empty(), "{line:?}");
        assert!(line.contains_key("timestamp") && line.contains_key("ms"), "{line:?}");
    }
    // Refusals by this cache itself.
    let by_cause = async |status: u16, cause: &str| {
        eventually_some(async || {
            let found = lines(&cluster);
            let fits = |line: &&Value| line["status"] == status && line["cause"].as_str().unwrap().contains(cause);
            found.iter().find(fits).cloned().ok_or_else(|| format!("{status} {cause}: {found:#?}"))
        })
        .await
    };
    let wrong = Client::new(&cluster.url(), "acme", Some(("nobody".into(), "wrong-password-1".into())));
    wrong.sign_in("app").await.expect(401);
    let refused = by_cause(401, "").await;
    assert_eq!(
        (&refused["route"], &refused["group"], &refused["image"]),
        (&"sign_in".into(), &"acme".into(), &"app".into())
    );
    let ask = async |path: &str, token: &str, status: u16| {
        let request = client::http().get(format!("{}{path}", cluster.url())).bearer_auth(token);
        client::read(request.send().await).await.unwrap().expect(status);
    };
    ask("/v2/acme/dependency_proxy/containers/app/manifests/x", "not-a-token", 401).await;
    by_cause(401, "the token is invalid or has expired").await;
    ask("/v2/acme/dependency_proxy/containers/other/manifests/x", &client.token("app").await, 401).await;
    by_cause(401, "this token does not allow pulls of acme/dependency_proxy/containers/other").await;
    ask("/v2/acme/nothing", "x", 404).await;
    by_cause(404, "no such path").await;
    crate::soon(403, async || client.manifest("miner", "1").await).await;
    by_cause(403, "miner").await;
    client.ask(Method::PUT, "app", "manifests/1", &[]).await.expect(405);
    by_cause(405, "push to the registry").await;
    cluster.cli(&["group", "update", "acme", "--enabled", "false"]).await.ok();
    crate::soon(403, async || client.manifest("app", "warm").await).await;
    by_cause(403, "switched off").await;

    let log = cluster.log();
    for secret in ["wrong-password-1", "not-a-token", client.token("app").await.rsplit('.').next().unwrap()] {
        assert!(!log.contains(secret), "{secret}");
    }
    // Where to sign in is told to every client that begins a pull: that is no error.
    client::read(client::http().get(format!("{}/v2/", cluster.url())).send().await).await.unwrap().expect(401);
    client.head_manifest("app", "absent-2").await;
    about(&cluster, "absent-2").await;
    assert!(!lines(&cluster).iter().any(|line| line["route"] == "ping"), "{:#?}", lines(&cluster));
    cluster.kill();
}

#[tokio::test]
async fn a_body_that_breaks_off_has_a_line_with_the_cause_and_the_bytes_that_were_sent() {
    let (hub, cluster) = start("errors", "json").await;
    let blob = random_bytes(1, 300_000);
    let wanted = hub.push_blob("library/app", blob);
    hub.fault(When::get(Kind::Blob), Fault::Corrupt(30));
    cluster.anonymous().try_blob("app", &wanted).await.expect_err("wrong bytes break off");
    let line = about(&cluster, &wanted).await.remove(0);
    assert_eq!(
        (&line["status"], &line["x_cache"], &line["caller"]),
        (&200.into(), &"fill".into(), &"anonymous".into())
    );
    assert!(line["cause"].as_str().unwrap().contains("got sha256:"), "{line}");
    assert!(line["bytes"].as_u64().unwrap() < 300_000, "{line}");
}

#[tokio::test]
async fn the_log_has_the_lines_that_its_level_says() {
    for (level, expected) in [
        ("off", &[][..]),
        ("errors", &["manifest 404"]),
        ("pulls", &["manifest 200", "blob 200", "manifest 200", "manifest 404"]),
        ("all", &["ping 401", "sign_in 200", "manifest 200", "blob 200", "manifest 200", "manifest 404", "tags 200"]),
    ] {
        let (hub, cluster) = start(level, "json").await;
        let image = Image::small(1);
        hub.push("library/app", "1", &image);
        let client = cluster.anonymous();
        client::read(client::http().get(format!("{}/v2/", cluster.url())).send().await).await.unwrap().expect(401);
        client.manifest("app", "1").await.expect(200);
        client.blob("app", &digest(&image.layers[0])).await.expect(200);
        client.head_manifest("app", "1").await.expect(200);
        client.manifest("app", "absent").await.expect(404);
        client.ask(Method::GET, "app", "tags/list", &[]).await.expect(200);
        // A line is written when the body ends, which is a moment after the client has it.
        let found = eventually_some(async || {
            let lines = lines(&cluster);
            let found: Vec<_> =
                lines.iter().map(|line| format!("{} {}", line["route"].as_str().unwrap(), line["status"])).collect();
            if found.len() >= expected.len() { Ok(found) } else { Err(format!("{level}: {found:?}")) }
        })
        .await;
        assert_eq!(found, expected, "{level}");
        let blob = lines(&cluster).into_iter().find(|line| line["route"] == "blob");
        if let Some(blob) = blob {
            assert_eq!(blob["bytes"].as_u64().unwrap() as usize, image.layers[0].len(), "{blob}");
        }
    }
}

#[tokio::test]
async fn lines_for_people_have_the_same_fields_and_a_client_that_leaves_is_logged_as_such() {
    let (hub, cluster) = start("pulls", "human").await;
    let gate = Gate::closed();
    let wanted = hub.push_blob("library/app", random_bytes(1, 300_000));
    hub.fault(When::get(Kind::Blob), Fault::Gated(gate.clone()));
    let client = cluster.anonymous();
    let answer = client.open_blob("app", &wanted, &[]).await;
    drop(answer);
    client.manifest("app", "absent").await.expect(404);
    let line = eventually_some(async || {
        let log = cluster.log();
        let line = log.lines().find(|line| line.contains(" access: ") && line.contains(&wanted)).map(str::to_owned);
        line.ok_or(log)
    })
    .await;
    gate.open();
    for part in [
        "route=\"blob\"",
        "caller=anonymous",
        "group=\"default\"",
        "image=app",
        "status=200",
        "x_cache=\"fill\"",
        "cause=\"the client left before the end of the body\"",
    ] {
        assert!(line.contains(part), "{part}: {line}");
    }
    assert!(fs::read_dir(cluster.data_dir()).is_ok());
}
