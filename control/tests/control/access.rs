//! Every RPC by everybody who may call: what is refused, and that a private group of others looks like none.

use std::collections::BTreeSet;

use axum::body::Body;
use http::{Request, header::AUTHORIZATION};
use prost::Message as _;
use roadstead_proto::{DESCRIPTORS, ERROR_DOMAIN, ErrorReason, v1};
use secrecy::ExposeSecret as _;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;
use tower::ServiceExt as _;

use crate::{
    harness::{ADMIN_TOKEN, Plane, basic},
    rpcs::{Call, Needs, calls},
};

/// Calls by the bare protocol, so that what is not in a typed client can be called too.
async fn call(plane: &Plane, authorization: Option<&str>, rpc: &Call) -> Status {
    let mut body = vec![0];
    body.extend(u32::try_from(rpc.request.len()).unwrap().to_be_bytes());
    body.extend(&rpc.request);
    let mut request = Request::post(format!("/{}", rpc.method)).header("content-type", "application/grpc");
    if let Some(authorization) = authorization {
        request = request.header(AUTHORIZATION, authorization);
    }
    let answer = plane.control.router().oneshot(request.body(Body::from(body)).unwrap()).await.unwrap();
    // A refusal is in the head; what is done ends in trailers.
    let status = Status::from_header_map(answer.headers()).unwrap_or_else(|| Status::ok(""));
    if status.code() != Code::Ok {
        let reason =
            status.get_details_error_info().unwrap_or_else(|| panic!("{} gives no reason: {status:?}", rpc.what));
        assert_eq!(reason.domain, ERROR_DOMAIN, "{}", rpc.what);
        assert!(reason.reason.parse::<ErrorReason>().is_ok(), "{}: {}", rpc.what, reason.reason);
    }
    status
}

fn is_refused(status: &Status) -> bool {
    let unknown = |what: &str| status.message().starts_with(&format!("there is no {what}"));
    match status.code() {
        Code::PermissionDenied | Code::Unauthenticated => true,
        Code::NotFound => ["group acme", "token", "trust", "schedule", "prefetch schedule"].into_iter().any(unknown),
        _ => false,
    }
}

