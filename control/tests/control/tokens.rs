//! Tokens: made once, listed without secrets, revoked, and when they were last used.

use roadstead_proto::v1::{
    CreateTokenRequest, DeleteTokenRequest, ListGroupsRequest, ListTokensRequest, TokenKind,
    create_token_request::Owner,
};
use tonic::Code;

use crate::{
    harness::{Plane, START_MS},
    sign_in::sign_in,
};

fn of(group: &str) -> ListTokensRequest {
    ListTokensRequest { group_path: group.into(), ..Default::default() }
}

#[tokio::test]
async fn a_secret_is_answered_once_and_is_nowhere_in_the_database() {
    let plane = Plane::start().await;
    plane.group("acme").await;
    let made = plane.token("acme", &["purge"]).await;
    assert!(made.token.starts_with("rs_dep_") && made.token.len() == 7 + 49);
    let listed = plane.admin().tokens.list_tokens(of("acme")).await.unwrap().into_inner().tokens;
    let token = &listed[0];
    assert_eq!((token.id.as_str(), token.kind(), token.group_path.as_str()), (&*made.id, TokenKind::Group, "acme"));
    assert_eq!((token.scopes.as_slice(), token.username.as_str()), (&["purge".to_owned()][..], &*made.username));
    assert!(token.expires_at.is_none() && token.last_used_at.is_none());
    for entry in std::fs::read_dir(plane.folder.path().join("data")).unwrap() {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap();
        assert!(!bytes.windows(made.token.len()).any(|window| window == made.token.as_bytes()));
    }
}

#[tokio::test]
async fn a_groups_api_token_makes_and_revokes_tokens_of_its_groups_only() {
    let plane = Plane::start().await;
    for path in ["acme", "acme/ci", "other"] {
        plane.group(path).await;
    }
    let api = plane.token("acme", &["api"]).await;
    let mut client = plane.client(Some(&api.token));
    let create = |path: &str| CreateTokenRequest {
        owner: Some(Owner::GroupPath(path.into())),
        name: "ci".into(),
        ..Default::default()
    };
    let own = client.tokens.create_token(create("acme/ci")).await.unwrap().into_inner();
    assert_eq!(client.tokens.create_token(create("other")).await.unwrap_err().code(), Code::NotFound);
    let others = plane.token("other", &[]).await;
    let (denied, missing) = (
        client.tokens.delete_token(DeleteTokenRequest { id: others.id.clone() }).await.unwrap_err(),
        client.tokens.delete_token(DeleteTokenRequest { id: "missing".into() }).await.unwrap_err(),
    );
    let expected = missing.message().replace("missing", &others.id);
    assert_eq!((denied.code(), denied.message()), (Code::NotFound, expected.as_str()));
    client.tokens.delete_token(DeleteTokenRequest { id: own.id.clone() }).await.unwrap();
    let again = plane.admin().tokens.delete_token(DeleteTokenRequest { id: own.id }).await.unwrap_err();
    assert_eq!(again.code(), Code::NotFound);
    client.tokens.delete_token(DeleteTokenRequest { id: api.id }).await.unwrap();
    assert_eq!(client.tokens.list_tokens(of("acme")).await.unwrap_err().code(), Code::Unauthenticated);
}

#[tokio::test]
async fn the_administrators_only_token_is_not_revoked() {
    let plane = Plane::start().await;
    let all = plane.admin().tokens.list_tokens(ListTokensRequest::default()).await.unwrap().into_inner().tokens;
    let admin = all.iter().find(|token| token.kind() == TokenKind::Admin).unwrap();
    let revoke = DeleteTokenRequest { id: admin.id.clone() };
    assert_eq!(plane.admin().tokens.delete_token(revoke).await.unwrap_err().code(), Code::FailedPrecondition);
}

#[tokio::test]
async fn tokens_are_listed_in_the_order_they_were_made() {
    let plane = Plane::start().await;
    plane.group("acme").await;
    let mut made = Vec::new();
    for _ in 0..5 {
        made.push(plane.token("acme", &[]).await.id);
    }
    let (mut page_token, mut seen) = (String::new(), Vec::new());
    loop {
        let request = ListTokensRequest { page_size: 2, page_token, ..of("acme") };
        let page = plane.admin().tokens.list_tokens(request).await.unwrap().into_inner();
        seen.extend(page.tokens.into_iter().map(|token| token.id));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    assert_eq!(seen, made);
}

#[tokio::test]
async fn a_new_token_that_cannot_be_is_refused() {
    let plane = Plane::start().await;
    plane.group("acme").await;
    let good =
        || CreateTokenRequest { owner: Some(Owner::GroupPath("acme".into())), name: "n".into(), ..Default::default() };
    let seconds = |seconds| Some(prost_types::Duration { seconds, nanos: 0 });
    for (name, request, code) in [
        ("no owner", CreateTokenRequest { owner: None, ..good() }, Code::InvalidArgument),
        ("no name", CreateTokenRequest { name: String::new(), ..good() }, Code::InvalidArgument),
        ("bad scope", CreateTokenRequest { scopes: vec!["root".into()], ..good() }, Code::InvalidArgument),
        ("no time", CreateTokenRequest { expires_in: seconds(0), ..good() }, Code::InvalidArgument),
        ("too long", CreateTokenRequest { expires_in: seconds(400_000_000), ..good() }, Code::InvalidArgument),
        (
            "node with scopes",
            CreateTokenRequest { owner: Some(Owner::Node(true)), scopes: vec!["api".into()], ..good() },
            Code::InvalidArgument,
        ),
        ("no group", CreateTokenRequest { owner: Some(Owner::GroupPath("gone".into())), ..good() }, Code::NotFound),
    ] {
        assert_eq!(plane.admin().tokens.create_token(request).await.unwrap_err().code(), code, "{name}");
    }
}

#[tokio::test]
async fn an_expired_api_token_stops_working() {
    let plane = Plane::start().await;
    plane.group("acme").await;
    let request = CreateTokenRequest {
        owner: Some(Owner::GroupPath("acme".into())),
        name: "n".into(),
        scopes: vec!["read_api".into()],
        expires_in: Some(prost_types::Duration { seconds: 60, nanos: 0 }),
        ..Default::default()
    };
    let token = plane.admin().tokens.create_token(request).await.unwrap().into_inner();
    let mut client = plane.client(Some(&token.token));
    plane.advance(59);
    client.groups.list_groups(ListGroupsRequest::default()).await.unwrap();
    plane.advance(1);
    let refused = client.groups.list_groups(ListGroupsRequest::default()).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated);
}

#[tokio::test]
async fn last_use_is_kept_over_a_stop_to_within_five_minutes() {
    let plane = Plane::start().await;
    plane.group("acme").await;
    let token = plane.token("acme", &[]).await;
    for seconds in [10, 60] {
        plane.advance(seconds);
        sign_in(&mut plane.node(), (&token.username, &token.token), &["acme"]).await.unwrap();
    }
    let plane = plane.restart().await;
    let listed = plane.admin().tokens.list_tokens(of("acme")).await.unwrap().into_inner().tokens;
    assert_eq!(listed[0].last_used_at.map(|at| at.seconds), Some(START_MS / 1000 + 70));
}
