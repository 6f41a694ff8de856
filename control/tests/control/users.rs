//! People: made, changed, deleted; signing in by password and personal token; what voids their registry tokens.

use roadstead_proto::{
    node::v1::SignInRefusal::{Denied, NotFound, Unauthenticated},
    v1::{
        CreateTokenRequest, CreateUserRequest, DeleteMemberRequest, DeleteUserRequest, GetUserRequest,
        ListTokensRequest, ListUsersRequest, Role, TokenKind, UpdateUserRequest, User, create_token_request::Owner,
    },
};
use tonic::{Code, Status};

use crate::{
    harness::{Plane, START_MS},
    sign_in::{claims, keys, sign_in, snapshot},
};

async fn update(plane: &Plane, request: UpdateUserRequest) -> Result<User, Status> {
    plane.admin().users.update_user(request).await.map(|answer| answer.into_inner().user.unwrap())
}

fn of(name: &str) -> UpdateUserRequest {
    UpdateUserRequest { name: name.into(), ..Default::default() }
}

/// The epoch below which the user's registry tokens are void, as nodes are told.
async fn void_below(plane: &Plane, id: &str) -> Option<i64> {
    let told = snapshot(&mut plane.node()).await;
    told.revocations.iter().find(|revocation| revocation.token_id == id).map(|revocation| revocation.user_epoch)
}

#[tokio::test]
async fn a_user_is_made_once_in_any_case_and_its_password_is_nowhere_in_the_database() {
    let plane = Plane::start().await;
    let user = plane.user("Alice", false).await;
    assert_eq!((user.name.as_str(), user.admin, user.disabled), ("alice", false, false));
    assert!(!user.etag.is_empty() && user.last_seen_at.is_none());
    let again = CreateUserRequest {
        name: "ALICE".into(),
        password: "another password".into(),
        admin: true,
        ..Default::default()
    };
    assert_eq!(plane.admin().users.create_user(again).await.unwrap_err().code(), Code::AlreadyExists);
    let read = plane.admin().users.get_user(GetUserRequest { name: "aLice".into() }).await.unwrap().into_inner();
    assert_eq!(read.user.unwrap(), user);
    let token = plane.personal_token("alice", &["api"]).await;
    sign_in(&mut plane.node(), ("alice", &Plane::password_of("Alice")), &[]).await.unwrap();
    let plane = plane.restart().await;
    for secret in [Plane::password_of("Alice"), token.token] {
        for entry in std::fs::read_dir(plane.folder.path().join("data")).unwrap() {
            let bytes = std::fs::read(entry.unwrap().path()).unwrap();
            assert!(!bytes.windows(secret.len()).any(|window| window == secret.as_bytes()));
        }
    }
}

#[tokio::test]
async fn everything_that_is_wrong_with_a_new_user_is_named() {
    use tonic_types::StatusExt as _;
    let plane = Plane::start().await;
    for (name, password, expected) in [
        ("a b", "short", &["name", "password"][..]),
        ("oidc", "long enough for anybody", &["name"]),
        ("alice", "elf letters", &["password"]),
    ] {
        let request =
            CreateUserRequest { name: name.into(), password: password.into(), admin: false, ..Default::default() };
        let refused = plane.admin().users.create_user(request).await.unwrap_err();
        let fields: Vec<_> =
            refused.get_details_bad_request().unwrap().field_violations.into_iter().map(|v| v.field).collect();
        assert_eq!(
            (refused.code(), fields.as_slice()),
            (Code::InvalidArgument, &*expected.iter().map(|f| f.to_string()).collect::<Vec<_>>())
        );
        assert!(!refused.message().contains(password), "{refused}");
    }
}

