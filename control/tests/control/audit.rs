//! The audit: what is recorded, who may read it, and how long it is kept.

use prost_types::Timestamp;
use roadstead_proto::v1::{
    AuditEvent, AuditOutcome, CreateIssuerRequest, CreateTokenRequest, DeleteGroupRequest, DeleteUpstreamRequest,
    ListEventsRequest, PurgeCacheRequest, Role, TokenKind, UpdateGroupRequest, UpdateUpstreamRequest,
    create_token_request::Owner,
};
use tonic::Code;

use crate::harness::{Client, Plane, START_MS};

pub async fn events(client: &mut Client, request: ListEventsRequest) -> Vec<AuditEvent> {
    client.audit.list_events(request).await.unwrap().into_inner().events
}

pub async fn all(plane: &Plane) -> Vec<AuditEvent> {
    events(&mut plane.admin(), ListEventsRequest { page_size: 1000, ..Default::default() }).await
}

fn of(group: &str) -> ListEventsRequest {
    ListEventsRequest { group_path: group.into(), ..Default::default() }
}

fn at(ms: i64) -> Option<Timestamp> {
    Some(Timestamp { seconds: ms / 1000, nanos: 0 })
}

fn names(events: &[AuditEvent]) -> Vec<(&str, &str)> {
    events.iter().map(|event| (event.action.as_str(), event.subject.as_str())).collect()
}

#[tokio::test]
async fn events_are_listed_newest_first_by_group_and_time_on_pages() {
    let plane = Plane::start().await;
    for path in ["acme", "acme/ci", "acme-labs", "other"] {
        plane.group(path).await;
        plane.advance(10);
    }
    let mut admin = plane.admin();
    let frozen = UpdateGroupRequest { path: "acme/ci".into(), frozen: Some(true), ..Default::default() };
    admin.groups.update_group(frozen).await.unwrap();
    let (create, update) = ("group.create", "group.update");
    let all_of_acme = [(update, "acme/ci"), (create, "acme/ci"), (create, "acme")];
    assert_eq!(names(&events(&mut admin, of("acme")).await), all_of_acme);
    assert_eq!(names(&events(&mut admin, of("acme/ci")).await), all_of_acme[..2]);
    let since = ListEventsRequest { since: at(START_MS + 10_000), ..of("acme") };
    assert_eq!(names(&events(&mut admin, since.clone()).await), all_of_acme[..2]);
    let between = ListEventsRequest { until: at(START_MS + 40_000), ..since };
    assert_eq!(names(&events(&mut admin, between).await), all_of_acme[1..2]);
    let mut paged = Vec::new();
    let mut request = ListEventsRequest { page_size: 2, ..Default::default() };
    loop {
        let page = admin.audit.list_events(request.clone()).await.unwrap().into_inner();
        assert!(page.events.len() <= 2);
        paged.extend(page.events);
        if page.next_page_token.is_empty() {
            break;
        }
        request.page_token = page.next_page_token;
    }
    assert_eq!(paged, all(&plane).await);
    let first = &paged[0];
    assert_eq!((first.actor.as_str(), first.outcome(), first.count), ("admin token", AuditOutcome::Done, 1));
    assert_eq!(first.at, at(START_MS + 40_000));
    assert!(first.detail.contains("frozen"), "{}", first.detail);
}

#[tokio::test]
async fn refused_and_failed_changes_are_recorded_and_repeats_counted() {
    let plane = Plane::start().await;
    plane.group("acme").await;
    let reader = plane.token("acme", &["read_api"]).await;
    let mut reads = plane.client(Some(&reader.token));
    let before = all(&plane).await.len();
    for _ in 0..3 {
        let delete = DeleteGroupRequest { path: "acme".into() };
        assert_eq!(reads.groups.delete_group(delete).await.unwrap_err().code(), Code::PermissionDenied);
    }
    let mut admin = plane.admin();
    let upstream = UpdateUpstreamRequest::replacing("quay.io", "https://quay.io");
    admin.upstreams.update_upstream(upstream).await.unwrap();
    let upstreams = vec!["quay.io".to_owned()];
    let upstreams = Some(roadstead_proto::v1::UpstreamList { hosts: upstreams });
    let uses = UpdateGroupRequest { path: "acme".into(), upstreams, ..Default::default() };
    admin.groups.update_group(uses).await.unwrap();
    let delete = DeleteUpstreamRequest { host: "quay.io".into() };
    assert_eq!(admin.upstreams.delete_upstream(delete).await.unwrap_err().code(), Code::FailedPrecondition);
    let recorded = all(&plane).await;
    assert_eq!(recorded.len() - before, 4);
    let (failed, refused) = (&recorded[0], &recorded[3]);
    assert_eq!((failed.action.as_str(), failed.outcome()), ("upstream.delete", AuditOutcome::Failed));
    assert_eq!((refused.action.as_str(), refused.outcome(), refused.count), ("group.delete", AuditOutcome::Refused, 3));
    assert!(refused.actor.contains(&reader.id) && refused.detail.contains("scope api"), "{refused:?}");
    plane.advance(60);
    let purge = PurgeCacheRequest::whole_group("acme");
    assert!(reads.cache.purge_cache(purge.clone()).await.is_err());
    plane.advance(60);
    assert!(reads.cache.purge_cache(purge).await.is_err());
    assert_eq!(all(&plane).await.len() - before, 6, "another minute, another event");
}

