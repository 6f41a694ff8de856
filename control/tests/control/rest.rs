//! The REST shim, as scripts written against GitLab call it.

use axum::body::{Body, to_bytes};
use http::{Method, Request, StatusCode, header::CONTENT_TYPE};
use roadstead_proto::v1::{GetStatsRequest, ListEventsRequest, UpdateGroupRequest};
use serde_json::{Value, json};
use tower::ServiceExt as _;

use crate::harness::{ADMIN_TOKEN, Plane};

const JSON: &str = "application/json";
const FORM: &str = "application/x-www-form-urlencoded";

struct Answer {
    status: StatusCode,
    body: Value,
}

async fn call(plane: &Plane, method: Method, path: &str, token: Option<&str>, body: Option<(&str, String)>) -> Answer {
    let mut request = Request::builder().method(method).uri(path);
    if let Some(token) = token {
        request = request.header("PRIVATE-TOKEN", token);
    }
    let body = match body {
        Some((kind, text)) => {
            request = request.header(CONTENT_TYPE, kind);
            Body::from(text)
        }
        None => Body::empty(),
    };
    send(plane, request.body(body).unwrap()).await
}

async fn send(plane: &Plane, request: Request<Body>) -> Answer {
    let response = plane.control.router().oneshot(request).await.unwrap();
    let status = response.status();
    let bytes = to_bytes(response.into_body(), 1 << 20).await.unwrap();
    let body = if bytes.is_empty() { Value::Null } else { serde_json::from_slice(&bytes).unwrap() };
    Answer { status, body }
}

async fn put(plane: &Plane, token: &str, change: Value) -> Answer {
    let path = "/api/v4/groups/acme/dependency_proxy/settings";
    call(plane, Method::PUT, path, Some(token), Some((JSON, change.to_string()))).await
}

async fn get(plane: &Plane, token: &str) -> Value {
    let answer = call(plane, Method::GET, "/api/v4/groups/acme/dependency_proxy/settings", Some(token), None).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
    answer.body
}

async fn blobs(plane: &Plane, path: &str) -> i64 {
    let request = GetStatsRequest { group_path: path.into() };
    plane.admin().cache.get_stats(request).await.unwrap().into_inner().blobs
}

#[tokio::test]
async fn the_id_of_a_hidden_group_is_answered_like_one_that_nothing_has() {
    let plane = Plane::start().await;
    plane.group("other").await;
    let stranger = plane.token("other", &["api"]).await.token;
    let hidden = plane.group("acme").await;
    let answer = async |id: &str| {
        let path = format!("/api/v4/groups/{id}/dependency_proxy/settings");
        call(&plane, Method::GET, &path, Some(&stranger), None).await
    };
    let (hidden, nothing) = (answer(&hidden.id).await, answer("0190").await);
    assert_eq!((hidden.status, &hidden.body), (StatusCode::NOT_FOUND, &nothing.body));
}

