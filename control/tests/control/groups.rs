//! Groups: settings, concurrent changes, deletion.

use roadstead_proto::{
    node::v1::GetLinksRequest,
    v1::{
        CreateGroupRequest, DeleteGroupRequest, GetGroupRequest, Group, ListGroupsRequest, ListTokensRequest,
        UpdateCredentialRequest, UpdateGroupRequest, UpstreamList, Visibility,
    },
};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::harness::{Plane, digest, place};

fn fields(status: &Status) -> Vec<String> {
    let details = status.get_details_bad_request().map(|bad| bad.field_violations).unwrap_or_default();
    details.into_iter().map(|violation| violation.field).collect()
}

fn update() -> UpdateGroupRequest {
    UpdateGroupRequest { path: "acme".into(), ..Default::default() }
}

async fn change(plane: &Plane, request: UpdateGroupRequest) -> Result<Group, Status> {
    plane.admin().groups.update_group(request).await.map(|answer| answer.into_inner().group.unwrap())
}

#[tokio::test]
async fn a_new_group_has_the_promised_defaults_and_its_path_is_taken_in_any_case() {
    let plane = Plane::start().await;
    let group = plane.group("Acme/Back-End").await;
    assert_eq!(group.path, "acme/back-end");
    assert_eq!((group.visibility(), group.anonymous_pull), (Visibility::Private, false));
    assert_eq!((group.enabled, group.frozen, group.max_age.unwrap().seconds), (true, false, 0));
    assert_eq!(group.upstreams, ["docker.io"]);
    let again = CreateGroupRequest { path: "ACME/back-end".into(), ..Default::default() };
    let refused = plane.admin().groups.create_group(again).await.unwrap_err();
    assert_eq!(refused.code(), Code::AlreadyExists);
    assert!(refused.message().contains("acme/back-end") && refused.message().contains("group update"));
    let read = GetGroupRequest { path: "ACME/BACK-END".into() };
    assert_eq!(plane.admin().groups.get_group(read).await.unwrap().into_inner().group.unwrap(), group);
}

#[tokio::test]
async fn fields_that_cannot_be_are_named() {
    let plane = Plane::start().await;
    let new = || CreateGroupRequest { path: "acme".into(), ..Default::default() };
    let seconds = |seconds| Some(prost_types::Duration { seconds, nanos: 0 });
    for (request, field) in [
        (CreateGroupRequest { path: String::new(), ..new() }, "path"),
        (CreateGroupRequest { path: "a//b".into(), ..new() }, "path"),
        (CreateGroupRequest { anonymous_pull: true, ..new() }, "anonymous_pull"),
        (CreateGroupRequest { visibility: 9, ..new() }, "visibility"),
        (CreateGroupRequest { upstreams: vec!["quay.io".into()], ..new() }, "upstreams"),
        (CreateGroupRequest { upstreams: vec!["Not a host".into()], ..new() }, "upstreams"),
        (CreateGroupRequest { max_age: seconds(30 * 86400 + 1), ..new() }, "max_age"),
        (CreateGroupRequest { max_age: seconds(-1), ..new() }, "max_age"),
        (CreateGroupRequest { retention: seconds(1), ..new() }, "retention"),
        (CreateGroupRequest { cooldown: seconds(400 * 86400), ..new() }, "cooldown"),
        (CreateGroupRequest { missing_tag: 9, ..new() }, "missing_tag"),
    ] {
        let refused = plane.admin().groups.create_group(request).await.unwrap_err();
        assert_eq!((refused.code(), fields(&refused)), (Code::InvalidArgument, vec![field.to_owned()]), "{refused}");
    }
    let all_wrong = CreateGroupRequest {
        path: "a//b".into(),
        visibility: 9,
        upstreams: vec!["Not a host".into()],
        max_age: seconds(-1),
        ..new()
    };
    let refused = plane.admin().groups.create_group(all_wrong).await.unwrap_err();
    assert_eq!(fields(&refused), ["path", "visibility", "upstreams", "max_age"], "{refused}");
    let all_wrong = UpdateGroupRequest {
        etag: "x".into(),
        visibility: Some(9),
        upstreams: Some(UpstreamList { hosts: vec!["Not a host".into()] }),
        max_age: seconds(-1),
        retention: seconds(-1),
        missing_tag: Some(9),
        ..update()
    };
    plane.public_group("acme", true).await;
    let refused = change(&plane, all_wrong).await.unwrap_err();
    assert_eq!(
        fields(&refused),
        ["etag", "visibility", "upstreams", "retention", "max_age", "missing_tag"],
        "{refused}"
    );
    let empty = UpstreamList { hosts: vec![] };
    for (request, field) in [
        (UpdateGroupRequest { visibility: Some(Visibility::Internal.into()), ..update() }, "anonymous_pull"),
        (UpdateGroupRequest { visibility: Some(0), ..update() }, "visibility"),
        (UpdateGroupRequest { upstreams: Some(empty), ..update() }, "upstreams"),
        (UpdateGroupRequest { max_age: seconds(30 * 86400 + 1), ..update() }, "max_age"),
        (UpdateGroupRequest { etag: "x".into(), ..update() }, "etag"),
    ] {
        let refused = change(&plane, request).await.unwrap_err();
        assert_eq!((refused.code(), fields(&refused)), (Code::InvalidArgument, vec![field.to_owned()]), "{refused}");
    }
}

