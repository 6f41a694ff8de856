//! Servers and admin commands together: first start, every command's answer, refusals, stops.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a failing helper ends its test")]

mod harness;

use std::{
    io::{Read, Write},
    net::TcpStream,
    os::unix::fs::PermissionsExt,
    path::Path,
    time::{Duration, Instant},
};

use harness::{Admin, Server, get, roadstead, run, serve};
use rustix::process::Signal;
use serde_json::{Value, json};

#[test]
fn the_first_start_says_where_it_listens_and_how_to_begin() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let mut server = Server::start(&mut serve(&data), 4);
    let registry = server.addresses[0];
    let pull = format!("docker pull {registry}/default/dependency_proxy/containers/alpine:latest");
    assert!(server.said.contains(&pull), "{}", server.said);

    let file = data.join("admin-token");
    let token = std::fs::read_to_string(&file).unwrap();
    assert!(server.said.contains(token.trim()) && server.said.contains(&file.display().to_string()));
    let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&file), mode(&data)), (0o600, 0o700));

    server.signal(Signal::TERM);
    assert_eq!(server.wait(), Some(0));

    let mut again = Server::start(&mut serve(&data), 3);
    again.signal(Signal::INT);
    assert_eq!(again.wait(), Some(0));
    assert_eq!(again.said.lines().count(), 1, "{}", again.said);
    assert!(!again.said.contains(token.trim()));
}

#[test]
fn probes_and_metrics_are_served() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(&mut serve(dir.path()), 4);
    let metrics = server.addresses[2];
    for path in ["/livez", "/readyz"] {
        let (head, body) = get(metrics, path);
        assert!(head.starts_with("HTTP/1.1 200 ") && body == "ok\n", "{path}: {head} {body}");
    }
    let (head, page) = get(metrics, "/metrics");
    assert!(head.contains("content-type: application/openmetrics-text; version=1.0.0"), "{head}");
    assert!(page.contains("roadstead_build_info{version=") && page.ends_with("# EOF\n"), "{page}");
}

#[test]
fn groups_are_created_read_changed_listed_and_deleted() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(&mut serve(dir.path()), 4);
    let admin = Admin { server: &server, dir: dir.path() };

    let created = admin.json("group create acme/backend --visibility internal --upstream docker.io --max-age 10m");
    assert_eq!(created["group"]["path"], "acme/backend");
    assert_eq!(created["group"]["visibility"], "VISIBILITY_INTERNAL");
    assert_eq!(created["group"]["max_age"], "600s");
    assert_eq!(created["group"]["frozen"], false);

    let updated = admin.json("group update acme/backend --frozen true --visibility private");
    assert_eq!((&updated["group"]["frozen"], &updated["group"]["max_age"]), (&json!(true), &json!("600s")));
    assert_eq!(admin.json("group get acme/backend"), updated);

    let paths: Vec<Value> = admin.json("group list").as_array().unwrap().iter().map(|g| g["path"].clone()).collect();
    assert_eq!(paths, ["acme/backend", "default"]);
    let table = admin.run("group list").stdout;
    assert!(table.starts_with("PATH") && table.contains("acme/backend   private"), "{table}");

    let deleted = admin.run("group delete acme/backend --yes");
    assert_eq!((deleted.code, deleted.stdout.as_str()), (Some(0), ""));
    assert_eq!(admin.run("group get acme/backend").code, Some(1));
}

#[test]
fn tokens_are_created_listed_and_revoked() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(&mut serve(dir.path()), 4);
    let admin = Admin { server: &server, dir: dir.path() };

    let created = admin.json("token create --group default --name ci --expires-in 30d");
    let secret = created["token"].as_str().unwrap();
    assert!(secret.starts_with("rs_dep_") && created["username"].is_string() && created["expires_at"].is_string());

    let table = admin.run("token create --group default --name cd --scope read_registry,write_registry");
    assert!(
        table.stdout.contains("Token:      rs_dep_") && table.stderr.contains("docker login --username"),
        "{table:?}"
    );

    let listed = admin.json("token list --group default");
    let names: Vec<&Value> = listed.as_array().unwrap().iter().map(|token| &token["name"]).collect();
    assert_eq!(names, ["ci", "cd"]);
    assert!(!listed.to_string().contains(secret));

    let id = created["id"].as_str().unwrap();
    assert_eq!(admin.json(&format!("token revoke {id}")), json!({}));
    assert_eq!(admin.json("token list --group default").as_array().unwrap().len(), 1);
    assert_eq!(admin.run(&format!("token revoke {id}")).code, Some(1));
}

