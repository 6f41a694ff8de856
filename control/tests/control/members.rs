//! Members: roles are inherited, listed with where they come from, and end; tokens grant no more than their makers have.

use roadstead_proto::time::duration_seconds;
use roadstead_proto::{
    node::v1::SignInRefusal::{Denied, NotFound, Unauthenticated},
    v1::{
        CreateGroupRequest, CreateJobTokenRequest, CreateTokenRequest, DeleteGroupRequest, DeleteMemberRequest,
        DeleteTokenRequest, ListGroupsRequest, ListMembersRequest, ListTokensRequest, PurgeCacheRequest, Role,
        TokenKind, UpdateGroupRequest, UpdateMemberRequest, create_token_request::Owner,
    },
};
use tonic::Code;

use crate::{
    harness::{Client, Plane},
    sign_in::sign_in,
};

async fn api(plane: &Plane, user: &str) -> Client {
    plane.client(Some(&plane.personal_token(user, &["api"]).await.token))
}

#[tokio::test]
async fn the_highest_role_of_a_group_and_those_above_it_counts() {
    let plane = Plane::start().await;
    for path in ["acme", "acme/ci", "acme/ci/deep"] {
        plane.group(path).await;
    }
    plane.user("alice", false).await;
    plane.member("acme", "alice", Role::Maintainer).await;
    plane.member("acme/ci", "alice", Role::Guest).await;
    let mut alice = api(&plane, "alice").await;
    let update = |path: &str| UpdateGroupRequest { path: path.into(), frozen: Some(true), ..Default::default() };
    for path in ["acme", "acme/ci", "acme/ci/deep"] {
        alice.groups.update_group(update(path)).await.unwrap();
    }
    let (mut page_token, mut seen) = (String::new(), Vec::new());
    loop {
        let request = ListMembersRequest { group_path: "acme/ci".into(), page_size: 1, page_token };
        let page = alice.members.list_members(request).await.unwrap().into_inner();
        seen.extend(page.members.into_iter().map(|m| (m.role(), m.user, m.group_path)));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    let of = |role, path: &str| (role, "alice".to_owned(), path.to_owned());
    assert_eq!(seen, [of(Role::Maintainer, "acme"), of(Role::Guest, "acme/ci")]);
    let remove = |path: &str| DeleteMemberRequest { group_path: path.into(), user: "alice".into() };
    plane.admin().members.delete_member(remove("acme")).await.unwrap();
    assert_eq!(alice.groups.update_group(update("acme/ci")).await.unwrap_err().code(), Code::PermissionDenied);
    assert_eq!(alice.groups.update_group(update("acme")).await.unwrap_err().code(), Code::NotFound);
    let inherited = plane.admin().members.delete_member(remove("acme/ci/deep")).await.unwrap_err();
    assert_eq!(inherited.code(), Code::NotFound);
    assert!(inherited.message().contains("member list"));
}

#[tokio::test]
async fn people_see_the_groups_that_they_have_a_role_in() {
    let plane = Plane::start().await;
    for path in ["acme", "acme/ci", "acme-labs", "other", "other/team", "other/team/a"] {
        plane.group(path).await;
    }
    plane.user("alice", false).await;
    let mut alice = api(&plane, "alice").await;
    let mut listed = async || {
        let (mut page_token, mut seen) = (String::new(), Vec::new());
        loop {
            let page =
                alice.groups.list_groups(ListGroupsRequest { page_size: 1, page_token }).await.unwrap().into_inner();
            seen.extend(page.groups.into_iter().map(|group| group.path));
            page_token = page.next_page_token;
            if page_token.is_empty() {
                return seen;
            }
        }
    };
    assert!(listed().await.is_empty());
    plane.member("acme", "alice", Role::Guest).await;
    plane.member("other/team", "alice", Role::Owner).await;
    plane.member("other/team/a", "alice", Role::Owner).await;
    assert_eq!(listed().await, ["acme", "acme/ci", "other/team", "other/team/a"]);
}

#[tokio::test]
async fn an_owner_makes_members_and_subgroups_and_deletes_them_and_no_top_level_group() {
    let plane = Plane::start().await;
    plane.group("acme").await;
    for name in ["olga", "gus"] {
        plane.user(name, false).await;
    }
    plane.member("acme", "olga", Role::Owner).await;
    let mut olga = api(&plane, "olga").await;
    let create = |path: &str| CreateGroupRequest { path: path.into(), ..Default::default() };
    olga.groups.create_group(create("acme/ci")).await.unwrap();
    assert_eq!(olga.groups.create_group(create("mine")).await.unwrap_err().code(), Code::PermissionDenied);
    assert_eq!(olga.groups.create_group(create("default/x")).await.unwrap_err().code(), Code::PermissionDenied);
    assert_eq!(olga.groups.create_group(create("nowhere/x")).await.unwrap_err().code(), Code::NotFound);
    let member = |role: Role| UpdateMemberRequest {
        group_path: "acme/ci".into(),
        user: "gus".into(),
        role: role.into(),
        allow_missing: true,
    };
    let set = olga.members.update_member(member(Role::Guest)).await.unwrap().into_inner().member.unwrap();
    assert_eq!((set.role(), set.group_path.as_str(), set.user.as_str()), (Role::Guest, "acme/ci", "gus"));
    let changed = olga.members.update_member(member(Role::Maintainer)).await.unwrap().into_inner().member.unwrap();
    assert_eq!((changed.role(), changed.added_at), (Role::Maintainer, set.added_at));
    for (request, code) in [
        (UpdateMemberRequest { role: 0, ..member(Role::Guest) }, Code::InvalidArgument),
        (UpdateMemberRequest { role: 9, ..member(Role::Guest) }, Code::InvalidArgument),
        (UpdateMemberRequest { user: "nobody".into(), ..member(Role::Guest) }, Code::NotFound),
    ] {
        assert_eq!(olga.members.update_member(request).await.unwrap_err().code(), code);
    }
    olga.groups.delete_group(DeleteGroupRequest { path: "acme/ci".into() }).await.unwrap();
}

#[tokio::test]
async fn a_deleted_group_takes_the_roles_that_it_gave_in_its_subgroups() {
    let plane = Plane::start().await;
    plane.group("acme").await;
    plane.group("acme/ci").await;
    plane.user("alice", false).await;
    plane.member("acme", "alice", Role::Guest).await;
    let mut node = plane.node();
    let password = Plane::password_of("alice");
    sign_in(&mut node, ("alice", &password), &["acme/ci"]).await.unwrap();
    plane.admin().groups.delete_group(DeleteGroupRequest { path: "acme".into() }).await.unwrap();
    assert_eq!(sign_in(&mut node, ("alice", &password), &["acme/ci"]).await.unwrap_err().0, NotFound);
    let told = crate::sign_in::snapshot(&mut node).await;
    assert!(told.revocations.iter().any(|revocation| revocation.user_epoch == 2));
}

#[tokio::test]
async fn no_token_may_do_more_than_its_maker() {
    let plane = Plane::start().await;
    plane.group("acme").await;
    for (name, role) in [("gus", Role::Guest), ("mia", Role::Maintainer), ("olga", Role::Owner)] {
        plane.user(name, false).await;
        plane.member("acme", name, role).await;
    }
    let access = |role: Role| CreateTokenRequest {
        owner: Some(Owner::GroupPath("acme".into())),
        name: "bot".into(),
        scopes: vec!["api".into()],
        kind: TokenKind::GroupAccess.into(),
        role: role.into(),
        ..Default::default()
    };
    let deploy = plane.token("acme", &["api"]).await.token;
    for (who, mut client, highest) in [
        ("guest", api(&plane, "gus").await, None),
        ("maintainer", api(&plane, "mia").await, Some(Role::Maintainer)),
        ("owner", api(&plane, "olga").await, Some(Role::Owner)),
        ("deploy token", plane.client(Some(&deploy)), Some(Role::Maintainer)),
        ("administrator", plane.admin(), Some(Role::Owner)),
    ] {
        for role in [Role::Guest, Role::Maintainer, Role::Owner] {
            let made = client.tokens.create_token(access(role)).await;
            assert_eq!(made.is_ok(), Some(role) <= highest, "{who} {role:?}");
            if let Ok(made) = made {
                let made = made.into_inner();
                assert!(made.token.starts_with("rs_grp_"));
                let beyond = plane.client(Some(&made.token)).tokens.create_token(access(Role::Owner)).await;
                assert_eq!(beyond.is_ok(), role == Role::Owner, "{who} {role:?}");
            }
        }
    }
    for request in [
        CreateTokenRequest { role: 0, ..access(Role::Guest) },
        CreateTokenRequest { kind: TokenKind::Group.into(), ..access(Role::Guest) },
        CreateTokenRequest { kind: TokenKind::Personal.into(), role: 0, ..access(Role::Guest) },
        CreateTokenRequest { kind: 99, role: 0, ..access(Role::Guest) },
    ] {
        assert_eq!(plane.admin().tokens.create_token(request).await.unwrap_err().code(), Code::InvalidArgument);
    }
}

#[tokio::test]
async fn a_job_token_pulls_from_its_group_for_minutes() {
    let plane = Plane::start().await;
    for path in ["acme", "acme/ci", "other"] {
        plane.group(path).await;
    }
    plane.group_with(CreateGroupRequest { path: "inner".into(), visibility: 2, ..Default::default() }).await;
    let ci = plane.token("acme", &["api"]).await.token;
    let request = CreateJobTokenRequest {
        group_path: "acme".into(),
        name: "job 7".into(),
        expires_in: None,
        ..Default::default()
    };
    let job = plane.client(Some(&ci)).tokens.create_job_token(request.clone()).await.unwrap().into_inner();
    assert!(job.token.starts_with("rs_job_"));
    let mut node = plane.node();
    let who = (job.username.as_str(), job.token.as_str());
    for path in ["acme", "acme/ci"] {
        assert_eq!(duration_seconds(sign_in(&mut node, who, &[path]).await.unwrap().expires_in), 900);
    }
    assert_eq!(sign_in(&mut node, who, &["other"]).await.unwrap_err().0, NotFound);
    let (reason, message) = sign_in(&mut node, who, &["inner"]).await.unwrap_err();
    assert_eq!((reason, message.contains("may not pull from inner")), (Denied, true), "{message}");
    for seconds in [59, 7201] {
        let expires_in = Some(prost_types::Duration { seconds, nanos: 0 });
        let refused =
            plane.admin().tokens.create_job_token(CreateJobTokenRequest { expires_in, ..request.clone() }).await;
        assert_eq!(refused.unwrap_err().code(), Code::InvalidArgument, "{seconds}");
    }
    plane.advance(14 * 60);
    assert_eq!(duration_seconds(sign_in(&mut node, who, &["acme"]).await.unwrap().expires_in), 60);
    plane.advance(60);
    assert_eq!(sign_in(&mut node, who, &["acme"]).await.unwrap_err().0, Unauthenticated);
}

#[tokio::test]
async fn a_service_token_purges_and_does_nothing_else() {
    let plane = Plane::start().await;
    for path in ["acme", "acme/ci", "other"] {
        plane.group(path).await;
    }
    let own = plane.group_token("acme", TokenKind::Service, Role::Unspecified, &[]).await;
    let all = plane.token_of(Owner::Service(true)).await;
    assert!(own.token.starts_with("rs_svc_"));
    let purge = |path: &str| PurgeCacheRequest::whole_group(path);
    for (path, by_own) in [("acme", true), ("acme/ci", true), ("other", false)] {
        assert_eq!(plane.client(Some(&own.token)).cache.purge_cache(purge(path)).await.is_ok(), by_own, "{path}");
        plane.client(Some(&all.token)).cache.purge_cache(purge(path)).await.unwrap();
    }
    let (reason, message) = sign_in(&mut plane.node(), (&own.username, &own.token), &["acme"]).await.unwrap_err();
    assert_eq!((reason, message.contains("service token does not pull")), (Unauthenticated, true), "{message}");
}

#[tokio::test]
async fn tokens_are_revoked_by_whoever_may_make_them() {
    let plane = Plane::start().await;
    plane.group("acme").await;
    for name in ["mia", "gus", "sam"] {
        plane.user(name, false).await;
    }
    plane.member("acme", "mia", Role::Maintainer).await;
    plane.member("acme", "gus", Role::Guest).await;
    let revoke = |id: &str| DeleteTokenRequest { id: id.into() };
    let token = plane.token("acme", &[]).await.id;
    let personal = plane.personal_token("mia", &[]).await.id;
    let node = plane.token_of(Owner::Node(true)).await.id;
    let (mut mia, mut gus, mut sam) = (api(&plane, "mia").await, api(&plane, "gus").await, api(&plane, "sam").await);
    assert_eq!(gus.tokens.delete_token(revoke(&token)).await.unwrap_err().code(), Code::PermissionDenied);
    assert_eq!(sam.tokens.delete_token(revoke(&token)).await.unwrap_err().code(), Code::NotFound);
    mia.tokens.delete_token(revoke(&token)).await.unwrap();
    assert_eq!(sam.tokens.delete_token(revoke(&personal)).await.unwrap_err().code(), Code::NotFound);
    mia.tokens.delete_token(revoke(&personal)).await.unwrap();
    assert_eq!(mia.tokens.delete_token(revoke(&node)).await.unwrap_err().code(), Code::NotFound);
    plane.admin().tokens.delete_token(revoke(&node)).await.unwrap();
    let others = ListTokensRequest { user: "mia".into(), ..Default::default() };
    assert_eq!(sam.tokens.list_tokens(others).await.unwrap_err().code(), Code::PermissionDenied);
}
