//! Every role by every RPC of the administration and the nodes.

use roadstead_proto::{node::v1 as node, v1};
use tonic::{Code, Status};

use crate::harness::{ADMIN_TOKEN, Client, Plane, digest};
use secrecy::ExposeSecret as _;

/// Calls every RPC on the group at `path`, with good fields; answers the codes by name.
async fn call_all(client: &mut Client, path: &str) -> Vec<(&'static str, Code)> {
    fn code<T>(answer: Result<T, Status>) -> Code {
        answer.map_or_else(|status| status.code(), |_| Code::Ok)
    }
    let group_path = || path.to_owned();
    let owner = |path| Some(v1::create_token_request::Owner::GroupPath(path));
    let named = |owner| v1::CreateTokenRequest { owner, name: "n".into(), ..Default::default() };
    let repository =
        || Some(node::RepositoryRef { upstream: "docker.io".into(), repository: "a".into(), ..Default::default() });
    let Client { groups, tokens, upstreams, cache, node, .. } = client;
    vec![
        ("GetGroup", code(groups.get_group(v1::GetGroupRequest { path: group_path() }).await)),
        ("ListGroups", code(groups.list_groups(v1::ListGroupsRequest::default()).await)),
        (
            "UpdateGroup",
            code(groups.update_group(v1::UpdateGroupRequest { path: group_path(), ..Default::default() }).await),
        ),
        ("CreateToken", code(tokens.create_token(named(owner(group_path()))).await)),
        ("CreateToken node", code(tokens.create_token(named(Some(v1::create_token_request::Owner::Node(true)))).await)),
        (
            "ListTokens",
            code(tokens.list_tokens(v1::ListTokensRequest { group_path: group_path(), ..Default::default() }).await),
        ),
        ("ListTokens all", code(tokens.list_tokens(v1::ListTokensRequest::default()).await)),
        ("RevokeToken", code(tokens.revoke_token(v1::RevokeTokenRequest { id: "no-such-id".into() }).await)),
        (
            "SetUpstream",
            code(
                upstreams
                    .set_upstream(v1::SetUpstreamRequest {
                        host: "quay.io".into(),
                        url: "https://quay.io".into(),
                        ..Default::default()
                    })
                    .await,
            ),
        ),
        ("ListUpstreams", code(upstreams.list_upstreams(v1::ListUpstreamsRequest::default()).await)),
        ("DeleteUpstream", code(upstreams.delete_upstream(v1::DeleteUpstreamRequest { host: "quay.io".into() }).await)),
        (
            "SetCredential",
            code(
                upstreams
                    .set_credential(v1::SetCredentialRequest {
                        group_path: group_path(),
                        host: "docker.io".into(),
                        username: "u".into(),
                        password: "p".into(),
                        skip_verification: true,
                    })
                    .await,
            ),
        ),
        (
            "DeleteCredential",
            code(
                upstreams
                    .delete_credential(v1::DeleteCredentialRequest {
                        group_path: group_path(),
                        host: "docker.io".into(),
                    })
                    .await,
            ),
        ),
        (
            "ListManifests",
            code(
                cache.list_manifests(v1::ListManifestsRequest { group_path: group_path(), ..Default::default() }).await,
            ),
        ),
        (
            "ListBlobs",
            code(cache.list_blobs(v1::ListBlobsRequest { group_path: group_path(), ..Default::default() }).await),
        ),
        ("GetStats", code(cache.get_stats(v1::GetStatsRequest { group_path: group_path() }).await)),
        (
            "PurgeCache",
            code(cache.purge_cache(v1::PurgeCacheRequest { group_path: group_path(), ..Default::default() }).await),
        ),
        ("Watch", code(node.watch(node::WatchRequest::default()).await)),
        ("SignIn", code(node.sign_in(node::SignInRequest::default()).await)),
        (
            "ResolveTag",
            code(node.resolve_tag(node::ResolveTagRequest { repository: repository(), tag: "t".into() }).await),
        ),
        (
            "ReportTag",
            code(
                node.report_tag(node::ReportTagRequest {
                    repository: repository(),
                    tag: "t".into(),
                    outcome: Some(node::UpstreamOutcome {
                        outcome: Some(node::upstream_outcome::Outcome::NotFound(node::TagNotFound {})),
                    }),
                })
                .await,
            ),
        ),
        (
            "GetLinks",
            code(node.get_links(node::GetLinksRequest { repository: repository(), digest: digest("x") }).await),
        ),
        (
            "RecordLink",
            code(
                node.record_link(node::RecordLinkRequest {
                    repository: repository(),
                    link: crate::harness::blob("x", 1),
                    ..Default::default()
                })
                .await,
            ),
        ),
        (
            "GetCredential",
            code(
                node.get_credential(node::GetCredentialRequest { group_id: "x".into(), upstream: "docker.io".into() })
                    .await,
            ),
        ),
        (
            "RecordUsage",
            code(node.record_usage(node::RecordUsageRequest { batch_id: "b".into(), usage: vec![] }).await),
        ),
        ("ClaimGarbage", code(node.claim_garbage(node::ClaimGarbageRequest::default()).await)),
        ("ConfirmGarbage", code(node.confirm_garbage(node::ConfirmGarbageRequest::default()).await)),
        (
            "CreateGroup",
            code(
                groups.create_group(v1::CreateGroupRequest { path: format!("{path}/new"), ..Default::default() }).await,
            ),
        ),
        ("DeleteGroup", code(groups.delete_group(v1::DeleteGroupRequest { path: format!("{path}/new") }).await)),
    ]
}

