//! The ways of CI systems and scripts: variables for jobs, the REST calls of GitLab's scripts, and grpcurl with tokens of
//! several rights.

use http::Method;
use roadstead_proto::v1::{Role, Visibility};
use roadstead_tests::{
    api::PULL,
    client::{self, Answer},
    cluster::{Cluster, ClusterOptions},
    engines::{DockerEngine, grpcurl},
    hub::{AuthMode, Hub, HubOptions, Kind, When},
    image::Image,
    process::{Finished, run_command},
};
use serde_json::{Value, json};

use crate::{open_pair, soon};

const PASSWORD: &str = "correct horse battery";

/// `ci-env` with a token, as a job would call it.
async fn ci_env(cluster: &Cluster, token: &str, arguments: &[&str]) -> Finished {
    let mut command = cluster.command(&[&["ci-env"], arguments].concat());
    command.args(["--control", &format!("http://{}", cluster.control)]).env("ROADSTEAD_TOKEN", token);
    run_command(command.into(), "").await
}

#[tokio::test]
async fn a_job_logs_in_and_pulls_by_what_ci_env_prints() {
    let (hub, cluster) = open_pair().await;
    hub.push("library/app", "latest", &Image::small(1));
    let admin = cluster.admin();
    admin.group("acme", Visibility::Private, false).await;
    admin.group("acme/backend", Visibility::Private, false).await;
    let token = admin.access("acme", Role::Maintainer, &["api"]).await.token;
    let engine = DockerEngine::start().await;
    let script = r#"
        set -eu
        eval "$("$ROADSTEAD" ci-env "$GROUP")"
        echo "$CI_DEPENDENCY_PROXY_PASSWORD" |
            docker login --username "$CI_DEPENDENCY_PROXY_USER" --password-stdin "$CI_DEPENDENCY_PROXY_SERVER"
        docker pull "$CI_DEPENDENCY_PROXY_DIRECT_GROUP_IMAGE_PREFIX/app:latest"
        [ "$GROUP" != acme ] || docker pull "$CI_DEPENDENCY_PROXY_GROUP_IMAGE_PREFIX/app:latest"
        echo "$CI_DEPENDENCY_PROXY_SERVER $CI_DEPENDENCY_PROXY_GROUP_IMAGE_PREFIX $CI_DEPENDENCY_PROXY_DIRECT_GROUP_IMAGE_PREFIX"
    "#;
    for group in ["acme", "acme/backend"] {
        let mut command = tokio::process::Command::new("sh");
        command.args(["-c", script]).env("GROUP", group).env("ROADSTEAD", roadstead_tests::cluster::executable());
        command.env("ROADSTEAD_CONTROL", format!("http://{}", cluster.control)).env("ROADSTEAD_TOKEN", &token);
        command.env("DOCKER_HOST", format!("unix://{}", engine.path("d.sock").display()));
        command.env("DOCKER_CONFIG", engine.path("config")).env("DOCKER_BUILDKIT", "0");
        let printed = run_command(command, "").await.ok();
        // The port is always part of it when it is not 443.
        let (server, infix) = (cluster.registry, "dependency_proxy/containers");
        let expected = format!("{server} {server}/acme/{infix} {server}/{group}/{infix}");
        assert_eq!(printed.lines().last(), Some(expected.as_str()), "{printed}");
    }
    assert_eq!(hub.count(&When::get(Kind::Manifest)), 1, "{}", hub.log());
}