#[tokio::test]
async fn an_update_changes_what_it_names_and_leaves_the_rest() {
    let plane = Plane::start().await;
    let before = plane.group("acme").await;
    plane.advance(10);
    assert_eq!(change(&plane, update()).await.unwrap(), before, "nothing named, nothing changed, the same etag");
    let frozen = change(&plane, UpdateGroupRequest { frozen: Some(true), ..update() }).await.unwrap();
    assert_ne!(frozen.etag, before.etag);
    assert_eq!(frozen.updated_at.unwrap().seconds, before.updated_at.unwrap().seconds + 10);
    let expected = Group { frozen: true, etag: frozen.etag.clone(), updated_at: frozen.updated_at, ..before };
    assert_eq!(frozen, expected);
    let missing = UpdateGroupRequest { path: "gone".into(), ..Default::default() };
    let refused = change(&plane, missing).await.unwrap_err();
    assert_eq!(refused.code(), Code::NotFound);
    assert!(refused.message().contains("gone") && refused.message().contains("group list"));
}

#[tokio::test]
async fn an_old_etag_is_refused_and_the_change_made_in_between_stays() {
    let plane = Plane::start().await;
    let read = plane.group("acme").await;
    change(&plane, UpdateGroupRequest { frozen: Some(true), ..update() }).await.unwrap();
    let late = UpdateGroupRequest { etag: read.etag, enabled: Some(false), ..update() };
    assert_eq!(change(&plane, late).await.unwrap_err().code(), Code::Aborted);
    let now = change(&plane, update()).await.unwrap();
    assert!(now.frozen && now.enabled);
    change(&plane, UpdateGroupRequest { etag: now.etag, enabled: Some(false), ..update() }).await.unwrap();
}

#[tokio::test]
async fn of_updates_at_once_none_is_lost_and_of_those_with_one_etag_one_wins() {
    let plane = Plane::start().await;
    let group = plane.group("acme").await;
    let seconds = |seconds| Some(prost_types::Duration { seconds, nanos: 0 });
    let (frozen, disabled, aged) = tokio::join!(
        change(&plane, UpdateGroupRequest { frozen: Some(true), ..update() }),
        change(&plane, UpdateGroupRequest { enabled: Some(false), ..update() }),
        change(&plane, UpdateGroupRequest { max_age: seconds(5), ..update() }),
    );
    assert!(frozen.is_ok() && disabled.is_ok() && aged.is_ok());
    let now = change(&plane, update()).await.unwrap();
    assert_eq!((now.frozen, now.enabled, now.max_age), (true, false, seconds(5)));
    assert_ne!(now.etag, group.etag);
    let with_etag = |age| UpdateGroupRequest { etag: now.etag.clone(), max_age: seconds(age), ..update() };
    let results = tokio::join!(
        change(&plane, with_etag(10)),
        change(&plane, with_etag(11)),
        change(&plane, with_etag(12)),
        change(&plane, with_etag(13)),
    );
    let codes = [results.0, results.1, results.2, results.3].map(|result| result.map_err(|status| status.code()));
    assert_eq!(codes.iter().filter(|result| result.is_ok()).count(), 1);
    assert_eq!(codes.iter().filter(|result| **result == Err(Code::Aborted)).count(), 3);
}