/// Name, authorization, the user's own name, and what may be done in the private group acme.
type Role = (&'static str, String, &'static str, &'static [Needs]);

async fn roles(plane: &Plane) -> Vec<Role> {
    use Needs::{
        Admin, Audit, Change, Everything, Guest, Node, Own, Password, Purge, PurgeAll, Review, Self_, SelfChange,
        SignedIn,
    };
    const READ: &[Needs] = &[SignedIn, Guest, Review];
    const CHANGE: &[Needs] = &[SignedIn, Guest, Review, Change, Purge];
    const OWN: &[Needs] = &[SignedIn, Guest, Review, Audit, Change, Purge, Own];
    for (name, admin) in [("root", true), ("olga", false), ("mia", false), ("gus", false), ("sam", false)] {
        plane.user(name, admin).await;
    }
    for (name, role) in [("olga", v1::Role::Owner), ("mia", v1::Role::Maintainer), ("gus", v1::Role::Guest)] {
        plane.member("acme", name, role).await;
    }
    let mut of = Vec::new();
    for (name, user, scope, may) in [
        (
            "administrator, api",
            "root",
            "api",
            &[Admin, Everything, SignedIn, Guest, Review, Audit, Change, Purge, PurgeAll, Own, Self_, SelfChange][..],
        ),
        ("administrator, read_api", "root", "read_api", &[Everything, SignedIn, Guest, Review, Audit, Self_]),
        ("owner, api", "olga", "api", &[SignedIn, Guest, Review, Audit, Change, Purge, Own, Self_, SelfChange]),
        ("owner, read_api", "olga", "read_api", &[SignedIn, Guest, Review, Audit, Self_]),
        ("owner, purge", "olga", "purge", &[Purge]),
        ("owner, pull", "olga", "read_registry", &[]),
        ("maintainer, api", "mia", "api", &[SignedIn, Guest, Review, Change, Purge, Self_, SelfChange]),
        ("guest, api", "gus", "api", &[SignedIn, Guest, Self_, SelfChange]),
        ("guest, purge", "gus", "purge", &[]),
        ("stranger, api", "sam", "api", &[SignedIn, Self_, SelfChange]),
    ] {
        of.push((name, format!("Bearer {}", plane.personal_token(user, &[scope]).await.token), user, may));
    }
    for (name, kind, role, scope, may) in [
        ("deploy, api", v1::TokenKind::Group, v1::Role::Unspecified, "api", CHANGE),
        ("deploy, read_api", v1::TokenKind::Group, v1::Role::Unspecified, "read_api", READ),
        ("deploy, purge", v1::TokenKind::Group, v1::Role::Unspecified, "purge", &[Purge]),
        ("deploy, pull", v1::TokenKind::Group, v1::Role::Unspecified, "read_registry", &[]),
        ("access owner, api", v1::TokenKind::GroupAccess, v1::Role::Owner, "api", OWN),
        ("access guest, api", v1::TokenKind::GroupAccess, v1::Role::Guest, "api", &[SignedIn, Guest]),
        ("service of the group", v1::TokenKind::Service, v1::Role::Unspecified, "purge", &[Purge]),
    ] {
        let token = plane.group_token("acme", kind, role, &[scope]).await;
        of.push((name, format!("Bearer {}", token.token), "nobody", may));
    }
    let all = plane.token_of(v1::create_token_request::Owner::Service(true)).await.token;
    let node = plane.token_of(v1::create_token_request::Owner::Node(true)).await.token;
    let job = v1::CreateJobTokenRequest { group_path: "acme".into(), ..Default::default() };
    let job = plane.admin().tokens.create_job_token(job).await.unwrap().into_inner().token;
    of.extend([
        ("service of all groups", format!("Bearer {all}"), "nobody", &[Purge, PurgeAll][..]),
        ("job", format!("Bearer {job}"), "nobody", &[]),
        ("node", format!("Bearer {node}"), "nobody", &[Node]),
        (
            "the node within",
            format!("Bearer {}", plane.control.embedded_node_token().expose_secret()),
            "nobody",
            &[Node],
        ),
        (
            "guest, password",
            basic("gus", &Plane::password_of("gus")),
            "gus",
            &[SignedIn, Guest, Self_, SelfChange, Password],
        ),
    ]);
    of
}

#[tokio::test]
async fn everybody_may_call_exactly_these() {
    let plane = Plane::start().await;
    plane.group("acme").await;
    for (role, authorization, own_name, may) in roles(&plane).await {
        for rpc in calls(&plane, "acme", own_name).await {
            let status = call(&plane, Some(&authorization), &rpc).await;
            let refused = is_refused(&status);
            assert_eq!(!refused, may.contains(&rpc.needs), "{role}: {} gives {status:?}", rpc.what);
        }
    }
}

#[tokio::test]
async fn the_administrators_token_may_call_all_but_the_nodes_rpcs() {
    let plane = Plane::start().await;
    plane.group("acme").await;
    plane.user("alice", false).await;
    for rpc in calls(&plane, "acme", "alice").await {
        let status = call(&plane, Some(&format!("Bearer {ADMIN_TOKEN}")), &rpc).await;
        assert_eq!(is_refused(&status), rpc.needs == Needs::Node, "{}: {status:?}", rpc.what);
    }
}

#[tokio::test]
async fn a_private_group_of_others_and_one_that_is_not_there_get_the_same_answers() {
    let plane = Plane::start().await;
    plane.group("acme").await;
    for path in ["other", "other/sub"] {
        plane.group(path).await;
    }
    for (role, authorization, own_name, may) in roles(&plane).await {
        if may.contains(&Needs::Admin) || may.contains(&Needs::Everything) || role == "service of all groups" {
            continue;
        }
        let (there, missing) = (calls(&plane, "other", own_name).await, calls(&plane, "missing", own_name).await);
        for (there, missing) in there.into_iter().zip(missing) {
            if !there.names_group {
                continue;
            }
            let answer = call(&plane, Some(&authorization), &there).await;
            let expected = call(&plane, Some(&authorization), &missing).await;
            let message = expected.message().replace("missing", "other");
            assert_eq!((answer.code(), answer.message()), (expected.code(), &*message), "{role}: {}", there.what);
            assert!(matches!(answer.code(), Code::NotFound | Code::PermissionDenied), "{role}: {}", there.what);
        }
    }
}

#[tokio::test]
async fn without_good_credentials_every_rpc_is_unauthenticated() {
    let plane = Plane::start().await;
    plane.group("acme").await;
    plane.user("alice", false).await;
    let revoked = plane.token("acme", &["api"]).await;
    plane.admin().tokens.delete_token(v1::DeleteTokenRequest { id: revoked.id }).await.unwrap();
    let bearer = |token: &str| Some(format!("Bearer {token}"));
    let calls = calls(&plane, "acme", "alice").await;
    for authorization in [
        None,
        bearer("wrong"),
        bearer("rs_adm_wrong"),
        bearer(""),
        bearer(&revoked.token),
        Some("Digest x".to_owned()),
        Some("Basic %%%".to_owned()),
        Some(basic("alice", &revoked.token)),
    ] {
        for rpc in &calls {
            let status = call(&plane, authorization.as_deref(), rpc).await;
            assert_eq!(status.code(), Code::Unauthenticated, "{authorization:?} {}", rpc.what);
        }
    }
}

#[tokio::test]
async fn every_rpc_there_is_stands_in_the_table() {
    let plane = Plane::start().await;
    plane.group("acme").await;
    let files = prost_types::FileDescriptorSet::decode(DESCRIPTORS).unwrap();
    let mut defined = BTreeSet::new();
    for file in &files.file {
        for service in &file.service {
            for method in &service.method {
                defined.insert(format!("{}.{}/{}", file.package(), service.name(), method.name()));
            }
        }
    }
    let table: BTreeSet<_> = calls(&plane, "acme", "nobody").await.iter().map(|rpc| rpc.method.to_owned()).collect();
    assert!(defined.len() > 50);
    assert_eq!(defined, table);
}

#[tokio::test]
async fn health_and_reflection_and_the_greeting_answer_without_a_token() {
    use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};
    use tonic_reflection::pb::v1::{
        ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
        server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
    };
    let plane = Plane::start().await;
    let services = [
        "roadstead.v1.GroupService",
        "roadstead.v1.UserService",
        "roadstead.v1.MemberService",
        "roadstead.v1.TokenService",
        "roadstead.v1.UpstreamService",
        "roadstead.v1.CacheService",
        "roadstead.v1.OidcService",
        "roadstead.v1.AuditService",
        "roadstead.v1.ClusterService",
        "roadstead.node.v1.NodeService",
    ];
    for service in services.into_iter().chain([""]) {
        let answer =
            HealthClient::new(plane.channel.clone()).check(HealthCheckRequest { service: service.into() }).await;
        assert_eq!(answer.unwrap().into_inner().status, 1, "{service}");
    }
    let ask = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let asked =
        ServerReflectionClient::new(plane.channel.clone()).server_reflection_info(tokio_stream::once(ask)).await;
    let answer = asked.unwrap().into_inner().message().await.unwrap().unwrap().message_response;
    let Some(MessageResponse::ListServicesResponse(list)) = answer else { panic!("{answer:?}") };
    let names: Vec<_> = list.service.iter().map(|service| service.name.as_str()).collect();
    for name in services.into_iter().chain(["grpc.health.v1.Health"]) {
        assert!(names.contains(&name), "{name} not in {names:?}");
    }
    let request = Request::get("/").body(Body::empty()).unwrap();
    let answer = plane.control.router().oneshot(request).await.unwrap();
    assert_eq!(answer.status(), 200);
    let body = axum::body::to_bytes(answer.into_body(), 10_000).await.unwrap();
    assert!(String::from_utf8_lossy(&body).contains("control port of Roadstead"));
}