#[test]
fn upstreams_are_set_signed_in_to_listed_and_deleted() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(&mut serve(dir.path()), 4);
    let admin = Admin { server: &server, dir: dir.path() };

    let set = admin.json("upstream set ghcr.io --url https://ghcr.example");
    assert_eq!(set["upstream"]["url"].as_str().unwrap().trim_end_matches('/'), "https://ghcr.example");
    let listed = admin.json("upstream list");
    assert!(listed.as_array().unwrap().iter().any(|upstream| upstream["host"] == "ghcr.io"), "{listed}");
    assert_eq!(admin.run("group update default --upstream docker.io --upstream ghcr.io").code, Some(0));

    let mut login = admin.command("upstream login default ghcr.io --username me --password-stdin --no-verify -o json");
    let stored = run(&mut login, "s3cret\n");
    assert_eq!(stored.json()["credential"]["username"], "me");
    assert!(!stored.stdout.contains("s3cret"));
    assert_eq!(admin.json("upstream logout default ghcr.io"), json!({}));

    assert_eq!(admin.run("upstream delete ghcr.io --yes").code, Some(1), "a group names it");
    assert_eq!(admin.run("group update default --upstream docker.io").code, Some(0));
    assert_eq!(admin.json("upstream delete ghcr.io --yes"), json!({}));
}

#[test]
fn an_empty_cache_has_figures_and_can_be_purged() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(&mut serve(dir.path()), 4);
    let admin = Admin { server: &server, dir: dir.path() };

    let stats = json!({"images": 0, "manifests": 0, "blobs": 0, "bytes": 0, "hits": 0, "misses": 0});
    assert_eq!(admin.json("cache stats default"), stats);
    assert_eq!(admin.json("cache list default"), json!([]));
    let quiet = admin.run("cache list default");
    assert_eq!((quiet.stdout.as_str(), quiet.stderr.as_str()), ("", "Nothing cached.\n"));
    let purged = json!({"tags": 0, "manifests": 0, "blobs": 0, "bytes": 0, "groups": 0, "unreached_nodes": []});
    assert_eq!(admin.json("cache purge default --image alpine --older-than 30d"), purged);
    let dry = admin.run("cache purge default --dry-run").stdout;
    assert!(dry.starts_with("Would remove:"), "{dry}");
}

#[test]
fn tags_are_pinned_and_prefetches_scheduled() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(&mut serve(dir.path()), 4);
    let admin = Admin { server: &server, dir: dir.path() };
    assert_eq!(admin.json("cache history default alpine:3"), json!([]));
    let nothing = admin.run("cache pin default alpine:3 --previous");
    assert!(nothing.code == Some(1) && nothing.stderr.contains("cache history default alpine:3"), "{nothing:?}");
    let digest = format!("sha256:{}", "0".repeat(64));
    assert_eq!(admin.json(&format!("cache pin default alpine:3 {digest}")), json!({}));
    assert_eq!(admin.json("cache unpin default alpine:3"), json!({}));

    // Nothing answers there: what is tried at once fails, what is stored untried or scheduled does not.
    let unused = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    assert_eq!(admin.run(&format!("upstream set docker.io --url http://{unused} --reserve 20%")).code, Some(0));
    let failed = admin.run("cache prefetch default alpine:3");
    assert_eq!((failed.code, failed.stdout.as_str()), (Some(1), ""), "{failed:?}");
    let untried = run(&mut admin.command("upstream login default docker.io --username me --password-stdin"), "s3cret");
    assert!(untried.code == Some(1) && untried.stderr.contains("--no-verify"), "{untried:?}");

    let made = admin.json("cache prefetch default alpine:3 --every 6h --platform linux/amd64");
    let id = made["schedule"]["id"].as_str().unwrap();
    assert_eq!(made["schedule"]["every"], "21600s");
    assert_eq!(admin.json("cache schedule list default")[0]["platforms"], json!(["linux/amd64"]));
    assert_eq!(admin.json(&format!("cache schedule delete {id}")), json!({}));
    assert_eq!(admin.json("cache schedule list default"), json!([]));
    assert_eq!(admin.json("upstream list")[0]["reserve_percent"], 20);
    assert_eq!(admin.run("upstream status").code, Some(0));
}

