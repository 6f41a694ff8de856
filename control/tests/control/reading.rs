//! Everything that is listed can be read by its name, and lists come in pages.

use prost_types::Duration;
use roadstead_proto::time::timestamp;
use roadstead_proto::{
    node::v1::{ReportUpstreamsRequest, UpstreamCondition, UpstreamReport},
    v1::{
        ClaimRule, CreateIssuerRequest, CreatePrefetchScheduleRequest, CreateTrustRequest, DeleteGroupRequest,
        GetCredentialRequest, GetIssuerRequest, GetMemberRequest, GetNodeRequest, GetPrefetchScheduleRequest,
        GetTokenRequest, GetTrustRequest, ListCredentialsRequest, ListIssuersRequest, ListMembersRequest,
        ListPrefetchSchedulesRequest, ListTokensRequest, ListTrustsRequest, ListUpstreamStatusesRequest, Role,
        UpdateCredentialRequest, UpdateGroupRequest, UpdateMemberRequest, UpdateUpstreamRequest, UpstreamList,
    },
};
use tonic::Code;

use crate::{
    harness::{Plane, START_MS},
    nodes,
};

const ISSUER: &str = "https://gitlab.example.com";

fn group_path() -> String {
    "acme".into()
}

fn login(host: &str, username: &str) -> UpdateCredentialRequest {
    UpdateCredentialRequest {
        group_path: group_path(),
        host: host.into(),
        username: username.into(),
        password: "correct horse".into(),
        skip_verification: true,
        allow_missing: true,
    }
}

#[tokio::test]
async fn everything_that_is_listed_can_be_read_by_its_name() {
    let plane = Plane::start().await;
    plane.group("acme").await;
    plane.user("alice", false).await;
    plane.member("acme", "alice", Role::Maintainer).await;
    plane.token("acme", &["read_api"]).await;
    let mut admin = plane.admin();
    admin.oidc.create_issuer(CreateIssuerRequest { url: ISSUER.into() }).await.unwrap();
    let claims = vec![ClaimRule { claim: "sub".into(), pattern: "acme".into() }];
    let trust = CreateTrustRequest {
        group_path: group_path(),
        issuer: ISSUER.into(),
        audience: "proxy".into(),
        claims,
        request_id: String::new(),
    };
    admin.oidc.create_trust(trust).await.unwrap();
    let schedule = CreatePrefetchScheduleRequest {
        group_path: group_path(),
        image: "alpine:3".into(),
        every: Some(Duration { seconds: 3600, nanos: 0 }),
        ..Default::default()
    };
    admin.cache.create_prefetch_schedule(schedule).await.unwrap();
    plane.node().node.report_node(nodes::report(1, 1)).await.unwrap();

    let of_group = ListMembersRequest { group_path: group_path(), ..Default::default() };
    let listed = admin.members.list_members(of_group).await.unwrap().into_inner().members.remove(0);
    let get = GetMemberRequest { group_path: group_path(), user: "alice".into() };
    assert_eq!(admin.members.get_member(get).await.unwrap().into_inner().member.unwrap(), listed);

    let of_group = ListTokensRequest { group_path: group_path(), ..Default::default() };
    let listed = admin.tokens.list_tokens(of_group).await.unwrap().into_inner().tokens.remove(0);
    let get = GetTokenRequest { id: listed.id.clone() };
    assert_eq!(admin.tokens.get_token(get).await.unwrap().into_inner().token.unwrap(), listed);

    let issuers = admin.oidc.list_issuers(ListIssuersRequest::default()).await.unwrap().into_inner().issuers;
    let get = GetIssuerRequest { url: ISSUER.into() };
    assert_eq!(admin.oidc.get_issuer(get).await.unwrap().into_inner().issuer.unwrap(), issuers[0]);

    let of_group = ListTrustsRequest { group_path: group_path(), ..Default::default() };
    let listed = admin.oidc.list_trusts(of_group).await.unwrap().into_inner().trusts.remove(0);
    let get = GetTrustRequest { id: listed.id.clone() };
    assert_eq!(admin.oidc.get_trust(get).await.unwrap().into_inner().trust.unwrap(), listed);

    let of_group = ListPrefetchSchedulesRequest { group_path: group_path(), ..Default::default() };
    let listed = admin.cache.list_prefetch_schedules(of_group).await.unwrap().into_inner().schedules.remove(0);
    let get = GetPrefetchScheduleRequest { id: listed.id.clone() };
    assert_eq!(admin.cache.get_prefetch_schedule(get).await.unwrap().into_inner().schedule.unwrap(), listed);

    let listed = nodes::list(&plane).await.remove(0);
    let get = GetNodeRequest { id: listed.id.clone() };
    assert_eq!(admin.cluster.get_node(get).await.unwrap().into_inner().node.unwrap(), listed);
}

