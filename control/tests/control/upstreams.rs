//! Upstreams and credentials.

use roadstead_proto::{
    node::v1::GetCredentialRequest,
    v1::{
        CreateGroupRequest, DeleteCredentialRequest, DeleteUpstreamRequest, GetUpstreamRequest, Group, HostList,
        ListUpstreamsRequest, UpdateCredentialRequest, UpdateUpstreamRequest, Upstream,
    },
};
use tonic::Code;

use crate::harness::Plane;

fn set(host: &str, url: &str) -> UpdateUpstreamRequest {
    UpdateUpstreamRequest::replacing(host, url)
}

async fn list(plane: &Plane) -> Vec<Upstream> {
    plane.admin().upstreams.list_upstreams(ListUpstreamsRequest::default()).await.unwrap().into_inner().upstreams
}

fn login(password: &str) -> UpdateCredentialRequest {
    UpdateCredentialRequest {
        group_path: "acme".into(),
        host: "docker.io".into(),
        username: "me".into(),
        password: password.into(),
        skip_verification: true,
        allow_missing: true,
    }
}

async fn credential(plane: &Plane, group: &Group) -> (String, String, i64) {
    let request = GetCredentialRequest { group_id: group.id.clone(), upstream: "docker.io".into() };
    let answer = plane.node().node.get_credential(request).await.unwrap().into_inner();
    (answer.username, answer.password, answer.credential_epoch)
}

#[tokio::test]
async fn docker_hub_is_built_in_and_falls_back_when_deleted() {
    let plane = Plane::start().await;
    let built_in = list(&plane).await;
    assert_eq!(built_in.len(), 1);
    assert_eq!((&*built_in[0].host, &*built_in[0].url), ("docker.io", "https://registry-1.docker.io"));
    assert_eq!((&built_in[0].token_hosts[..], built_in[0].updated_at), (&["auth.docker.io".to_owned()][..], None));
    plane.admin().upstreams.update_upstream(set("docker.io", "http://127.0.0.1:5000/")).await.unwrap();
    let changed = list(&plane).await;
    assert_eq!((&*changed[0].url, changed[0].token_hosts.len()), ("http://127.0.0.1:5000", 0));
    assert!(changed[0].updated_at.is_some());
    let plane = plane.restart().await;
    assert_eq!(list(&plane).await, changed, "a setting outlives a restart");
    plane.admin().upstreams.delete_upstream(DeleteUpstreamRequest { host: "docker.io".into() }).await.unwrap();
    assert_eq!(list(&plane).await, built_in);
}

#[tokio::test]
async fn an_upstream_in_use_is_not_deleted_and_its_credentials_go_with_it() {
    let plane = Plane::start().await;
    plane.admin().upstreams.update_upstream(set("quay.io", "https://quay.io")).await.unwrap();
    let upstreams = vec!["quay.io".into(), "docker.io".into()];
    plane.group_with(CreateGroupRequest { path: "acme".into(), upstreams, ..Default::default() }).await;
    let delete = || DeleteUpstreamRequest { host: "quay.io".into() };
    let refused = plane.admin().upstreams.delete_upstream(delete()).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert!(refused.message().contains("acme") && refused.message().contains("group update"));
    let unused = roadstead_proto::v1::UpdateGroupRequest {
        path: "acme".into(),
        upstreams: Some(roadstead_proto::v1::UpstreamList { hosts: vec!["docker.io".into()] }),
        ..Default::default()
    };
    plane.admin().groups.update_group(unused).await.unwrap();
    plane.admin().upstreams.delete_upstream(delete()).await.unwrap();
    assert_eq!(plane.admin().upstreams.delete_upstream(delete()).await.unwrap_err().code(), Code::NotFound);
}

#[tokio::test]
async fn credentials_are_sealed_given_to_nodes_and_moved_by_epochs() {
    let plane = Plane::start().await;
    let group = plane.group("acme").await;
    let (username, password, first) = credential(&plane, &group).await;
    assert!(username.is_empty() && password.is_empty());
    let stored = plane.admin().upstreams.update_credential(login("correct horse")).await.unwrap().into_inner();
    assert_eq!(stored.credential.unwrap().username, "me");
    let (username, password, second) = credential(&plane, &group).await;
    assert_eq!((&*username, &*password), ("me", "correct horse"));
    assert!(second > first);
    for entry in std::fs::read_dir(plane.folder.path().join("data")).unwrap() {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap();
        assert!(!bytes.windows(13).any(|window| window == b"correct horse"));
    }
    let plane = plane.restart().await;
    assert_eq!(credential(&plane, &group).await, ("me".into(), "correct horse".into(), second));
    let logout = || DeleteCredentialRequest { group_path: "acme".into(), host: "docker.io".into() };
    plane.admin().upstreams.delete_credential(logout()).await.unwrap();
    let (username, _, third) = credential(&plane, &group).await;
    assert!(username.is_empty() && third > second);
    let again = plane.admin().upstreams.delete_credential(logout()).await.unwrap_err();
    assert_eq!(again.code(), Code::NotFound);
    // Deleting the built-in upstream takes credentials for it too.
    plane.admin().upstreams.update_credential(login("x")).await.unwrap();
    plane.admin().upstreams.delete_upstream(DeleteUpstreamRequest { host: "docker.io".into() }).await.unwrap();
    let (username, _, last) = credential(&plane, &group).await;
    assert!(username.is_empty() && last > third);
}