#[tokio::test]
async fn ci_env_writes_for_each_ci_system_and_needs_a_token_that_may_change_the_group() {
    let cluster = Cluster::start_bare(ClusterOptions::default()).await;
    let admin = cluster.admin();
    admin.group("acme", Visibility::Private, false).await;
    let token = admin.deploy("acme", &["api"]).await.token;
    let names = ["SERVER", "USER", "PASSWORD", "GROUP_IMAGE_PREFIX", "DIRECT_GROUP_IMAGE_PREFIX"];
    for format in ["shell", "dotenv", "gitlab", "github"] {
        let printed = ci_env(&cluster, &token, &["acme", "--format", format]).await.ok();
        for name in names {
            assert!(printed.contains(&format!("CI_DEPENDENCY_PROXY_{name}")), "{name} in {format}: {printed}");
        }
    }
    for (what, scopes) in [("pulls", &PULL[..]), ("reads", &["read_api"])] {
        let token = admin.deploy("acme", scopes).await.token;
        let refused = ci_env(&cluster, &token, &["acme"]).await;
        assert!(refused.stdout.is_empty(), "{what}: {}", refused.stdout);
        refused.failed();
    }
    let guest = admin.access("acme", Role::Guest, &["api"]).await.token;
    ci_env(&cluster, &guest, &["acme"]).await.failed();
}

#[tokio::test]
async fn the_port_is_left_out_of_the_prefix_only_where_it_is_443() {
    for (url, server) in [
        ("https://images.example", "images.example"),
        ("https://images.example:443", "images.example"),
        ("https://images.example:8443", "images.example:8443"),
        ("http://images.example", "images.example:80"),
    ] {
        let arguments = ["--external-url", url].map(str::to_owned).to_vec();
        let cluster = Cluster::start_bare(ClusterOptions { arguments, ..ClusterOptions::default() }).await;
        let told = cluster.cli_json(&["ci-env", "default"]).await;
        assert_eq!(told["CI_DEPENDENCY_PROXY_SERVER"], server, "{url}: {told}");
        let prefix = format!("{server}/default/dependency_proxy/containers");
        assert_eq!(told["CI_DEPENDENCY_PROXY_GROUP_IMAGE_PREFIX"], prefix.as_str(), "{url}");
    }
}

/// A call of a script that was written against GitLab.
async fn rest(cluster: &Cluster, method: Method, token: (&str, &str), path: &str, body: Option<Value>) -> Answer {
    let mut request = client::http().request(method, format!("http://{}/api/v4/groups/{path}", cluster.control));
    if !token.0.is_empty() {
        request = request.header(token.0, token.1);
    }
    if let Some(body) = body {
        request = request.header("content-type", "application/json").body(body.to_string());
    }
    client::read(request.send().await).await.unwrap()
}

