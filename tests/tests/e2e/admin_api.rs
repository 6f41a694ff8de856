//! The control port, asked as anybody would ask it: by grpcurl, with reflection.

use roadstead_tests::{
    cluster::{Cluster, ClusterOptions},
    engines::grpcurl,
    process::Finished,
};
use serde_json::{Value, json};

async fn serve() -> Cluster {
    Cluster::start_bare(ClusterOptions::default()).await
}

/// Calls a method of `roadstead.v1` as the administrator.
async fn call(cluster: &Cluster, method: &str, request: &Value) -> Finished {
    as_token(cluster, &cluster.admin_token(), method, request).await
}

async fn as_token(cluster: &Cluster, token: &str, method: &str, request: &Value) -> Finished {
    grpcurl(&cluster.control.to_string(), token, &format!("roadstead.v1.{method}"), &request.to_string()).await
}

/// Asserts that a call was refused with this status; answers what was said.
#[track_caller]
fn refused(finished: Finished, code: u64) -> Value {
    let said = finished.failed();
    let start = said.find('{').unwrap_or_else(|| panic!("no status in {said}"));
    let status: Value = serde_json::from_str(said[start..].trim()).unwrap_or_else(|error| panic!("{error}: {said}"));
    assert_eq!(status["code"], code, "{said}");
    status
}

const INVALID_ARGUMENT: u64 = 3;
const NOT_FOUND: u64 = 5;
const ALREADY_EXISTS: u64 = 6;
const PERMISSION_DENIED: u64 = 7;
const ABORTED: u64 = 10;
const UNAUTHENTICATED: u64 = 16;

#[tokio::test]
async fn reflection_and_health_need_no_token() {
    let cluster = serve().await;
    let address = cluster.control.to_string();
    let services = grpcurl(&address, "", "list", "").await.ok();
    for service in [
        "grpc.health.v1.Health",
        "roadstead.v1.GroupService",
        "roadstead.v1.TokenService",
        "roadstead.v1.UpstreamService",
        "roadstead.v1.CacheService",
        "roadstead.node.v1.NodeService",
    ] {
        assert!(services.lines().any(|line| line == service), "{service} in {services}");
    }
    let described = grpcurl(&address, "", "describe roadstead.v1.Group", "").await.ok();
    assert!(described.contains("max_age"), "{described}");
    let health = grpcurl(&address, "", "grpc.health.v1.Health/Check", "{}").await.ok();
    assert!(health.contains("SERVING") && !health.contains("NOT_SERVING"), "{health}");
}

#[tokio::test]
async fn every_service_wants_a_good_token() {
    let cluster = serve().await;
    let address = cluster.control.to_string();
    for method in [
        "roadstead.v1.GroupService/ListGroups",
        "roadstead.v1.TokenService/ListTokens",
        "roadstead.v1.UpstreamService/ListUpstreams",
        "roadstead.v1.CacheService/GetStats",
        "roadstead.node.v1.NodeService/Watch",
    ] {
        for token in ["", "junk", "rs_adm_0000000000000000000000000000000000000000000000000"] {
            refused(grpcurl(&address, token, method, "{}").await, UNAUTHENTICATED);
        }
    }
}

#[tokio::test]
async fn a_token_may_do_only_what_it_is_for() {
    let cluster = serve().await;
    cluster.create_group("acme").await;
    cluster.create_group("other").await;
    let arguments = ["token", "create", "--group", "acme", "--name", "api", "--scope", "api"];
    let api = cluster.cli_json(&arguments).await["token"].as_str().unwrap().to_owned();
    let pull = cluster.create_token("acme").await.token;
    let node =
        cluster.cli_json(&["token", "create", "--node", "--name", "n"]).await["token"].as_str().unwrap().to_owned();

    as_token(&cluster, &api, "GroupService/GetGroup", &json!({"path": "acme"})).await.ok();
    refused(as_token(&cluster, &api, "GroupService/CreateGroup", &json!({"path": "new"})).await, PERMISSION_DENIED);
    refused(as_token(&cluster, &pull, "GroupService/UpdateGroup", &json!({"path": "acme"})).await, PERMISSION_DENIED);
    let other = as_token(&cluster, &api, "GroupService/GetGroup", &json!({"path": "other"})).await.failed();
    let nowhere = as_token(&cluster, &api, "GroupService/GetGroup", &json!({"path": "nowhere"})).await.failed();
    assert_eq!(
        other.replace("other", "X"),
        nowhere.replace("nowhere", "X"),
        "a private group cannot be told from none"
    );
    refused(as_token(&cluster, &node, "GroupService/ListGroups", &json!({})).await, PERMISSION_DENIED);
    for token in [&cluster.admin_token(), &api] {
        let asked =
            grpcurl(&cluster.control.to_string(), token, "roadstead.node.v1.NodeService/ClaimGarbage", "{}").await;
        refused(asked, PERMISSION_DENIED);
    }
    let url = json!({"host": "evil.example", "url": "http://127.0.0.1:1"});
    refused(as_token(&cluster, &api, "UpstreamService/UpdateUpstream", &url).await, PERMISSION_DENIED);
}

