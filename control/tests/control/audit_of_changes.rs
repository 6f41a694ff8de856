//! Every call that changes something leaves exactly one event that says who did what to what, and no secret.

use std::collections::BTreeSet;

use prost::Message as _;
use prost_types::{Duration, FileDescriptorSet};
use roadstead_proto::{
    DESCRIPTORS,
    node::v1::WatchRequest,
    v1::{self, AuditEvent, AuditOutcome, create_token_request::Owner},
};
use tonic::{Response, Status};

use crate::{
    audit::all,
    harness::{ADMIN_TOKEN, Client, Plane, digest},
};

/// Everything secret that is sent or answered here.
const PASSWORD: &str = "correct horse battery";
const NEW_PASSWORD: &str = "battery horse correct";
const UPSTREAM_PASSWORD: &str = "dckr_pat_hunter2";

/// The events so far.
struct Seen {
    plane: Plane,
    admin: Client,
    events: usize,
    called: BTreeSet<&'static str>,
    secrets: Vec<String>,
}

impl Seen {
    /// Checks that the call left one event: with this action, subject and group.
    async fn one<T>(
        &mut self,
        rpc: &'static str,
        answer: Result<Response<T>, Status>,
        (action, subject, group): (&str, &str, &str),
    ) -> T {
        let answer = answer.unwrap_or_else(|refused| panic!("{rpc}: {refused}")).into_inner();
        let event = self.next(rpc).await;
        let what = (event.action.as_str(), event.subject.as_str(), event.group_path.as_str());
        assert_eq!(what, (action, subject, group), "{rpc}");
        assert_eq!(
            (event.actor.as_str(), event.outcome(), event.count),
            ("admin token", AuditOutcome::Done, 1),
            "{rpc}"
        );
        answer
    }

    async fn next(&mut self, rpc: &'static str) -> AuditEvent {
        let events = all(&self.plane).await;
        assert_eq!(events.len(), self.events + 1, "{rpc}: {:?}", events.first());
        self.events += 1;
        self.called.insert(rpc);
        events[0].clone()
    }
}

fn group_path() -> String {
    "acme".into()
}

#[tokio::test]
async fn every_change_leaves_one_event_without_secrets() {
    let plane = Plane::start().await;
    let admin = plane.admin();
    let events = all(&plane).await.len();
    let mut seen = Seen { plane, admin, events, called: BTreeSet::new(), secrets: Vec::new() };
    groups_and_people(&mut seen).await;
    tokens(&mut seen).await;
    upstreams_and_trust(&mut seen).await;
    cache(&mut seen).await;
    let delete = seen.admin.groups.delete_group(v1::DeleteGroupRequest { path: "acme/new".into() }).await;
    seen.one("DeleteGroup", delete, ("group.delete", "acme/new", "acme/new")).await;
    let rotate = v1::RotateKeysRequest { signing: true, sealing: false };
    let answer = seen.admin.cluster.rotate_keys(rotate).await;
    seen.one("RotateKeys", answer, ("keys.rotate", "signing", "")).await;
    let new_token = ADMIN_TOKEN.chars().rev().collect::<String>();
    let rotate = v1::RotateAdminTokenRequest { new_token: new_token.clone() };
    let rotated = seen.admin.tokens.rotate_admin_token(rotate).await.unwrap().into_inner();
    seen.called.insert("RotateAdminToken");
    let list = v1::ListEventsRequest::default();
    let events = seen.plane.client(Some(&new_token)).audit.list_events(list).await.unwrap().into_inner().events;
    assert_eq!((events[0].action.as_str(), events[0].subject.as_str()), ("admin_token.rotate", rotated.id.as_str()));
    seen.secrets.push(new_token.clone());

    let files = FileDescriptorSet::decode(DESCRIPTORS).unwrap().file;
    let changing: BTreeSet<&str> = files
        .iter()
        .filter(|file| file.package() == "roadstead.v1")
        .flat_map(|file| file.service.iter().flat_map(|service| &service.method))
        .map(|method| method.name())
        .filter(|name| !name.starts_with("Get") && !name.starts_with("List"))
        .collect();
    assert_eq!(seen.called, changing);

    seen.secrets.extend([PASSWORD, NEW_PASSWORD, UPSTREAM_PASSWORD].map(ToOwned::to_owned));
    let list = v1::ListEventsRequest { page_size: 1000, ..Default::default() };
    let events = seen.plane.client(Some(&new_token)).audit.list_events(list).await.unwrap().into_inner().events;
    let text = format!("{events:?}");
    for secret in &seen.secrets {
        assert!(!secret.is_empty() && !text.contains(secret.as_str()));
    }
}