#[tokio::test]
async fn a_person_makes_the_first_token_with_name_and_password_and_none_for_others() {
    let plane = Plane::start().await;
    plane.user("alice", false).await;
    plane.user("bob", false).await;
    let create = |user: &str, scope: &str| CreateTokenRequest {
        owner: Some(Owner::User(user.into())),
        name: "laptop".into(),
        scopes: vec![scope.into()],
        ..Default::default()
    };
    let mut alice = plane.client_of("Alice", &Plane::password_of("alice"));
    let token = alice.tokens.create_token(create("alice", "api")).await.unwrap().into_inner();
    assert_eq!(token.username, "alice");
    assert!(token.token.starts_with("rs_per_"));
    assert_eq!(alice.tokens.create_token(create("bob", "api")).await.unwrap_err().code(), Code::PermissionDenied);
    let wrong = plane.client_of("alice", "not the password").tokens.create_token(create("alice", "api")).await;
    assert_eq!(wrong.unwrap_err().code(), Code::Unauthenticated);
    // A token makes tokens, but only one that may change things does.
    let mut with_token = plane.client(Some(&token.token));
    let reader = with_token.tokens.create_token(create("alice", "read_api")).await.unwrap().into_inner();
    let refused = plane.client(Some(&reader.token)).tokens.create_token(create("alice", "api")).await;
    assert_eq!(refused.unwrap_err().code(), Code::PermissionDenied);
    let own = ListTokensRequest { user: "alice".into(), ..Default::default() };
    let listed = with_token.tokens.list_tokens(own).await.unwrap().into_inner().tokens;
    let shown: Vec<_> = listed.iter().map(|t| (t.kind(), t.user.as_str(), t.scopes[0].as_str())).collect();
    assert_eq!(shown, [(TokenKind::Personal, "alice", "api"), (TokenKind::Personal, "alice", "read_api")]);
}

#[tokio::test]
async fn people_pull_where_they_are_members_and_refusals_tell_what_they_may_know() {
    let plane = Plane::start().await;
    for path in ["acme", "acme/ci", "other"] {
        plane.group(path).await;
    }
    plane.user("alice", false).await;
    plane.user("root", true).await;
    plane.member("acme/ci", "alice", Role::Guest).await;
    let (full, api, half) = (
        plane.personal_token("alice", &[]).await.token,
        plane.personal_token("alice", &["api"]).await.token,
        plane.personal_token("alice", &["read_registry"]).await.token,
    );
    let password = Plane::password_of("alice");
    let mut node = plane.node();
    for (name, who, groups, expected) in [
        ("password", ("alice", password.as_str()), &["acme/ci"][..], Ok(())),
        ("name in capitals", ("ALICE", &password), &["acme/ci"], Ok(())),
        ("login", ("alice", &password), &[], Ok(())),
        ("personal token", ("alice", &full), &["acme/ci"], Ok(())),
        ("personal api token", ("alice", &api), &["acme/ci"], Ok(())),
        ("half the scopes", ("alice", &half), &["acme/ci"], Err((Denied, "lacks write_registry"))),
        ("half the scopes, login", ("alice", &half), &[], Err((Denied, "lacks write_registry"))),
        ("the group above", ("alice", &password), &["acme"], Err((Denied, "user alice may not pull from acme;"))),
        ("another's private group", ("alice", &password), &["other"], Err((NotFound, "there is no group other"))),
        ("no group", ("alice", &password), &["nowhere"], Err((NotFound, "there is no group nowhere"))),
        ("wrong password", ("alice", "the password of bob"), &["acme/ci"], Err((Unauthenticated, "wrong user name"))),
        ("no such user", ("carol", &password), &["acme/ci"], Err((Unauthenticated, "wrong user name"))),
        ("another's token", ("root", &full), &["acme/ci"], Err((Unauthenticated, "wrong user name"))),
        ("an administrator", ("root", "the password of root"), &["other"], Ok(())),
    ] {
        match (sign_in(&mut node, who, groups).await, expected) {
            (Ok(_), Ok(())) => {}
            (Err((reason, message)), Err((expected, part))) => {
                assert_eq!(reason, expected, "{name}: {message}");
                assert!(message.contains(part), "{name}: {message}");
            }
            (got, expected) => panic!("{name}: {got:?} instead of {expected:?}"),
        }
    }
}

