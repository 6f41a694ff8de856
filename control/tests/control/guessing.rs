//! Guessing is slowed, then refused for a while, and locks nobody out elsewhere.

use roadstead_proto::time::duration_seconds;
use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use axum::{body::Body, extract::ConnectInfo};
use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use http::{Request, header::AUTHORIZATION};
use roadstead_proto::{
    node::v1::{SignInRefusal, SignInRequest, sign_in_response::Result::Refused},
    v1::{AuditOutcome, CreateUserRequest, UpdateMemberRequest},
};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;
use tower::ServiceExt as _;

use crate::{
    audit,
    harness::{ADMIN_TOKEN, Plane},
    issuer::{Issuer, Signer},
    sign_in::sign_in_from,
};

const PASSWORD: &str = "correct horse battery";
const WRONG: &str = "wrong horse battery";
/// Too short to be anybody's: refused without the slow check.
const SHORT: &str = "short";
const HERE: &str = "192.0.2.1";
const ELSEWHERE: &str = "198.51.100.1";

/// A plane with alice, who may pull from acme.
async fn with_alice() -> Plane {
    let plane = Plane::start().await;
    plane.group("acme").await;
    let mut admin = plane.admin();
    let alice =
        CreateUserRequest { name: "alice".into(), password: PASSWORD.into(), admin: false, request_id: String::new() };
    admin.users.create_user(alice).await.unwrap();
    let guest = UpdateMemberRequest { group_path: "acme".into(), user: "alice".into(), role: 1, allow_missing: true };
    admin.members.update_member(guest).await.unwrap();
    plane
}

/// Returns the outcome of a sign-in for acme.
async fn try_in(plane: &Plane, from: &str, username: &str, password: &str) -> Option<SignInRefusal> {
    let answer = sign_in_from(&mut plane.node(), from, (username, password), &["acme"]).await;
    answer.err().map(|(reason, _)| reason)
}

#[tokio::test]
async fn guessing_a_password_is_slowed_then_refused_for_a_while_and_its_owner_signs_in_elsewhere() {
    use SignInRefusal::{TooManyRequests, Unauthenticated};
    let plane = with_alice().await;
    let started = Instant::now();
    for _ in 0..3 {
        assert_eq!(try_in(&plane, HERE, "alice", WRONG).await, Some(Unauthenticated));
    }
    assert_eq!(try_in(&plane, HERE, "alice", PASSWORD).await, None, "a success forgets typing errors");
    for _ in 0..10 {
        assert_eq!(try_in(&plane, HERE, "alice", WRONG).await, Some(Unauthenticated));
    }
    assert!(started.elapsed() > Duration::from_secs(5), "{:?}", started.elapsed());
    assert_eq!(try_in(&plane, HERE, "alice", PASSWORD).await, Some(TooManyRequests), "not even the right one");
    assert_eq!(try_in(&plane, HERE, "ALICE", PASSWORD).await, Some(TooManyRequests));
    let request = SignInRequest {
        username: "alice".into(),
        password: WRONG.into(),
        client_address: HERE.into(),
        ..Default::default()
    };
    let Some(Refused(refused)) = plane.node().node.sign_in(request).await.unwrap().into_inner().result else {
        panic!("signed in")
    };
    assert_eq!(duration_seconds(refused.retry_after), 300);
    assert!(refused.message.contains("300 seconds"), "{}", refused.message);
    assert_eq!(try_in(&plane, ELSEWHERE, "alice", PASSWORD).await, None, "the owner is elsewhere");
    assert_eq!(try_in(&plane, HERE, "bob", PASSWORD).await, Some(Unauthenticated), "others from here have their try");
    plane.advance(300);
    assert_eq!(try_in(&plane, HERE, "alice", PASSWORD).await, None);
}

#[tokio::test]
async fn secrets_that_nobody_can_guess_sign_in_from_a_paused_address() {
    let plane = with_alice().await;
    let deploy = plane.token("acme", &[]).await;
    let signer = Signer::ec("k");
    let issuer = Issuer::start(&[&signer]).await;
    crate::oidc::allow(&plane, &issuer).await;
    crate::oidc::trust(&plane, "acme", &issuer).await;
    // Many at once: what is counted holds for all of them.
    let tries = (0..80).map(|n| {
        let mut node = plane.node();
        let name = format!("user{}", n % 16);
        tokio::spawn(async move { sign_in_from(&mut node, HERE, (&name, SHORT), &["acme"]).await.unwrap_err().0 })
    });
    let mut unauthenticated = 0;
    for one in tries.collect::<Vec<_>>() {
        unauthenticated += i32::from(one.await.unwrap() == SignInRefusal::Unauthenticated);
    }
    assert_eq!(unauthenticated, 50, "and no more, however many at once");
    assert_eq!(try_in(&plane, HERE, "alice", PASSWORD).await, Some(SignInRefusal::TooManyRequests));
    assert_eq!(try_in(&plane, HERE, &deploy.username, &deploy.token).await, None);
    assert_eq!(try_in(&plane, HERE, "oidc", &signer.sign(&issuer.claims())).await, None);
    let other = if deploy.token.ends_with('x') { 'y' } else { 'x' };
    let wrong = format!("{}{other}", &deploy.token[..deploy.token.len() - 1]);
    assert_eq!(try_in(&plane, HERE, &deploy.username, &wrong).await, Some(SignInRefusal::TooManyRequests));
    assert_eq!(try_in(&plane, HERE, "oidc", "x").await, Some(SignInRefusal::TooManyRequests));
}