async fn groups_and_people(seen: &mut Seen) {
    let create = v1::CreateGroupRequest { path: group_path(), ..Default::default() };
    let answer = seen.admin.groups.create_group(create).await;
    seen.one("CreateGroup", answer, ("group.create", "acme", "acme")).await;
    let update = v1::UpdateGroupRequest {
        path: group_path(),
        enabled: Some(true),
        max_age: Some(Duration { seconds: 60, nanos: 0 }),
        ..Default::default()
    };
    let answer = seen.admin.groups.update_group(update).await;
    seen.one("UpdateGroup", answer, ("group.update", "acme", "acme")).await;
    let create = v1::CreateGroupRequest { path: "acme/old".into(), ..Default::default() };
    let answer = seen.admin.groups.create_group(create).await;
    seen.one("CreateGroup", answer, ("group.create", "acme/old", "acme/old")).await;
    let rename =
        v1::UpdateGroupRequest { path: "acme/old".into(), new_path: Some("acme/new".into()), ..Default::default() };
    seen.admin.groups.update_group(rename).await.unwrap();
    let renamed = seen.next("UpdateGroup").await;
    let named = format!("{} {}", renamed.subject, renamed.detail);
    assert!(named.contains("acme/old") && named.contains("acme/new"), "{renamed:?}");

    let create =
        v1::CreateUserRequest { name: "alice".into(), password: PASSWORD.into(), admin: false, ..Default::default() };
    let answer = seen.admin.users.create_user(create).await;
    seen.one("CreateUser", answer, ("user.create", "alice", "")).await;
    let update =
        v1::UpdateUserRequest { name: "alice".into(), password: Some(NEW_PASSWORD.into()), ..Default::default() };
    let answer = seen.admin.users.update_user(update).await;
    seen.one("UpdateUser", answer, ("user.update", "alice", "")).await;
    let set = v1::UpdateMemberRequest {
        group_path: group_path(),
        user: "alice".into(),
        role: v1::Role::Guest.into(),
        allow_missing: true,
    };
    let answer = seen.admin.members.update_member(set.clone()).await;
    seen.one("UpdateMember", answer, ("member.create", "alice", "acme")).await;
    let maintainer = v1::UpdateMemberRequest { role: v1::Role::Maintainer.into(), ..set };
    let answer = seen.admin.members.update_member(maintainer).await;
    seen.one("UpdateMember", answer, ("member.update", "alice", "acme")).await;
    let remove = v1::DeleteMemberRequest { group_path: group_path(), user: "alice".into() };
    let answer = seen.admin.members.delete_member(remove).await;
    seen.one("DeleteMember", answer, ("member.delete", "alice", "acme")).await;
    let answer = seen.admin.users.delete_user(v1::DeleteUserRequest { name: "alice".into() }).await;
    seen.one("DeleteUser", answer, ("user.delete", "alice", "")).await;
}

async fn tokens(seen: &mut Seen) {
    for (owner, group) in [(Owner::GroupPath(group_path()), "acme"), (Owner::Node(true), "")] {
        let create = v1::CreateTokenRequest { owner: Some(owner), name: "ci".into(), ..Default::default() };
        let made = seen.admin.tokens.create_token(create).await.unwrap().into_inner();
        let event = seen.next("CreateToken").await;
        let what = (event.action.as_str(), event.subject.as_str(), event.group_path.as_str());
        assert_eq!(what, ("token.create", made.id.as_str(), group));
        assert!(event.detail.contains("ci"), "{event:?}");
        seen.secrets.push(made.token);
        let answer = seen.admin.tokens.delete_token(v1::DeleteTokenRequest { id: made.id.clone() }).await;
        seen.one("DeleteToken", answer, ("token.delete", &made.id, group)).await;
    }
    let create = v1::CreateJobTokenRequest {
        group_path: group_path(),
        name: "job 42".into(),
        expires_in: None,
        ..Default::default()
    };
    let made = seen.admin.tokens.create_job_token(create).await.unwrap().into_inner();
    let event = seen.next("CreateJobToken").await;
    assert_eq!((event.action.as_str(), event.group_path.as_str()), ("token.create", "acme"));
    assert!(event.detail.contains("job 42"), "{event:?}");
    seen.secrets.push(made.token);
}