#[tokio::test]
async fn scripts_written_against_gitlab_purge_and_set() {
    let (hub, cluster) = open_pair().await;
    hub.push("library/app", "latest", &Image::small(1));
    let admin = cluster.admin();
    admin.group("acme", Visibility::Private, false).await;
    admin.group("acme/backend", Visibility::Private, false).await;
    admin.group("other", Visibility::Private, false).await;
    let client = cluster.client("acme/backend", &admin.deploy("acme/backend", &PULL).await);
    let pull_only = admin.deploy("acme", &PULL).await.token;
    let stranger = admin.deploy("other", &["api"]).await.token;
    let service = admin.service("acme").await.token;
    let owner = admin.access("acme", Role::Owner, &["api"]).await.token;
    let cache = "acme%2Fbackend/dependency_proxy/cache";
    for (what, token, path, status) in [
        ("nobody", ("", ""), cache, 401),
        ("a wrong token", ("PRIVATE-TOKEN", "rs_nonsense"), cache, 401),
        ("who only pulls", ("PRIVATE-TOKEN", pull_only.as_str()), cache, 403),
        ("a stranger", ("PRIVATE-TOKEN", &stranger), cache, 404),
        ("no such group", ("PRIVATE-TOKEN", &owner), "nowhere/dependency_proxy/cache", 404),
    ] {
        let answer = rest(&cluster, Method::DELETE, token, path, None).await;
        assert_eq!(answer.status.as_u16(), status, "{what}: {answer:?}");
        assert!(answer.json()["message"].as_str().unwrap().starts_with(&status.to_string()), "{what}: {answer:?}");
    }
    let bearer = format!("Bearer {owner}");
    for token in [("PRIVATE-TOKEN", service.as_str()), ("PRIVATE-TOKEN", &owner), ("authorization", &bearer)] {
        client.manifest("app", "latest").await.expect(200);
        rest(&cluster, Method::DELETE, token, cache, None).await.expect(202);
        hub.forget_requests();
        soon(200, || client.manifest("app", "latest")).await;
        let digest = client.manifest("app", "latest").await.header("docker-content-digest").to_owned();
        client.manifest("app", &digest).await.expect(200);
        assert_eq!(hub.count(&When::get(Kind::Manifest)), 1, "it was purged:\n{}", hub.log());
    }
    let settings = "acme%2Fbackend/dependency_proxy/settings";
    let by_owner = ("PRIVATE-TOKEN", owner.as_str());
    let read = async || rest(&cluster, Method::GET, by_owner, settings, None).await.expect(200).json();
    assert_eq!(read().await["enabled"], true);
    let change =
        json!({ "enabled": false, "ttl": 30, "identity": "hub-user", "secret": "hub-secret-1", "verify": false });
    let changed = rest(&cluster, Method::PUT, by_owner, settings, Some(change)).await.expect(200);
    assert!(!String::from_utf8_lossy(&changed.body).contains("hub-secret-1"));
    let now = read().await;
    assert_eq!((&now["enabled"], &now["ttl"], &now["identity"]), (&json!(false), &json!(30), &json!("hub-user")));
    soon(403, || client.manifest("app", "latest")).await.expect_error(403, "DENIED");
    let refused = rest(&cluster, Method::PUT, ("PRIVATE-TOKEN", &pull_only), settings, Some(json!({}))).await;
    assert_eq!(refused.status, 403, "{refused:?}");
    let url = format!("http://{}/openapi.json", cluster.control);
    let described = client::read(client::http().get(url).send().await).await.unwrap().expect(200).json();
    for path in ["/api/v4/groups/{id}/dependency_proxy/cache", "/api/v4/groups/{id}/dependency_proxy/settings"] {
        assert!(described["paths"][path].is_object(), "{path}");
    }
}

#[tokio::test]
async fn grpcurl_and_the_command_line_do_what_a_token_may() {
    let cluster = Cluster::start_bare(ClusterOptions::default()).await;
    cluster.cli_with_input(&["user", "create", "alice", "--password-stdin"], PASSWORD).await.ok();
    cluster.cli(&["group", "create", "acme"]).await.ok();
    cluster.cli(&["member", "add", "acme", "alice", "--role", "maintainer"]).await.ok();
    let personal = cluster.cli_json(&["token", "create", "--user", "alice", "--name", "ci", "--scope", "api"]).await;
    let job = cluster.admin().job("acme").await.token;
    let node = cluster.admin().node().await.token;
    let control = cluster.control.to_string();
    for (method, request, alice, of_job, of_node) in [
        ("GroupService/GetGroup", json!({"path": "acme"}), true, false, false),
        ("GroupService/UpdateGroup", json!({"path": "acme", "frozen": true}), true, false, false),
        ("CacheService/PurgeCache", json!({"whole_group": "acme"}), true, false, false),
        ("TokenService/CreateJobToken", json!({"group_path": "acme"}), true, false, false),
        ("UserService/GetUser", json!({"name": "alice"}), true, false, false),
        ("UserService/ListUsers", json!({}), false, false, false),
        (
            "MemberService/UpdateMember",
            json!({"group_path": "acme", "user": "alice", "role": "ROLE_OWNER"}),
            false,
            false,
            false,
        ),
        ("GroupService/DeleteGroup", json!({"path": "acme"}), false, false, false),
        ("GroupService/CreateGroup", json!({"path": "mine"}), false, false, false),
        (
            "UpstreamService/UpdateUpstream",
            json!({"host": "x.example", "url": "https://x.example", "allow_missing": true}),
            false,
            false,
            false,
        ),
        ("OidcService/CreateIssuer", json!({"url": "https://gitlab.example"}), false, false, false),
        ("AuditService/ListEvents", json!({}), false, false, false),
    ] {
        let method = format!("roadstead.v1.{method}");
        for (token, may) in [(personal["token"].as_str().unwrap(), alice), (&job, of_job), (&node, of_node)] {
            let called = grpcurl(&control, token, &method, &request.to_string()).await;
            assert_eq!(called.code == 0, may, "{method}: {called:?}");
        }
    }
    // What the command line says when it is refused.
    let mut command = cluster.command(&["group", "delete", "acme", "--yes", "--control", &format!("http://{control}")]);
    command.env("ROADSTEAD_TOKEN", personal["token"].as_str().unwrap());
    let refused = run_command(command.into(), "").await.failed();
    assert!(refused.contains("owner"), "{refused}");
}