#[tokio::test]
async fn what_takes_a_users_right_away_voids_the_registry_tokens_that_the_user_has() {
    let plane = Plane::start().await;
    plane.group("acme").await;
    let user = plane.user("alice", true).await;
    plane.member("acme", "alice", Role::Guest).await;
    let mut password = Plane::password_of("alice");
    let mut node = plane.node();
    for (name, voids) in [
        ("promoted", false),
        ("member", false),
        ("password", true),
        ("demoted", true),
        ("removed", true),
        ("disabled", true),
    ] {
        let issued = sign_in(&mut node, ("alice", &password), &["acme"]).await.unwrap();
        let claims = claims(&issued.token, &keys(&mut node).await).unwrap();
        let mark = claims.user.unwrap();
        assert_eq!((mark.id.as_str(), claims.token_id), (user.id.as_str(), None));
        match name {
            "promoted" => {
                update(&plane, UpdateUserRequest { admin: Some(true), ..of("alice") }).await.map(|_| ()).unwrap()
            }
            "member" => plane.member("acme", "alice", Role::Maintainer).await,
            "password" => {
                password = "quite another password".into();
                let change = UpdateUserRequest { password: Some(password.clone()), ..of("alice") };
                update(&plane, change).await.map(|_| ()).unwrap();
            }
            "demoted" => {
                update(&plane, UpdateUserRequest { admin: Some(false), ..of("alice") }).await.map(|_| ()).unwrap()
            }
            "removed" => {
                let remove = DeleteMemberRequest { group_path: "acme".into(), user: "alice".into() };
                plane.admin().members.delete_member(remove).await.unwrap();
                assert_eq!(sign_in(&mut node, ("alice", &password), &["acme"]).await.unwrap_err().0, NotFound);
                plane.member("acme", "alice", Role::Guest).await;
            }
            _ => {
                update(&plane, UpdateUserRequest { disabled: Some(true), ..of("alice") }).await.map(|_| ()).unwrap();
                let (reason, message) = sign_in(&mut node, ("alice", &password), &["acme"]).await.unwrap_err();
                assert_eq!((reason, message.contains("disabled")), (Unauthenticated, true), "{message}");
            }
        }
        assert_eq!(void_below(&plane, &user.id).await.is_some_and(|epoch| mark.epoch < epoch), voids, "{name}");
    }
    // What is forgotten could not be good any more.
    plane.advance(2 * 24 * 3600);
    let plane = plane.restart().await;
    assert!(sign_in(&mut plane.node(), ("alice", &password), &["acme"]).await.is_err());
}

#[tokio::test]
async fn a_deleted_user_is_gone_with_memberships_and_tokens_and_a_new_one_of_that_name_is_another() {
    let plane = Plane::start().await;
    plane.group("acme").await;
    let user = plane.user("alice", false).await;
    plane.member("acme", "alice", Role::Owner).await;
    let token = plane.personal_token("alice", &[]).await;
    let delete = || DeleteUserRequest { name: "alice".into() };
    plane.admin().users.delete_user(delete()).await.unwrap();
    assert_eq!(plane.admin().users.delete_user(delete()).await.unwrap_err().code(), Code::NotFound);
    assert!(void_below(&plane, &user.id).await.unwrap() > 1);
    let again = plane.user("alice", false).await;
    assert_ne!(again.id, user.id);
    let mut node = plane.node();
    assert_eq!(sign_in(&mut node, ("alice", &token.token), &[]).await.unwrap_err().0, Unauthenticated);
    let password = Plane::password_of("alice");
    assert_eq!(sign_in(&mut node, ("alice", &password), &["acme"]).await.unwrap_err().0, NotFound);
}