#[test]
fn refusals_are_one_line_with_exit_code_1() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(&mut serve(dir.path()), 4);
    let admin = Admin { server: &server, dir: dir.path() };
    for (line, says) in [
        ("group get nobody", "nobody"),
        ("group create default", "default"),
        ("group create bad//path", "path"),
        ("group create acme --anonymous-pull", "anonymous"),
        ("cache stats nobody", "nobody"),
        ("upstream set ghcr.io --url ftp://nowhere", "url"),
        ("group list --token rs_adm_wrong", "does not accept the token from --token or ROADSTEAD_TOKEN"),
    ] {
        let done = admin.run(line);
        assert_eq!((done.code, done.stdout.as_str()), (Some(1), ""), "{line}: {done:?}");
        assert!(done.stderr.starts_with("error: ") && done.stderr.lines().count() == 1, "{line}: {done:?}");
        assert!(done.stderr.to_lowercase().contains(&says.to_lowercase()), "{line}: {done:?}");
    }
}

#[test]
fn a_taken_port_is_named_with_its_flag() {
    let dir = tempfile::tempdir().unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    for flag in ["--listen", "--control-listen", "--metrics-listen"] {
        let mut command = roadstead();
        command.args(["serve", "--data-dir"]).arg(dir.path());
        for other in ["--listen", "--control-listen", "--metrics-listen"] {
            command.args([other, if other == flag { &address } else { "127.0.0.1:0" }]);
        }
        let done = run(&mut command, "");
        assert_eq!(done.code, Some(1), "{done:?}");
        assert!(done.stderr.contains(&format!("error: {flag} {address}: ")), "{done:?}");
    }
}

#[test]
fn a_certificate_that_is_none_is_a_bad_setting() {
    let dir = tempfile::tempdir().unwrap();
    let done = run(serve(dir.path()).args(["--tls-cert", "/no/cert.pem", "--tls-key", "/no/key.pem"]), "");
    assert_eq!(done.code, Some(2), "{done:?}");
    assert!(done.stderr.contains("--tls-cert /no/cert.pem: "), "{done:?}");
}

#[test]
fn a_node_of_its_own_joins_by_its_token() {
    let dir = tempfile::tempdir().unwrap();
    let mut control = roadstead();
    control.args(["control", "--control-listen", "127.0.0.1:0", "--metrics-listen", "127.0.0.1:0", "--data-dir"]);
    let mut control = Server::start(control.arg(dir.path()), 2);
    let url = format!("http://{}", control.addresses[0]);
    let mut create = roadstead();
    create.args(["token", "create", "--node", "--name", "node-1", "-o", "json", "--control", &url, "--data-dir"]);
    let token = run(create.arg(dir.path()), "").json()["token"].as_str().unwrap().to_owned();

    let node_dir = tempfile::tempdir().unwrap();
    let mut node = roadstead();
    node.args(["dataplane", "--control", &url, "--listen", "127.0.0.1:0", "--metrics-listen", "127.0.0.1:0"]);
    let mut node = Server::start(node.env("ROADSTEAD_NODE_TOKEN", &token).arg("--data-dir").arg(node_dir.path()), 2);
    let (head, _) = get(node.addresses[1], "/readyz");
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    let (head, _) = get(node.addresses[0], "/v2/");
    assert!(head.starts_with("HTTP/1.1 401 "), "{head}");

    // A control plane with nodes that watch it stops all the same, and in time.
    control.signal(Signal::TERM);
    assert_eq!(control.wait(), Some(0));
    node.signal(Signal::TERM);
    assert_eq!(node.wait(), Some(0));
}

#[test]
fn a_second_signal_stops_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let mut server = Server::start(&mut serve(dir.path()), 4);
    let token = std::fs::read_to_string(dir.path().join("admin-token")).unwrap();
    // A call that has begun and never ends: its body is announced, and does not come.
    let mut socket = TcpStream::connect(server.addresses[1]).unwrap();
    let head = format!(
        "POST /roadstead.v1.GroupService/ListGroups HTTP/1.1\r\nHost: control\r\nContent-Type: application/grpc\r\n\
         Authorization: Bearer {}\r\nContent-Length: 100\r\nExpect: 100-continue\r\n\r\n",
        token.trim()
    );
    socket.write_all(head.as_bytes()).unwrap();
    // The interim answer comes when the call waits for its body.
    socket.read_exact(&mut [0; 12]).unwrap();

    server.signal(Signal::TERM);
    let (head, reason) = eventually_not_ready(&server);
    assert!(head.starts_with("HTTP/1.1 503 ") && reason.contains("stopping"), "{head} {reason}");
    server.signal(Signal::TERM);
    let asked = Instant::now();
    assert_eq!(server.wait(), Some(1));
    assert!(asked.elapsed() < Duration::from_secs(3), "{:?}", asked.elapsed());
}

/// Returns the first answer of `/readyz` that is not 200.
fn eventually_not_ready(server: &Server) -> (String, String) {
    loop {
        let answer = get(server.addresses[2], "/readyz");
        if !answer.0.starts_with("HTTP/1.1 200 ") {
            return answer;
        }
    }
}