const NODE: [&str; 10] = [
    "Watch",
    "SignIn",
    "ResolveTag",
    "ReportTag",
    "GetLinks",
    "RecordLink",
    "GetCredential",
    "RecordUsage",
    "ClaimGarbage",
    "ConfirmGarbage",
];
const READ: [&str; 7] =
    ["GetGroup", "ListGroups", "ListTokens", "ListUpstreams", "ListManifests", "ListBlobs", "GetStats"];
const CHANGE: [&str; 5] = ["UpdateGroup", "CreateToken", "RevokeToken", "SetCredential", "DeleteCredential"];

#[tokio::test]
async fn every_role_may_call_exactly_these() {
    let plane = Plane::start().await;
    plane.group("acme").await;
    plane.group("acme/ci").await;
    plane.group("other").await;
    let node_token = plane.control.embedded_node_token().expose_secret().to_owned();
    let of = |token: v1::CreateTokenResponse| token.token;
    let mut api = [&READ[..], &CHANGE].concat();
    api.push("PurgeCache");
    for (role, token, may) in [
        ("node", node_token, NODE.to_vec()),
        ("api", of(plane.token("acme", &["api"]).await), api),
        ("read_api", of(plane.token("acme", &["read_api"]).await), READ.to_vec()),
        ("purge", of(plane.token("acme", &["purge"]).await), vec!["PurgeCache"]),
        ("pull", of(plane.token("acme", &[]).await), vec![]),
    ] {
        for path in ["acme", "acme/ci"] {
            for (rpc, code) in call_all(&mut plane.client(Some(&token)), path).await {
                let refused = code == Code::PermissionDenied;
                assert_eq!(!refused, may.contains(&rpc), "{role} {rpc} on {path}: {code:?}");
                assert_ne!(code, Code::Unauthenticated, "{role} {rpc}");
            }
        }
        // Another's private group and one that is not there look the same.
        let mut elsewhere = plane.client(Some(&token));
        let (there, missing) = (call_all(&mut elsewhere, "other").await, call_all(&mut elsewhere, "missing").await);
        assert_eq!(there, missing, "{role}");
    }
}

#[tokio::test]
async fn the_administrator_may_call_all_but_the_nodes_rpcs() {
    let plane = Plane::start().await;
    plane.group("acme").await;
    for (rpc, code) in call_all(&mut plane.client(Some(ADMIN_TOKEN)), "acme").await {
        let expected = match rpc {
            rpc if NODE.contains(&rpc) => Code::PermissionDenied,
            "RevokeToken" => Code::NotFound,
            _ => Code::Ok,
        };
        assert_eq!(code, expected, "{rpc}");
    }
}

#[tokio::test]
async fn without_a_good_token_every_rpc_is_unauthenticated() {
    let plane = Plane::start().await;
    plane.group("acme").await;
    let revoked = plane.token("acme", &["api"]).await;
    plane.admin().tokens.revoke_token(v1::RevokeTokenRequest { id: revoked.id }).await.unwrap();
    for token in [None, Some("wrong"), Some("rs_adm_wrong"), Some(""), Some(revoked.token.as_str())] {
        for (rpc, code) in call_all(&mut plane.client(token), "acme").await {
            assert_eq!(code, Code::Unauthenticated, "{token:?} {rpc}");
        }
    }
}

#[tokio::test]
async fn health_and_reflection_and_the_greeting_answer_without_a_token() {
    use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};
    use tonic_reflection::pb::v1::{
        ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
        server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
    };
    let plane = Plane::start().await;
    for service in ["", "roadstead.v1.GroupService", "roadstead.node.v1.NodeService"] {
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
    for name in [
        "roadstead.v1.GroupService",
        "roadstead.v1.TokenService",
        "roadstead.v1.UpstreamService",
        "roadstead.v1.CacheService",
        "roadstead.node.v1.NodeService",
        "grpc.health.v1.Health",
    ] {
        assert!(names.contains(&name), "{name} not in {names:?}");
    }
    use tower::ServiceExt as _;
    let request = http::Request::get("/").body(axum::body::Body::empty()).unwrap();
    let answer = plane.control.router().oneshot(request).await.unwrap();
    assert_eq!(answer.status(), 200);
    let body = axum::body::to_bytes(answer.into_body(), 10_000).await.unwrap();
    assert!(String::from_utf8_lossy(&body).contains("control port of Roadstead"));
}