#[tokio::test]
async fn a_missing_object_is_not_found_and_one_of_another_group_looks_the_same() {
    let plane = Plane::start().await;
    for path in ["acme", "other"] {
        plane.group(path).await;
    }
    let token = plane.token("other", &[]).await;
    let reader = plane.token("acme", &["read_api"]).await.token;
    let mut reader = plane.client(Some(&reader));
    let get = |id: &str| GetTokenRequest { id: id.into() };
    let denied = reader.tokens.get_token(get(&token.id)).await.unwrap_err();
    let missing = reader.tokens.get_token(get("missing")).await.unwrap_err();
    let expected = missing.message().replace("missing", &token.id);
    assert_eq!((denied.code(), denied.message()), (Code::NotFound, expected.as_str()));

    let mut admin = plane.admin();
    let nobody = |group: &str| GetMemberRequest { group_path: group.into(), user: "nobody".into() };
    let unknown_user = admin.members.get_member(nobody("acme")).await.unwrap_err();
    plane.user("nobody", false).await;
    let no_member = admin.members.get_member(nobody("acme")).await.unwrap_err();
    assert_eq!((unknown_user.code(), unknown_user.message()), (Code::NotFound, no_member.message()));
    let no_role = UpdateMemberRequest {
        group_path: group_path(),
        user: "nobody".into(),
        role: Role::Guest.into(),
        allow_missing: false,
    };
    assert_eq!(admin.members.update_member(no_role).await.unwrap_err().code(), Code::NotFound);
    let issuer = GetIssuerRequest { url: ISSUER.into() };
    assert_eq!(admin.oidc.get_issuer(issuer).await.unwrap_err().code(), Code::NotFound);
    let trust = GetTrustRequest { id: "missing".into() };
    assert_eq!(admin.oidc.get_trust(trust).await.unwrap_err().code(), Code::NotFound);
    let node = GetNodeRequest { id: nodes::id(1) };
    assert_eq!(admin.cluster.get_node(node).await.unwrap_err().code(), Code::NotFound);
}

#[tokio::test]
async fn credentials_are_listed_in_pages_and_never_with_their_secrets() {
    let plane = Plane::start().await;
    plane.group("acme").await;
    let mut admin = plane.admin();
    let upstream = UpdateUpstreamRequest::replacing("quay.io", "https://quay.io");
    admin.upstreams.update_upstream(upstream).await.unwrap();
    let upstreams = Some(UpstreamList { hosts: vec!["docker.io".into(), "quay.io".into()] });
    let update = UpdateGroupRequest { path: group_path(), upstreams, ..Default::default() };
    admin.groups.update_group(update).await.unwrap();
    let only_replacing = UpdateCredentialRequest { allow_missing: false, ..login("quay.io", "robot") };
    for skip_verification in [true, false] {
        let request = UpdateCredentialRequest { skip_verification, ..only_replacing.clone() };
        assert_eq!(admin.upstreams.update_credential(request).await.unwrap_err().code(), Code::NotFound);
    }
    for (host, username) in [("quay.io", "robot"), ("docker.io", "bot")] {
        admin.upstreams.update_credential(login(host, username)).await.unwrap();
    }
    let replaced = UpdateCredentialRequest { username: "android".into(), ..only_replacing };
    admin.upstreams.update_credential(replaced).await.unwrap();

    let (mut page_token, mut seen) = (String::new(), Vec::new());
    loop {
        let request = ListCredentialsRequest { group_path: group_path(), page_size: 1, page_token };
        let page = admin.upstreams.list_credentials(request).await.unwrap().into_inner();
        assert!(!format!("{page:?}").contains("correct horse"), "{page:?}");
        seen.extend(page.credentials);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    let names: Vec<_> = seen.iter().map(|it| (it.host.as_str(), it.username.as_str())).collect();
    assert_eq!(names, [("docker.io", "bot"), ("quay.io", "android")]);
    let get = |host: &str| GetCredentialRequest { group_path: group_path(), host: host.into() };
    let got = admin.upstreams.get_credential(get("quay.io")).await.unwrap().into_inner().credential.unwrap();
    assert_eq!((&got, got.updated_at.unwrap().seconds), (&seen[1], START_MS / 1000));
    assert_eq!(admin.upstreams.get_credential(get("ghcr.io")).await.unwrap_err().code(), Code::NotFound);
    admin.groups.delete_group(DeleteGroupRequest { path: group_path() }).await.unwrap();
    assert_eq!(admin.upstreams.get_credential(get("quay.io")).await.unwrap_err().code(), Code::NotFound);
}

#[tokio::test]
async fn statuses_of_upstreams_come_in_pages() {
    let plane = Plane::start().await;
    let condition = |username: &str| UpstreamCondition {
        upstream: "docker.io".into(),
        username: username.into(),
        limit: 100,
        remaining: 10,
        seen_at: timestamp(START_MS),
        ..Default::default()
    };
    let reports = ["", "bot", "robot"]
        .map(|username| UpstreamReport { condition: Some(condition(username)), ..Default::default() });
    let request = ReportUpstreamsRequest { batch_id: "1".into(), reports: reports.into(), node_name: "node-1".into() };
    plane.node().node.report_upstreams(request).await.unwrap();
    let (mut page_token, mut pages) = (String::new(), Vec::new());
    loop {
        let request = ListUpstreamStatusesRequest { page_size: 2, page_token, ..Default::default() };
        let page = plane.admin().upstreams.list_upstream_statuses(request).await.unwrap().into_inner();
        pages.push(page.statuses.into_iter().map(|status| status.username).collect::<Vec<_>>());
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    assert_eq!(pages, [vec!["", "bot"], vec!["robot"]]);
}