#[tokio::test]
async fn the_audit_tells_what_was_done_by_whom_from_where_and_what_was_refused() {
    let hub = Hub::start_with(HubOptions { auth: AuthMode::Open, ..HubOptions::default() }).await;
    let cluster = Cluster::start(&hub).await;
    cluster.cli(&["group", "create", "acme"]).await.ok();
    cluster.cli_with_input(&["user", "create", "alice", "--password-stdin"], PASSWORD).await.ok();
    cluster.cli(&["member", "add", "acme", "alice", "--role", "guest"]).await.ok();
    let token = cluster.create_token("acme").await;
    cluster.cli(&["token", "revoke", &token.id]).await.ok();
    cluster.client("acme", &token).sign_in("app").await.expect(401);
    let wrong = client::Client::new(&cluster.url(), "acme", Some(("alice".into(), "not her password".into())));
    wrong.sign_in("app").await.expect(401);
    cluster.cli(&["member", "remove", "acme", "alice"]).await.ok();
    let refused = cluster.api(&cluster.admin().deploy("acme", &PULL).await.token);
    let delete = roadstead_proto::v1::DeleteGroupRequest { path: "acme".into() };
    refused.groups.clone().delete_group(delete).await.unwrap_err();
    let listed = cluster.cli_json(&["audit", "list", "--since", "1h"]).await;
    let events = listed.as_array().unwrap();
    let has = |action: &str, subject: &str, actor: &str, outcome: &str| {
        events.iter().any(|event| {
            let is = |field: &str, expected: &str| event[field].as_str().unwrap_or_default().contains(expected);
            is("action", action) && is("subject", subject) && is("actor", actor) && is("outcome", outcome)
        })
    };
    for (action, subject, actor, outcome) in [
        ("group.create", "acme", "admin", "DONE"),
        ("user.create", "alice", "admin", "DONE"),
        ("member.", "alice", "admin", "DONE"),
        ("token.create", "", "admin", "DONE"),
        ("token.delete", "", "admin", "DONE"),
        ("sign_in", "", &token.username, "REFUSED"),
        ("sign_in", "", "alice", "REFUSED"),
        ("group.delete", "acme", "token", "REFUSED"),
    ] {
        assert!(has(action, subject, actor, outcome), "{action} of {subject} by {actor}: {listed:#}");
    }
    let from = events.iter().filter(|event| event["action"] == "sign_in").map(|event| event["client_address"].clone());
    assert!(from.into_iter().all(|address| address == "127.0.0.1"), "{listed:#}");
    for secret in [&token.token, PASSWORD, "not her password"] {
        assert!(!listed.to_string().contains(secret), "{secret}");
    }
    // Owners see their group's, and nobody else's.
    let admin = cluster.admin();
    admin.group("other", Visibility::Private, false).await;
    let owner = admin.access("acme", Role::Owner, &["read_api"]).await.token;
    let list = |group: &str| json!({ "group_path": group }).to_string();
    let method = "roadstead.v1.AuditService/ListEvents";
    let control = cluster.control.to_string();
    assert!(grpcurl(&control, &owner, method, &list("acme")).await.ok().contains("group.create"));
    grpcurl(&control, &owner, method, &list("other")).await.failed();
    grpcurl(&control, &owner, method, &list("")).await.failed();
}