#[tokio::test]
async fn a_purge_answers_as_gitlab_does() {
    let plane = Plane::start().await;
    let group = plane.group("acme/ci").await;
    plane.group("other").await;
    let purge = plane.token("acme/ci", &["purge"]).await.token;
    let pull = plane.token("acme/ci", &["read_registry", "write_registry"]).await.token;
    let other = plane.token("other", &["purge"]).await.token;
    let path = "/api/v4/groups/acme%2Fci/dependency_proxy/cache";
    for (path, token, status, message) in [
        (path, None, 401, "401 Unauthorized"),
        (path, Some("rs_dep_wrong"), 401, "401 Unauthorized"),
        (path, Some(&*pull), 403, "403 Forbidden"),
        // A private group of others reads like one that is not there.
        (path, Some(&*other), 404, "404 Group Not Found"),
        ("/api/v4/groups/nothing/dependency_proxy/cache", Some(ADMIN_TOKEN), 404, "404 Group Not Found"),
        ("/api/v4/groups/-/dependency_proxy/cache", Some(ADMIN_TOKEN), 400, "400 Bad Request"),
        ("/api/v4/groups/acme/ci/dependency_proxy/cache", Some(ADMIN_TOKEN), 404, "404 Not Found"),
    ] {
        plane.node().link_blob(&group, "library/a", "b1", 1).await;
        let answer = call(&plane, Method::DELETE, path, token, None).await;
        assert_eq!(answer.status.as_u16(), status, "{path} {token:?} {}", answer.body);
        assert_eq!(answer.body["message"], message, "{path} {token:?}");
        assert!(answer.body["error"].as_str().is_some_and(|why| !why.is_empty()), "{path} {token:?}");
        assert_eq!(blobs(&plane, "acme/ci").await, 1);
    }
    for (path, token) in
        [(path.to_owned(), &*purge), (format!("/api/v4/groups/{}/dependency_proxy/cache", group.id), ADMIN_TOKEN)]
    {
        plane.node().link_blob(&group, "library/a", "b1", 1).await;
        let answer = call(&plane, Method::DELETE, &path, Some(token), None).await;
        assert_eq!((answer.status, answer.body), (StatusCode::ACCEPTED, Value::Null), "{path}");
        assert_eq!(blobs(&plane, "acme/ci").await, 0);
    }
    let request = Request::delete(path).header("authorization", format!("Bearer {purge}")).body(Body::empty()).unwrap();
    assert_eq!(send(&plane, request).await.status, StatusCode::ACCEPTED);
}

#[tokio::test]
async fn settings_are_read_and_changed_one_by_one() {
    let plane = Plane::start().await;
    plane.group("acme").await;
    let api = plane.token("acme", &["api"]).await.token;
    let fresh = json!({"enabled": true, "identity": null, "ttl_enabled": false, "ttl": 90});
    assert_eq!(get(&plane, &api).await, fresh);
    for (change, expected) in [
        (json!({"enabled": false}), json!({"enabled": false, "identity": null, "ttl_enabled": false, "ttl": 90})),
        (json!({"ttl_enabled": true}), json!({"enabled": false, "identity": null, "ttl_enabled": true, "ttl": 90})),
        (json!({"ttl": 30}), json!({"enabled": false, "identity": null, "ttl_enabled": true, "ttl": 30})),
        (
            json!({"identity": "me", "secret": "hub-secret", "verify": false, "enabled": true}),
            json!({"enabled": true, "identity": "me", "ttl_enabled": true, "ttl": 30}),
        ),
        (json!({"ttl_enabled": false}), json!({"enabled": true, "identity": "me", "ttl_enabled": false, "ttl": 90})),
        (json!({"identity": "", "secret": ""}), fresh.clone()),
        (json!({}), fresh.clone()),
    ] {
        let answer = put(&plane, &api, change.clone()).await;
        assert_eq!((answer.status, &answer.body), (StatusCode::OK, &expected), "{change}");
        assert_eq!(get(&plane, &api).await, expected, "{change}");
    }
    let path = "/api/v4/groups/acme/dependency_proxy/settings";
    let form = Some((FORM, "enabled=false&ttl=7".to_owned()));
    let answer = call(&plane, Method::PUT, path, Some(&api), form).await;
    assert_eq!(answer.body, json!({"enabled": false, "identity": null, "ttl_enabled": true, "ttl": 7}));
}