#[tokio::test]
async fn what_is_not_there_and_what_is_taken_is_said() {
    let cluster = serve().await;
    cluster.create_group("acme").await;
    for (method, request) in [
        ("GroupService/GetGroup", json!({"path": "nowhere"})),
        ("GroupService/UpdateGroup", json!({"path": "nowhere", "frozen": true})),
        ("GroupService/DeleteGroup", json!({"path": "nowhere"})),
        ("TokenService/CreateToken", json!({"group_path": "nowhere", "name": "x"})),
        ("TokenService/DeleteToken", json!({"id": "01920c3e-0000-7000-8000-000000000000"})),
        ("CacheService/GetStats", json!({"group_path": "nowhere"})),
        ("CacheService/PurgeCache", json!({"whole_group": "nowhere"})),
        ("UpstreamService/DeleteUpstream", json!({"host": "nowhere.example"})),
    ] {
        refused(call(&cluster, method, &request).await, NOT_FOUND);
    }
    refused(call(&cluster, "GroupService/CreateGroup", &json!({"path": "acme"})).await, ALREADY_EXISTS);
}

#[tokio::test]
async fn bad_fields_are_named_one_by_one() {
    let cluster = serve().await;
    cluster.create_group("acme").await;
    for (method, request, field) in [
        ("GroupService/CreateGroup", json!({"path": "Not A Path"}), "path"),
        ("GroupService/CreateGroup", json!({}), "path"),
        ("GroupService/CreateGroup", json!({"path": "x", "max_age": "9999999s"}), "max_age"),
        ("GroupService/CreateGroup", json!({"path": "x", "upstreams": ["not a host"]}), "upstreams"),
        ("GroupService/ListGroups", json!({"page_size": -1}), "page_size"),
        ("GroupService/ListGroups", json!({"page_token": "junk"}), "page_token"),
        ("TokenService/CreateToken", json!({"group_path": "acme"}), "name"),
        ("TokenService/CreateToken", json!({"group_path": "acme", "name": "x", "scopes": ["everything"]}), "scopes"),
        ("TokenService/CreateToken", json!({"name": "x"}), "owner"),
        (
            "UpstreamService/UpdateUpstream",
            json!({"host": "a.example", "url": "ftp://a.example", "allow_missing": true}),
            "url",
        ),
        (
            "UpstreamService/UpdateUpstream",
            json!({"host": "a.example", "url": "https://u:p@a.example", "allow_missing": true}),
            "url",
        ),
        ("CacheService/PurgeCache", json!({"filter": {"group_path": "acme", "tag": "latest"}}), "tag"),
        ("CacheService/PurgeCache", json!({}), "scope"),
    ] {
        let status = refused(call(&cluster, method, &request).await, INVALID_ARGUMENT);
        let violations: Vec<String> = status["details"]
            .as_array()
            .into_iter()
            .flatten()
            .filter(|detail| detail["@type"] == "type.googleapis.com/google.rpc.BadRequest")
            .flat_map(violated_fields)
            .collect();
        assert!(violations.iter().any(|named| named.contains(field)), "{method} {request}: {field} in {violations:?}");
    }
}

/// The fields that a `google.rpc.BadRequest` names.
fn violated_fields(detail: &Value) -> Vec<String> {
    let violations = detail["fieldViolations"].as_array().expect("grpcurl to know the details by reflection");
    violations.iter().map(|violation| violation["field"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn an_update_with_an_old_etag_is_aborted() {
    let cluster = serve().await;
    cluster.create_group("acme").await;
    let group = call(&cluster, "GroupService/GetGroup", &json!({"path": "acme"})).await.ok();
    let etag = serde_json::from_str::<Value>(&group).unwrap()["group"]["etag"].as_str().unwrap().to_owned();
    call(&cluster, "GroupService/UpdateGroup", &json!({"path": "acme", "etag": etag, "frozen": true})).await.ok();
    let again = json!({"path": "acme", "etag": etag, "frozen": false});
    refused(call(&cluster, "GroupService/UpdateGroup", &again).await, ABORTED);
}

#[tokio::test]
async fn lists_come_in_pages() {
    let cluster = serve().await;
    for index in 0..5 {
        cluster.create_group(&format!("group-{index}")).await;
    }
    let (mut seen, mut page_token) = (Vec::new(), String::new());
    loop {
        let request = json!({"page_size": 2, "page_token": page_token});
        let page: Value =
            serde_json::from_str(&call(&cluster, "GroupService/ListGroups", &request).await.ok()).unwrap();
        let groups = page["groups"].as_array().unwrap();
        assert!(groups.len() <= 2, "{page}");
        seen.extend(groups.iter().map(|group| group["path"].as_str().unwrap().to_owned()));
        page_token = page["nextPageToken"].as_str().unwrap_or_default().to_owned();
        if page_token.is_empty() {
            break;
        }
    }
    assert_eq!(seen, ["default", "group-0", "group-1", "group-2", "group-3", "group-4"]);
}

#[tokio::test]
async fn the_registry_port_knows_nothing_of_the_control_port() {
    let cluster = serve().await;
    refused_by_registry(&grpcurl(&cluster.registry.to_string(), &cluster.admin_token(), "list", "").await);
    let asked =
        roadstead_tests::client::http().get(format!("{}/v2/", cluster.url())).bearer_auth(cluster.admin_token());
    roadstead_tests::client::read(asked.send().await).await.unwrap().expect_error(401, "UNAUTHORIZED");
}

#[track_caller]
fn refused_by_registry(finished: &Finished) {
    assert_ne!(finished.code, 0, "{finished:?}");
}