/// Calls the control port from an address, with an `Authorization` header.
async fn call(plane: &Plane, from: &str, authorization: &str) -> Status {
    let address: SocketAddr = format!("{from}:4711").parse().unwrap();
    let request = Request::post("/roadstead.v1.GroupService/ListGroups")
        .header("content-type", "application/grpc")
        .header(AUTHORIZATION, authorization)
        .extension(ConnectInfo(address))
        .body(Body::from(vec![0; 5]))
        .unwrap();
    let answer = plane.control.router().oneshot(request).await.unwrap();
    Status::from_header_map(answer.headers()).unwrap_or_else(|| Status::ok(""))
}

#[tokio::test]
async fn the_control_port_slows_guesses_too() {
    let plane = with_alice().await;
    let basic = |secret: &str| format!("Basic {}", BASE64.encode(format!("alice:{secret}")));
    for _ in 0..10 {
        assert_eq!(call(&plane, HERE, &basic(WRONG)).await.code(), Code::Unauthenticated);
    }
    let refused = call(&plane, HERE, &basic(PASSWORD)).await;
    assert_eq!(refused.code(), Code::ResourceExhausted);
    let retry = refused.get_details_retry_info().unwrap().retry_delay;
    assert_eq!(retry, Some(Duration::from_secs(300)));
    assert_eq!(call(&plane, ELSEWHERE, &basic(PASSWORD)).await.code(), Code::Ok);
    for _ in 0..60 {
        call(&plane, HERE, "Bearer guess").await;
    }
    assert_eq!(call(&plane, HERE, "Bearer guess").await.code(), Code::ResourceExhausted);
    // Good tokens are recognised before anything is counted, an administrator's own choice too.
    assert_eq!(call(&plane, HERE, &format!("Bearer {ADMIN_TOKEN}")).await.code(), Code::Ok);
    let made = plane.token("acme", &["api"]).await;
    assert_eq!(call(&plane, HERE, &format!("Bearer {}", made.token)).await.code(), Code::Ok);
    assert_eq!(call(&plane, ELSEWHERE, &format!("Bearer {ADMIN_TOKEN}")).await.code(), Code::Ok);
}

#[tokio::test]
async fn a_node_whose_token_was_chosen_by_whoever_deploys_it_is_not_held_up_by_guesses_from_its_network() {
    const TOKEN: &str = "0123456789abcdef0123456789abcdef0123456789abcdef";
    let plane = Plane::idle(|config| config.bootstrap_node_token = Some(TOKEN.into())).await;
    for _ in 0..60 {
        call(&plane, HERE, "Bearer guess").await;
    }
    assert_eq!(call(&plane, HERE, "Bearer guess").await.code(), Code::ResourceExhausted);
    // Known, and not for people's calls.
    assert_eq!(call(&plane, HERE, &format!("Bearer {TOKEN}")).await.code(), Code::PermissionDenied);
}

#[tokio::test]
async fn rest_says_429_and_when_to_come_back() {
    let plane = with_alice().await;
    let ask = async || {
        let address: SocketAddr = format!("{HERE}:4711").parse().unwrap();
        let request = Request::get("/api/v4/groups/acme/dependency_proxy/settings")
            .header("PRIVATE-TOKEN", "guess")
            .extension(ConnectInfo(address))
            .body(Body::empty())
            .unwrap();
        plane.control.router().oneshot(request).await.unwrap()
    };
    for _ in 0..10 {
        assert_eq!(ask().await.status(), 401);
    }
    let refused = ask().await;
    assert_eq!(refused.status(), 429);
    assert_eq!(refused.headers()["retry-after"], "300");
    assert_eq!(refused.headers()["content-type"], "application/json");
}

#[tokio::test]
async fn refused_sign_ins_are_recorded_without_secrets_and_repeats_counted() {
    let plane = with_alice().await;
    plane.group("other").await;
    let deploy = plane.token("other", &[]).await;
    let before = audit::all(&plane).await.len();
    for _ in 0..5 {
        try_in(&plane, HERE, "alice", WRONG).await;
    }
    try_in(&plane, HERE, &deploy.username, &deploy.token).await;
    try_in(&plane, HERE, &deploy.token, &deploy.token).await;
    try_in(&plane, HERE, "", "").await;
    call(&plane, HERE, "Bearer guess").await;
    let events = audit::all(&plane).await;
    let seen: Vec<_> = events[..events.len() - before]
        .iter()
        .rev()
        .map(|e| (e.actor.clone(), e.subject.as_str(), e.group_path.as_str(), e.count))
        .collect();
    assert_eq!(
        seen,
        [
            ("alice".to_owned(), "acme", "acme", 5),
            (format!("deploy token {}", deploy.username), "acme", "acme", 1),
            ("(a secret in place of a user name)".to_owned(), "acme", "acme", 1),
            ("(API token)".to_owned(), "control port", "", 1),
        ]
    );
    for event in &events[..events.len() - before] {
        assert_eq!((event.action.as_str(), event.outcome()), ("sign_in", AuditOutcome::Refused));
        assert_eq!(event.client_address, HERE);
    }
    let text = format!("{events:?}");
    for secret in [WRONG, PASSWORD, &deploy.token] {
        assert!(!text.contains(secret));
    }
}

#[tokio::test]
async fn a_flood_of_names_does_not_fill_the_audit() {
    let plane = Plane::start().await;
    let before = audit::all(&plane).await.len();
    for n in 0..400 {
        try_in(&plane, &crate::sign_in::another_address(), &format!("name{n}"), SHORT).await;
    }
    let events = audit::all(&plane).await;
    let new = &events[..events.len() - before];
    assert_eq!(new.len(), 301);
    assert_eq!(new.iter().map(|event| event.count).sum::<i64>(), 400, "and still all are counted");
}