async fn upstreams_and_trust(seen: &mut Seen) {
    let set = v1::UpdateUpstreamRequest::replacing("quay.io", "https://quay.io");
    let answer = seen.admin.upstreams.update_upstream(set).await;
    seen.one("UpdateUpstream", answer, ("upstream.create", "quay.io", "")).await;
    let update = v1::UpdateUpstreamRequest { host: "quay.io".into(), reserve_percent: Some(20), ..Default::default() };
    let answer = seen.admin.upstreams.update_upstream(update).await;
    seen.one("UpdateUpstream", answer, ("upstream.update", "quay.io", "")).await;
    let answer = seen.admin.upstreams.delete_upstream(v1::DeleteUpstreamRequest { host: "quay.io".into() }).await;
    seen.one("DeleteUpstream", answer, ("upstream.delete", "quay.io", "")).await;
    let host = || "docker.io".to_owned();
    let set = v1::UpdateCredentialRequest {
        group_path: group_path(),
        host: host(),
        username: "robot".into(),
        password: UPSTREAM_PASSWORD.into(),
        skip_verification: true,
        allow_missing: true,
    };
    let answer = seen.admin.upstreams.update_credential(set.clone()).await;
    seen.one("UpdateCredential", answer, ("credential.create", "docker.io", "acme")).await;
    let answer = seen.admin.upstreams.update_credential(set).await;
    seen.one("UpdateCredential", answer, ("credential.update", "docker.io", "acme")).await;
    let delete = v1::DeleteCredentialRequest { group_path: group_path(), host: host() };
    let answer = seen.admin.upstreams.delete_credential(delete).await;
    seen.one("DeleteCredential", answer, ("credential.delete", "docker.io", "acme")).await;

    let url = || "https://gitlab.example.com".to_owned();
    let answer = seen.admin.oidc.create_issuer(v1::CreateIssuerRequest { url: url() }).await;
    seen.one("CreateIssuer", answer, ("oidc.issuer.create", &url(), "")).await;
    let create = v1::CreateTrustRequest {
        group_path: group_path(),
        issuer: url(),
        audience: "roadstead".into(),
        claims: vec![v1::ClaimRule { claim: "project_path".into(), pattern: "acme/*".into() }],
        ..Default::default()
    };
    let trust = seen.admin.oidc.create_trust(create).await.unwrap().into_inner().trust.unwrap();
    let event = seen.next("CreateTrust").await;
    assert_eq!((event.action.as_str(), event.subject.as_str()), ("oidc.trust.create", trust.id.as_str()));
    assert!(event.detail.contains("project_path = acme/*"), "{event:?}");
    let answer = seen.admin.oidc.delete_trust(v1::DeleteTrustRequest { id: trust.id.clone() }).await;
    seen.one("DeleteTrust", answer, ("oidc.trust.delete", &trust.id, "acme")).await;
    let answer = seen.admin.oidc.delete_issuer(v1::DeleteIssuerRequest { url: url() }).await;
    seen.one("DeleteIssuer", answer, ("oidc.issuer.delete", &url(), "")).await;
}

async fn cache(seen: &mut Seen) {
    let get = v1::GetGroupRequest { path: group_path() };
    let group = seen.admin.groups.get_group(get).await.unwrap().into_inner().group.unwrap();
    seen.plane.node().link_manifest(&group, "library/alpine", "m-alpine", "3", &[]).await;
    let (image, tag) = (|| "alpine".to_owned(), || "3".to_owned());
    let pin = v1::PinTagRequest { group_path: group_path(), image: image(), tag: tag(), digest: digest("m-alpine") };
    let answer = seen.admin.cache.pin_tag(pin).await;
    seen.one("PinTag", answer, ("cache.pin", "docker.io/library/alpine:3", "acme")).await;
    let unpin = v1::UnpinTagRequest { group_path: group_path(), image: image(), tag: tag() };
    let answer = seen.admin.cache.unpin_tag(unpin).await;
    seen.one("UnpinTag", answer, ("cache.unpin", "docker.io/library/alpine:3", "acme")).await;
    let purge = v1::PurgeCacheRequest::whole_group(group_path());
    let answer = seen.admin.cache.purge_cache(purge).await;
    seen.one("PurgeCache", answer, ("cache.purge", "acme", "acme")).await;
    let retain = v1::ApplyRetentionRequest { group_path: group_path(), dry_run: false };
    let answer = seen.admin.cache.apply_retention(retain).await;
    seen.one("ApplyRetention", answer, ("cache.retain", "acme", "acme")).await;
    let create = v1::CreatePrefetchScheduleRequest {
        group_path: group_path(),
        image: "alpine:3".into(),
        every: Some(Duration { seconds: 3600, nanos: 0 }),
        ..Default::default()
    };
    let schedule = seen.admin.cache.create_prefetch_schedule(create).await.unwrap().into_inner().schedule.unwrap();
    let event = seen.next("CreatePrefetchSchedule").await;
    assert_eq!((event.action.as_str(), event.group_path.as_str()), ("prefetch_schedule.create", "acme"));
    let delete = v1::DeletePrefetchScheduleRequest { id: schedule.id };
    seen.admin.cache.delete_prefetch_schedule(delete).await.unwrap();
    let event = seen.next("DeletePrefetchSchedule").await;
    assert_eq!((event.action.as_str(), event.group_path.as_str()), ("prefetch_schedule.delete", "acme"));
    let prefetch = v1::PrefetchImageRequest { group_path: group_path(), image: "alpine:3".into(), platforms: vec![] };
    let mut node = seen.plane.node();
    let _watch = node.node.watch(WatchRequest::default()).await.unwrap();
    // Recorded as it begins: what it fetched stays, however it ends.
    let _stream = seen.admin.cache.prefetch_image(prefetch).await.unwrap();
    let event = seen.next("PrefetchImage").await;
    assert_eq!((event.action.as_str(), event.group_path.as_str()), ("cache.prefetch", "acme"));
    let check = v1::CheckCacheRequest { group_path: group_path(), deep: true };
    let _stream = seen.admin.cache.check_cache(check).await.unwrap();
    let event = seen.next("CheckCache").await;
    assert_eq!((event.action.as_str(), event.group_path.as_str()), ("cache.check", "acme"));
}