#[tokio::test]
async fn who_may_read_the_audit() {
    let plane = Plane::start().await;
    plane.group("acme").await;
    plane.group("other").await;
    let maintainer = plane.token("acme", &["api"]).await;
    let mut client = plane.client(Some(&maintainer.token));
    for (request, expected) in [(of(""), "administrator"), (of("acme"), "role owner"), (of("other"), "no group")] {
        let refused = client.audit.list_events(request).await.unwrap_err();
        assert!(refused.message().contains(expected), "{refused:?}");
    }
    let mut scopeless = plane.client(Some(&plane.token("acme", &[]).await.token));
    assert!(scopeless.audit.list_events(of("acme")).await.unwrap_err().message().contains("scope read_api"));
    let bad = ListEventsRequest { page_token: "%".into(), ..Default::default() };
    assert_eq!(plane.admin().audit.list_events(bad).await.unwrap_err().code(), Code::InvalidArgument);
}

/// A client that owns the group.
async fn owner_of(plane: &Plane, path: &str) -> Client {
    let request = CreateTokenRequest {
        owner: Some(Owner::GroupPath(path.into())),
        name: "auditor".into(),
        scopes: vec!["read_api".into()],
        kind: TokenKind::GroupAccess.into(),
        role: Role::Owner.into(),
        ..Default::default()
    };
    let token = plane.admin().tokens.create_token(request).await.unwrap().into_inner();
    plane.client(Some(&token.token))
}

fn actions(events: &[AuditEvent]) -> Vec<&str> {
    events.iter().map(|event| event.action.as_str()).collect()
}

async fn rename(plane: &Plane, from: &str, to: &str) {
    let request = UpdateGroupRequest { path: from.into(), new_path: Some(to.into()), ..Default::default() };
    plane.admin().groups.update_group(request).await.unwrap();
}

const CREATED: &str = "group.create";
const TOKEN: &str = "token.create";

#[tokio::test]
async fn owners_read_none_of_what_another_group_did_that_had_the_path() {
    let plane = Plane::start().await;
    // Older than all that happens at the path that it takes in the end.
    plane.group("older").await;
    plane.group("acme").await;
    plane.group("acme/ci").await;
    assert_eq!(actions(&events(&mut owner_of(&plane, "acme").await, of("acme")).await), [TOKEN, CREATED, CREATED]);
    plane.admin().groups.delete_group(DeleteGroupRequest { path: "acme/ci".into() }).await.unwrap();
    let seen = events(&mut owner_of(&plane, "acme").await, of("acme")).await;
    assert_eq!(actions(&seen)[..2], [TOKEN, "group.delete"], "what becomes of subgroups is known to owners above");
    plane.admin().groups.delete_group(DeleteGroupRequest { path: "acme".into() }).await.unwrap();
    // In the same instant of the clock.
    plane.group("acme").await;
    assert_eq!(actions(&events(&mut owner_of(&plane, "acme").await, of("acme")).await), [TOKEN, CREATED]);
    assert_eq!(events(&mut plane.admin(), of("acme")).await.len(), 8, "administrators see all");
    rename(&plane, "acme", "gone").await;
    rename(&plane, "older", "acme").await;
    let seen = events(&mut owner_of(&plane, "acme").await, of("acme")).await;
    let own = [(TOKEN, "acme"), ("group.update", "older"), (CREATED, "older")];
    assert_eq!(seen.iter().map(|e| (e.action.as_str(), e.group_path.as_str())).collect::<Vec<_>>(), own);
}

#[tokio::test]
async fn a_renamed_group_and_its_subgroups_keep_their_events() {
    let plane = Plane::start().await;
    plane.group("acme").await;
    plane.group("acme/ci").await;
    let mut owner = owner_of(&plane, "acme").await;
    let before = events(&mut owner, of("acme")).await;
    rename(&plane, "acme", "umbrella").await;
    let after = events(&mut owner, of("umbrella")).await;
    assert_eq!((after[0].action.as_str(), &after[1..]), ("group.update", &before[..]));
    assert_eq!(actions(&events(&mut owner, of("umbrella/ci")).await), [CREATED]);
}

#[tokio::test]
async fn events_are_forgotten_after_their_time() {
    let plane = Plane::start().await;
    plane.group("acme").await;
    plane.advance(399 * 24 * 3600);
    plane.group("young").await;
    let plane = plane.restart().await;
    plane.advance(2 * 24 * 3600);
    plane.control.keep_up_once().await.unwrap();
    let left = all(&plane).await;
    assert_eq!(names(&left), [("group.create", "young")]);
}

#[tokio::test]
async fn what_changes_nothing_is_not_recorded() {
    let plane = Plane::start().await;
    plane.group("acme").await;
    let mut admin = plane.admin();
    let add = || CreateIssuerRequest { url: "https://gitlab.com".into() };
    admin.oidc.create_issuer(add()).await.unwrap();
    let before = all(&plane).await;
    admin.oidc.create_issuer(add()).await.unwrap();
    admin.groups.update_group(UpdateGroupRequest { path: "acme".into(), ..Default::default() }).await.unwrap();
    let purge = PurgeCacheRequest::whole_group("acme").dry_run(true);
    admin.cache.purge_cache(purge).await.unwrap();
    assert_eq!(all(&plane).await, before);
}