#[tokio::test]
async fn what_cannot_be_changes_nothing_and_no_secret_is_repeated() {
    let plane = Plane::start().await;
    plane.group("acme").await;
    let api = plane.token("acme", &["api"]).await.token;
    let read = plane.token("acme", &["read_api"]).await.token;
    let before = get(&plane, &api).await;
    for (change, status) in [
        (json!({"enabled": "yes"}), 400),
        (json!({"enabeld": false}), 400),
        (json!({"identity": "me", "enabled": false}), 400),
        (json!({"secret": "hub-secret", "enabled": false}), 400),
        (json!({"identity": "me", "secret": "hub-secret".repeat(30), "enabled": false}), 400),
        (json!({"ttl": 0, "enabled": false}), 400),
        (json!({"ttl": 100_000, "enabled": false}), 400),
        (json!({"ttl": 100_000, "identity": "me", "secret": "hub-secret", "verify": false}), 400),
    ] {
        let answer = put(&plane, &api, change.clone()).await;
        assert_eq!(answer.status.as_u16(), status, "{change} {}", answer.body);
        assert!(!answer.body.to_string().contains("hub-secret"), "{}", answer.body);
        assert_eq!(get(&plane, &api).await, before, "{change}");
    }
    assert_eq!(put(&plane, &read, json!({"enabled": false})).await.status, StatusCode::FORBIDDEN);
    assert_eq!(get(&plane, &api).await, before);
    let path = "/api/v4/groups/acme/dependency_proxy/settings";
    let answer = call(&plane, Method::POST, path, Some(&api), None).await;
    assert_eq!(answer.status, StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(answer.body["message"], "405 Not Allowed");
}

#[tokio::test]
async fn calls_by_rest_are_in_the_audit_like_any_other() {
    let plane = Plane::start().await;
    let group = plane.group("acme").await;
    let pull = plane.token("acme", &["read_registry", "write_registry"]).await.token;
    plane.node().link_blob(&group, "library/a", "b1", 1).await;
    let path = "/api/v4/groups/acme/dependency_proxy/cache";
    call(&plane, Method::DELETE, path, Some(&pull), None).await;
    call(&plane, Method::DELETE, path, Some(ADMIN_TOKEN), None).await;
    let request = ListEventsRequest { group_path: "acme".into(), ..Default::default() };
    let events = plane.admin().audit.list_events(request).await.unwrap().into_inner().events;
    let purges: Vec<_> = events
        .iter()
        .filter(|event| event.action == "cache.purge")
        .map(|event| event.outcome().as_str_name())
        .collect();
    assert_eq!(purges, ["AUDIT_OUTCOME_DONE", "AUDIT_OUTCOME_REFUSED"]);
}

#[tokio::test]
async fn the_description_names_exactly_the_calls_there_are() {
    let plane = Plane::start().await;
    plane.group("acme").await;
    let answer = call(&plane, Method::GET, "/openapi.json", None, None).await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(answer.body["info"]["version"], env!("CARGO_PKG_VERSION"));
    let mut described = Vec::new();
    for (path, item) in answer.body["paths"].as_object().unwrap() {
        for method in ["get", "put", "post", "patch", "delete"] {
            let uri = path.replace("{id}", "acme");
            let method_name: Method = method.to_uppercase().parse().unwrap();
            let body = (method == "put").then(|| (JSON, "{}".to_owned()));
            let status = call(&plane, method_name, &uri, Some(ADMIN_TOKEN), body).await.status;
            match item.get(method) {
                Some(operation) => {
                    assert!(status.is_success(), "{method} {path}: {status}");
                    let told = operation["responses"].as_object().unwrap();
                    assert!(told.contains_key(status.as_str()), "{method} {path}: {status} is not described");
                    described.push(format!("{method} {path}"));
                }
                None => assert_eq!(status, StatusCode::METHOD_NOT_ALLOWED, "{method} {path}"),
            }
        }
    }
    described.sort();
    assert_eq!(
        described,
        [
            "delete /api/v4/groups/{id}/dependency_proxy/cache",
            "get /api/v4/groups/{id}/dependency_proxy/settings",
            "put /api/v4/groups/{id}/dependency_proxy/settings",
        ]
    );
}

#[tokio::test]
async fn a_change_by_rest_loses_no_other_setting() {
    let plane = Plane::start().await;
    plane.group("acme").await;
    let update = UpdateGroupRequest { path: "acme".into(), frozen: Some(true), ..Default::default() };
    plane.admin().groups.update_group(update).await.unwrap();
    put(&plane, ADMIN_TOKEN, json!({"enabled": false})).await;
    let request = roadstead_proto::v1::GetGroupRequest { path: "acme".into() };
    let group = plane.admin().groups.get_group(request).await.unwrap().into_inner().group.unwrap();
    assert_eq!((group.frozen, group.enabled), (true, false));
}
