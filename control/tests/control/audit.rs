//! The audit: what is recorded, who may read it, and how long it is kept.

use prost_types::Timestamp;
use roadstead_proto::v1::{
    AddIssuerRequest, AuditEvent, AuditOutcome, CreateTokenRequest, DeleteGroupRequest, DeleteUpstreamRequest,
    ListEventsRequest, PurgeCacheRequest, Role, SetUpstreamRequest, TokenKind, UpdateGroupRequest,
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
    let upstream = SetUpstreamRequest { host: "quay.io".into(), url: "https://quay.io".into(), ..Default::default() };
    admin.upstreams.set_upstream(upstream).await.unwrap();
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
    let purge = PurgeCacheRequest { group_path: "acme".into(), ..Default::default() };
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

#[tokio::test]
async fn owners_read_the_events_of_their_group_and_none_of_another_that_had_its_path() {
    let plane = Plane::start().await;
    let owner = async || {
        let request = CreateTokenRequest {
            owner: Some(Owner::GroupPath("acme".into())),
            name: "auditor".into(),
            scopes: vec!["read_api".into()],
            kind: TokenKind::GroupAccess.into(),
            role: Role::Owner.into(),
            ..Default::default()
        };
        let token = plane.admin().tokens.create_token(request).await.unwrap().into_inner();
        plane.client(Some(&token.token))
    };
    plane.group("acme").await;
    plane.group("acme/ci").await;
    let (created, made) = ("group.create", "token.create");
    let seen = events(&mut owner().await, of("acme")).await;
    assert_eq!(seen.iter().map(|e| e.action.as_str()).collect::<Vec<_>>(), [made, created, created]);
    for path in ["acme/ci", "acme"] {
        plane.admin().groups.delete_group(DeleteGroupRequest { path: path.into() }).await.unwrap();
    }
    plane.advance(1);
    plane.group("acme").await;
    let seen = events(&mut owner().await, of("acme")).await;
    assert_eq!(seen.iter().map(|e| e.action.as_str()).collect::<Vec<_>>(), [made, created]);
    assert_eq!(events(&mut plane.admin(), of("acme")).await.len(), 7, "administrators see both");
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
    let add = || AddIssuerRequest { url: "https://gitlab.com".into() };
    admin.oidc.add_issuer(add()).await.unwrap();
    let before = all(&plane).await;
    admin.oidc.add_issuer(add()).await.unwrap();
    admin.groups.update_group(UpdateGroupRequest { path: "acme".into(), ..Default::default() }).await.unwrap();
    let purge = PurgeCacheRequest { group_path: "acme".into(), dry_run: true, ..Default::default() };
    admin.cache.purge_cache(purge).await.unwrap();
    assert_eq!(all(&plane).await, before);
}
