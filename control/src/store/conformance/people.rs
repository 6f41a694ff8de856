//! People, roles, tokens and the paths that groups had.

use roadstead_proto::{Role, TokenKind};

use super::{NOW, fresh, group};
use crate::{
    rules::{
        access::Reach,
        identity::{token::Token, user::User},
    },
    store::{
        groups::member,
        identity::{token, user},
    },
};

fn user(name: &str) -> User {
    User {
        id: format!("id-{name}"),
        name: name.parse().unwrap(),
        admin: true,
        disabled: false,
        etag: 1,
        epoch: 2,
        created_at_ms: NOW,
        last_seen_at_ms: None,
    }
}

#[tokio::test]
async fn roles_come_from_the_group_and_those_above_it_by_whole_segments() {
    let (_folder, store) = fresh().await;
    let mut tx = store.write().await.unwrap();
    for path in ["acme", "acme/ci", "acme/ci/deep", "acme-labs", "acm"] {
        group::insert(&mut tx, &group(path)).await.unwrap();
    }
    let alice = user("alice");
    assert!(user::insert(&mut tx, &alice, "hash").await.unwrap());
    assert!(!user::insert(&mut tx, &alice, "hash").await.unwrap());
    for (path, role) in [("acme", Role::Guest), ("acme/ci", Role::Owner), ("acme/ci", Role::Maintainer)] {
        member::put(&mut tx, &format!("id-{path}"), &alice.id, role, NOW).await.unwrap();
    }
    for (path, role, below) in [
        ("acme", Some(Role::Guest), true),
        ("acme/ci", Some(Role::Maintainer), false),
        ("acme/ci/deep", Some(Role::Maintainer), false),
        ("acme/not-there", Some(Role::Guest), false),
        ("acme-labs", None, false),
        ("acm", None, false),
    ] {
        let path = path.parse().unwrap();
        assert_eq!(member::role_at(&mut tx, &alice.id, &path).await.unwrap(), role, "{path}");
        assert_eq!(member::is_below(&mut tx, &alice.id, &path).await.unwrap(), below, "{path}");
    }
    let reach = Reach::MemberOf(alice.id.clone());
    let mut reached = group::page(&mut tx, &reach, "", 10).await.unwrap();
    assert_eq!(
        reached.drain(..).map(|group| group.path.to_string()).collect::<Vec<_>>(),
        ["acme", "acme/ci", "acme/ci/deep"]
    );
    assert_eq!(member::delete_of_group(&mut tx, "id-acme/ci").await.unwrap(), [alice.id.as_str()]);
    user::delete(&mut tx, &alice.id).await.unwrap();
    assert_eq!(user::by_name(&mut tx, &alice.name).await.unwrap(), None);
}

#[tokio::test]
async fn a_group_is_found_by_the_paths_it_had_and_by_its_own_first() {
    let (_folder, store) = fresh().await;
    let mut tx = store.write().await.unwrap();
    let acme = group("acme");
    group::insert(&mut tx, &acme).await.unwrap();
    let old: Vec<roadstead_proto::GroupPath> = vec!["apex".parse().unwrap(), "a/b".parse().unwrap()];
    group::set_old_paths(&mut tx, &acme.id, &old).await.unwrap();
    for path in &old {
        let found = group::by_present_or_old_path(&mut tx, path).await.unwrap().unwrap();
        assert_eq!((found.id, &found.old_paths), (acme.id.clone(), &old));
    }
    group::set_old_paths(&mut tx, &acme.id, &old[1..]).await.unwrap();
    assert_eq!(group::by_present_or_old_path(&mut tx, &old[0]).await.unwrap(), None);
    assert!(group::by_present_or_old_path(&mut tx, &acme.path).await.unwrap().is_some());
    group::delete(&mut tx, &acme.id).await.unwrap();
    assert_eq!(group::by_old_path(&mut tx, &old[1]).await.unwrap(), None);
}

#[tokio::test]
async fn only_job_tokens_are_forgotten_once_they_have_expired_long_enough() {
    let (_folder, store) = fresh().await;
    let mut tx = store.write().await.unwrap();
    for (id, kind, expires_at_ms) in [
        ("old job", TokenKind::Job, Some(NOW - 1)),
        ("job", TokenKind::Job, Some(NOW)),
        ("old token", TokenKind::Service, Some(NOW - 1)),
        ("token", TokenKind::Service, None),
    ] {
        let token = Token {
            id: id.into(),
            kind,
            name: "n".into(),
            username: "same".into(),
            group: None,
            user: None,
            role: None,
            scopes: vec![],
            created_at_ms: 0,
            expires_at_ms,
            last_used_at_ms: None,
        };
        token::insert(&mut tx, &token, None, id).await.unwrap();
    }
    token::prune_jobs(&mut tx, NOW).await.unwrap();
    let left: Vec<_> = token::page(&mut tx, "", 10).await.unwrap().into_iter().map(|token| token.id).collect();
    assert_eq!(left, ["job", "old token", "token"]);
}