#[tokio::test]
async fn pages_of_groups_are_in_order_and_a_groups_token_sees_its_own() {
    let plane = Plane::start().await;
    for path in ["b", "acme", "acme-labs", "acme/ci", "acme/ci/deep", "acme0", "a"] {
        plane.group(path).await;
    }
    let token = plane.token("acme", &["read_api"]).await.token;
    for (mut client, expected) in [
        (plane.admin(), vec!["a", "acme", "acme-labs", "acme/ci", "acme/ci/deep", "acme0", "b", "default"]),
        (plane.client(Some(&token)), vec!["acme", "acme/ci", "acme/ci/deep"]),
    ] {
        let (mut page_token, mut seen) = (String::new(), Vec::new());
        loop {
            let request = ListGroupsRequest { page_size: 2, page_token };
            let page = client.groups.list_groups(request).await.unwrap().into_inner();
            seen.extend(page.groups.into_iter().map(|group| group.path));
            page_token = page.next_page_token;
            if page_token.is_empty() {
                break;
            }
        }
        assert_eq!(seen, expected);
    }
    for request in [
        ListGroupsRequest { page_size: 1001, ..Default::default() },
        ListGroupsRequest { page_token: "%".into(), ..Default::default() },
    ] {
        assert_eq!(plane.admin().groups.list_groups(request).await.unwrap_err().code(), Code::InvalidArgument);
    }
}

#[tokio::test]
async fn a_deleted_group_takes_everything_of_its_own_with_it_and_nothing_of_others() {
    let plane = Plane::start().await;
    let (acme, sub) = (plane.group("acme").await, plane.group("acme/ci").await);
    let mut node = plane.node();
    for group in [&acme, &sub] {
        node.link_blob(group, "a", "layer", 5).await;
        node.link_manifest(group, "a", "m1", "latest", &["layer"]).await;
    }
    let token = plane.token("acme", &["api"]).await;
    let login = UpdateCredentialRequest {
        group_path: "acme".into(),
        host: "docker.io".into(),
        username: "u".into(),
        password: "p".into(),
        skip_verification: true,
        allow_missing: true,
    };
    plane.admin().upstreams.update_credential(login).await.unwrap();
    let delete = || DeleteGroupRequest { path: "acme".into() };
    assert_eq!(plane.admin().groups.delete_group(delete()).await.unwrap().into_inner().links, 2);
    assert_eq!(plane.admin().groups.delete_group(delete()).await.unwrap_err().code(), Code::NotFound);
    let with_its_token = plane.client(Some(&token.token)).groups.list_groups(ListGroupsRequest::default()).await;
    assert_eq!(with_its_token.unwrap_err().code(), Code::Unauthenticated);
    let links = |group: &Group| GetLinksRequest { repository: place(group, "a"), digest: digest("layer") };
    assert_eq!(node.node.get_links(links(&acme)).await.unwrap_err().code(), Code::NotFound);
    assert!(node.node.get_links(links(&sub)).await.unwrap().into_inner().link.is_some());
    // A group that takes the path over is another: it has nothing of the old one.
    let again = plane.group("acme").await;
    assert_ne!(again.id, acme.id);
    assert!(node.node.get_links(links(&again)).await.unwrap().into_inner().link.is_none());
    let tokens = ListTokensRequest { group_path: "acme".into(), ..Default::default() };
    assert!(plane.admin().tokens.list_tokens(tokens).await.unwrap().into_inner().tokens.is_empty());
}
