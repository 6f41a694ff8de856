//! Repeats of calls that create something: by the same caller with the same id, they create nothing again.

use prost_types::Duration;
use roadstead_proto::v1::{
    ClaimRule, CreateGroupRequest, CreateIssuerRequest, CreateJobTokenRequest, CreatePrefetchScheduleRequest,
    CreateTokenRequest, CreateTrustRequest, CreateUserRequest, DeleteTokenRequest, ListIssuersRequest,
    ListTokensRequest, create_token_request::Owner,
};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::{audit::all, harness::Plane};

const ID: &str = "0193a5c0-0000-7000-8000-000000000001";

fn token(name: &str) -> CreateTokenRequest {
    CreateTokenRequest {
        owner: Some(Owner::GroupPath("acme".into())),
        name: name.into(),
        request_id: ID.into(),
        ..Default::default()
    }
}

fn fields(refused: &Status) -> Vec<String> {
    let found = refused.get_details_bad_request().map(|bad| bad.field_violations).unwrap_or_default();
    found.into_iter().map(|violation| violation.field).collect()
}

async fn tokens(plane: &Plane) -> usize {
    let request = ListTokensRequest { group_path: "acme".into(), ..Default::default() };
    plane.admin().tokens.list_tokens(request).await.unwrap().into_inner().tokens.len()
}

/// Makes a call twice, and checks that the second leaves no trace and answers the same.
macro_rules! twice {
    ($plane:ident, $client:ident . $call:ident, $request:expr) => {{
        let request = $request;
        let first = $plane.admin().$client.$call(request.clone()).await.unwrap().into_inner();
        let events = all(&$plane).await.len();
        let second = $plane.admin().$client.$call(request).await.unwrap().into_inner();
        assert_eq!(first, second, stringify!($call));
        assert_eq!(all(&$plane).await.len(), events, stringify!($call));
        first
    }};
}

#[tokio::test]
async fn a_repeat_answers_with_what_the_first_call_created() {
    let plane = Plane::start().await;
    plane.group("acme").await;
    let issuer = || "https://gitlab.example.com".to_owned();
    plane.admin().oidc.create_issuer(CreateIssuerRequest { url: issuer() }).await.unwrap();
    let id = |n: u8| format!("request-{n}");
    let group = CreateGroupRequest { path: "other".into(), request_id: id(1), ..Default::default() };
    twice!(plane, groups.create_group, group);
    let password = "correct horse battery".to_owned();
    let user = CreateUserRequest { name: "alice".into(), password, admin: false, request_id: id(2) };
    twice!(plane, users.create_user, user);
    let made = twice!(plane, tokens.create_token, token("ci"));
    assert!(
        plane.client(Some(&made.token)).oidc.list_issuers(ListIssuersRequest::default()).await.is_err(),
        "it pulls only"
    );
    let job = CreateJobTokenRequest { group_path: "acme".into(), request_id: id(3), ..Default::default() };
    twice!(plane, tokens.create_job_token, job);
    assert_eq!(tokens(&plane).await, 2);
    let trust = CreateTrustRequest {
        group_path: "acme".into(),
        issuer: issuer(),
        audience: "proxy".into(),
        claims: vec![ClaimRule { claim: "sub".into(), pattern: "acme".into() }],
        request_id: id(4),
    };
    twice!(plane, oidc.create_trust, trust);
    let schedule = CreatePrefetchScheduleRequest {
        group_path: "acme".into(),
        image: "alpine:3".into(),
        every: Some(Duration { seconds: 3600, nanos: 0 }),
        request_id: id(5),
        ..Default::default()
    };
    let first = plane.admin().cache.create_prefetch_schedule(schedule.clone()).await.unwrap().into_inner();
    let second = plane.admin().cache.create_prefetch_schedule(schedule).await.unwrap().into_inner();
    assert_eq!(first.schedule.unwrap().id, second.schedule.unwrap().id);
}

#[tokio::test]
async fn repeats_at_once_create_one_token_and_get_its_secret() {
    let plane = Plane::start().await;
    plane.group("acme").await;
    let calls = (0..8).map(|_| {
        let mut admin = plane.admin();
        tokio::spawn(async move { admin.tokens.create_token(token("ci")).await.unwrap().into_inner() })
    });
    let mut answers = Vec::new();
    for call in calls.collect::<Vec<_>>() {
        answers.push(call.await.unwrap());
    }
    assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
    assert_eq!(tokens(&plane).await, 1);
    // The secret can be repeated, and yet is nowhere as it is.
    for entry in std::fs::read_dir(plane.folder.path().join("data")).unwrap() {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap();
        assert!(!bytes.windows(answers[0].token.len()).any(|window| window == answers[0].token.as_bytes()));
    }
}

#[tokio::test]
async fn an_id_belongs_to_one_caller_and_one_request_for_an_hour() {
    let plane = Plane::start().await;
    plane.group("acme").await;
    let first = plane.admin().tokens.create_token(token("ci")).await.unwrap().into_inner();
    let refused = plane.admin().tokens.create_token(token("another name")).await.unwrap_err();
    assert_eq!((refused.code(), fields(&refused)), (Code::InvalidArgument, vec!["request_id".to_owned()]));
    let other_call = CreateGroupRequest { path: "other".into(), request_id: ID.into(), ..Default::default() };
    let refused = plane.admin().groups.create_group(other_call).await.unwrap_err();
    assert_eq!((refused.code(), fields(&refused)), (Code::InvalidArgument, vec!["request_id".to_owned()]));
    let api = plane.token("acme", &["api"]).await.token;
    let of_other_caller = plane.client(Some(&api)).tokens.create_token(token("ci")).await.unwrap().into_inner();
    assert_ne!(of_other_caller.id, first.id);
    for id in ["with a space", &"x".repeat(65)] {
        let request = CreateTokenRequest { request_id: id.into(), ..token("ci") };
        let refused = plane.admin().tokens.create_token(request).await.unwrap_err();
        assert_eq!((refused.code(), fields(&refused)), (Code::InvalidArgument, vec!["request_id".to_owned()]));
    }
    plane.advance(3599);
    assert_eq!(plane.admin().tokens.create_token(token("ci")).await.unwrap().into_inner(), first);
    plane.advance(1);
    let later = plane.admin().tokens.create_token(token("ci")).await.unwrap().into_inner();
    assert_ne!((&later.id, &later.token), (&first.id, &first.token));
}

#[tokio::test]
async fn a_repeat_brings_nothing_back_that_was_deleted() {
    let plane = Plane::start().await;
    plane.group("acme").await;
    let first = plane.admin().tokens.create_token(token("ci")).await.unwrap().into_inner();
    plane.admin().tokens.delete_token(DeleteTokenRequest { id: first.id }).await.unwrap();
    assert_eq!(plane.admin().tokens.create_token(token("ci")).await.unwrap_err().code(), Code::NotFound);
    assert_eq!(tokens(&plane).await, 0);
}