#[tokio::test]
async fn a_disabled_user_does_nothing_on_the_control_port_either() {
    let plane = Plane::start().await;
    plane.user("alice", true).await;
    let token = plane.personal_token("alice", &["api"]).await.token;
    let list = ListUsersRequest::default;
    plane.client(Some(&token)).users.list_users(list()).await.unwrap();
    update(&plane, UpdateUserRequest { disabled: Some(true), ..of("alice") }).await.unwrap();
    for mut client in [plane.client(Some(&token)), plane.client_of("alice", &Plane::password_of("alice"))] {
        assert_eq!(client.users.list_users(list()).await.unwrap_err().code(), Code::Unauthenticated);
    }
    update(&plane, UpdateUserRequest { disabled: Some(false), ..of("alice") }).await.unwrap();
    plane.client(Some(&token)).users.list_users(list()).await.unwrap();
}

#[tokio::test]
async fn people_change_their_own_password_with_the_present_one_and_nothing_else_of_themselves() {
    let plane = Plane::start().await;
    plane.user("alice", false).await;
    let token = plane.personal_token("alice", &["api"]).await.token;
    let mut alice = plane.client_of("alice", &Plane::password_of("alice"));
    let change = |password: &str| UpdateUserRequest { password: Some(password.into()), ..of("alice") };
    let by_token = plane.client(Some(&token)).users.update_user(change("another password")).await.unwrap_err();
    assert_eq!(by_token.code(), Code::PermissionDenied);
    let promote = UpdateUserRequest { admin: Some(true), ..change("another password") };
    assert_eq!(alice.users.update_user(promote).await.unwrap_err().code(), Code::PermissionDenied);
    alice.users.update_user(change("another password")).await.unwrap();
    let refused = alice.users.get_user(GetUserRequest { name: "alice".into() }).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated);
    let mut alice = plane.client_of("alice", "another password");
    alice.users.get_user(GetUserRequest { name: "alice".into() }).await.unwrap();
}

#[tokio::test]
async fn an_old_etag_is_refused_and_changes_at_once_lose_none() {
    let plane = Plane::start().await;
    let read = plane.user("alice", false).await;
    let (admin, disabled) = tokio::join!(
        update(&plane, UpdateUserRequest { admin: Some(true), ..of("alice") }),
        update(&plane, UpdateUserRequest { disabled: Some(true), ..of("alice") }),
    );
    assert!(admin.is_ok() && disabled.is_ok());
    let now = update(&plane, of("alice")).await.unwrap();
    assert!(now.admin && now.disabled);
    let late = UpdateUserRequest { etag: read.etag, admin: Some(false), ..of("alice") };
    assert_eq!(update(&plane, late).await.unwrap_err().code(), Code::Aborted);
    update(&plane, UpdateUserRequest { etag: now.etag, admin: Some(false), ..of("alice") }).await.unwrap();
}

#[tokio::test]
async fn users_are_listed_by_name_and_last_seen_is_kept() {
    let plane = Plane::start().await;
    for name in ["carol", "alice", "bob"] {
        plane.user(name, false).await;
    }
    plane.advance(60);
    let token = plane.personal_token("bob", &["read_api"]).await.token;
    plane.client(Some(&token)).users.get_user(GetUserRequest { name: "bob".into() }).await.unwrap();
    let plane = plane.restart().await;
    let (mut page_token, mut seen) = (String::new(), Vec::new());
    loop {
        let request = ListUsersRequest { page_size: 2, page_token };
        let page = plane.admin().users.list_users(request).await.unwrap().into_inner();
        seen.extend(page.users.into_iter().map(|user| (user.name, user.last_seen_at.map(|at| at.seconds))));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    let expected = [("alice", None), ("bob", Some(START_MS / 1000 + 60)), ("carol", None)];
    assert_eq!(seen, expected.map(|(name, at)| (name.to_owned(), at)));
}