#[tokio::test]
async fn what_cannot_be_is_refused_without_repeating_a_secret() {
    let plane = Plane::start().await;
    plane.group("acme").await;
    let base = || login("p");
    for (request, code) in [
        (UpdateCredentialRequest { username: String::new(), ..base() }, Code::InvalidArgument),
        (UpdateCredentialRequest { username: "a:b".into(), ..base() }, Code::InvalidArgument),
        (UpdateCredentialRequest { password: String::new(), ..base() }, Code::InvalidArgument),
        (UpdateCredentialRequest { password: "x".repeat(4097), ..base() }, Code::InvalidArgument),
        (UpdateCredentialRequest { host: "quay.io".into(), ..base() }, Code::FailedPrecondition),
        (UpdateCredentialRequest { group_path: "gone".into(), ..base() }, Code::NotFound),
    ] {
        assert_eq!(plane.admin().upstreams.update_credential(request).await.unwrap_err().code(), code);
    }
    let refused = plane.admin().upstreams.update_upstream(set("a.io", "https://me:hunter2@a.io")).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    assert!(!format!("{refused:?}").contains("hunter2"));
}

#[tokio::test]
async fn an_update_changes_what_it_names_and_is_refused_with_an_old_etag() {
    let plane = Plane::start().await;
    let mut upstreams = plane.admin().upstreams;
    let added = UpdateUpstreamRequest {
        token_hosts: Some(HostList { hosts: vec!["auth.quay.io".into()] }),
        reserve_percent: Some(20),
        ..set("quay.io", "https://quay.io")
    };
    let first = upstreams.update_upstream(added).await.unwrap().into_inner().upstream.unwrap();
    let change = |etag: &str| UpdateUpstreamRequest {
        host: "quay.io".into(),
        etag: etag.into(),
        url: Some("https://mirror.example".into()),
        ..Default::default()
    };
    let second = upstreams.update_upstream(change(&first.etag)).await.unwrap().into_inner().upstream.unwrap();
    assert_eq!(second.url, "https://mirror.example");
    assert_eq!((&second.token_hosts, second.reserve_percent), (&first.token_hosts, 20), "what is not named stays");
    assert_ne!(second.etag, first.etag);
    let get = GetUpstreamRequest { host: "quay.io".into() };
    assert_eq!(upstreams.get_upstream(get).await.unwrap().into_inner().upstream.as_ref(), Some(&second));
    let stale = upstreams.update_upstream(change(&first.etag)).await.unwrap_err();
    assert_eq!(stale.code(), Code::Aborted);
    let emptied = UpdateUpstreamRequest { url: None, token_hosts: Some(HostList::default()), ..change("") };
    let third = upstreams.update_upstream(emptied).await.unwrap().into_inner().upstream.unwrap();
    assert_eq!((third.token_hosts.len(), third.url), (0, second.url));
    // A missing upstream is added only with `allow_missing`.
    let missing = UpdateUpstreamRequest { host: "ghcr.io".into(), ..change("") };
    assert_eq!(upstreams.update_upstream(missing.clone()).await.unwrap_err().code(), Code::NotFound);
    let without_url = UpdateUpstreamRequest { url: None, allow_missing: true, ..missing };
    assert_eq!(upstreams.update_upstream(without_url).await.unwrap_err().code(), Code::InvalidArgument);
    let bad_host = UpdateUpstreamRequest { host: "GHCR.io".into(), reserve_percent: Some(5), ..Default::default() };
    let refused = upstreams.update_upstream(bad_host).await.unwrap_err();
    assert!(refused.message().starts_with("host: "), "{refused:?}");
    let nowhere = GetUpstreamRequest { host: "ghcr.io".into() };
    assert_eq!(upstreams.get_upstream(nowhere).await.unwrap_err().code(), Code::NotFound);
}
