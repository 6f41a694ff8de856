//! The most that owners can make: each limit refuses one more, tells its flag, and lets everybody remove.

use roadstead_control::{
    Clock,
    rules::limits::{Limit, Limits},
};
use roadstead_proto::{
    node::v1::{WatchRequest, watch_response::Event},
    v1::{
        CreateGroupRequest, CreatePrefetchScheduleRequest, CreateTokenRequest, DeleteGroupRequest, DeleteTokenRequest,
        ImagePatterns, PinTagRequest, Role, UpdateGroupRequest, UpdateMemberRequest, UpdateUpstreamRequest,
        create_token_request::Owner,
    },
};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::harness::{Client, Plane, START_MS, config};

async fn plane(limits: Limits) -> Plane {
    Plane::idle(|config| config.limits = limits).await
}

/// Somebody who owns a group and is nothing else.
async fn owner(plane: &Plane, group: &str) -> Client {
    plane.user("olga", false).await;
    plane.member(group, "olga", Role::Owner).await;
    plane.client(Some(&plane.personal_token("olga", &["api"]).await.token))
}

#[track_caller]
fn refused<T: std::fmt::Debug>(result: Result<T, Status>, limit: Limit) {
    let status = result.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted, "{status:?}");
    let info = status.get_details_error_info().unwrap();
    assert_eq!((info.reason.as_str(), info.metadata["flag"].as_str()), ("LIMIT_REACHED", limit.flag()));
    assert!(status.message().contains(limit.flag()), "{}", status.message());
}

fn group(path: &str) -> CreateGroupRequest {
    CreateGroupRequest { path: path.into(), ..Default::default() }
}

fn patterns(count: usize) -> ImagePatterns {
    ImagePatterns { patterns: (0..count).map(|number| format!("{number:0>400}")).collect() }
}

fn denies(path: &str, count: usize) -> UpdateGroupRequest {
    UpdateGroupRequest { path: path.into(), denied_images: Some(patterns(count)), ..Default::default() }
}

fn renamed(path: &str, to: &str) -> UpdateGroupRequest {
    UpdateGroupRequest { path: path.into(), new_path: Some(to.into()), ..Default::default() }
}

#[tokio::test]
async fn subgroups_are_limited_for_each_top_level_group_at_every_depth_and_by_moving() {
    let plane = plane(Limits::default().with(Limit::Subgroups, 3).with(Limit::Depth, 3)).await;
    for path in ["acme", "other", "other/a"] {
        plane.group(path).await;
    }
    let mut olga = owner(&plane, "acme").await;
    for path in ["acme/a", "acme/a/b", "acme/c"] {
        olga.groups.create_group(group(path)).await.unwrap();
    }
    for path in ["acme/d", "acme/a/c"] {
        refused(olga.groups.create_group(group(path)).await, Limit::Subgroups);
    }
    let mut admin = plane.admin();
    refused(admin.groups.update_group(renamed("other/a", "acme/x")).await, Limit::Subgroups);
    refused(admin.groups.update_group(renamed("other", "acme/c/other")).await, Limit::Depth);
    refused(admin.groups.create_group(group("other/1/2/3")).await, Limit::Depth);
    // Within the tree it is no more than before, and what is removed makes room.
    olga.groups.update_group(renamed("acme/c", "acme/d")).await.unwrap();
    olga.groups.delete_group(DeleteGroupRequest { path: "acme/d".into() }).await.unwrap();
    olga.groups.create_group(group("acme/e")).await.unwrap();
    plane.group("other/b").await;
}

#[tokio::test]
async fn bytes_of_settings_are_limited_for_a_group_a_tree_and_in_total() {
    let limits = Limits::default().with(Limit::GroupBytes, 20_000).with(Limit::TreeBytes, 40_000);
    let plane = plane(limits.with(Limit::TotalBytes, 70_000)).await;
    for path in ["acme", "beta", "gamma"] {
        plane.group(path).await;
    }
    let mut olga = owner(&plane, "acme").await;
    refused(olga.groups.update_group(denies("acme", 50)).await, Limit::GroupBytes);
    let large = CreateGroupRequest { allowed_images: Some(patterns(50)), ..group("acme/large") };
    refused(olga.groups.create_group(large).await, Limit::GroupBytes);
    for path in ["acme/a", "acme/b", "acme/c"] {
        olga.groups.create_group(group(path)).await.unwrap();
    }
    olga.groups.update_group(denies("acme/a", 45)).await.unwrap();
    olga.groups.update_group(denies("acme/b", 45)).await.unwrap();
    refused(olga.groups.update_group(denies("acme/c", 45)).await, Limit::TreeBytes);
    // Others have room of their own, until all of it is taken; administrators are told, too.
    let mut admin = plane.admin();
    admin.groups.update_group(denies("beta", 45)).await.unwrap();
    refused(admin.groups.update_group(denies("gamma", 45)).await, Limit::TotalBytes);
    admin.groups.update_group(denies("gamma", 31)).await.unwrap();
    let url = Some(format!("https://hub.example/{}", "x".repeat(1950)));
    let upstream = UpdateUpstreamRequest { host: "docker.io".into(), url, ..Default::default() };
    refused(admin.upstreams.update_upstream(upstream).await, Limit::TotalBytes);
    // Less is always possible.
    olga.groups.update_group(denies("acme/a", 1)).await.unwrap();
    admin.groups.update_group(denies("gamma", 45)).await.unwrap();
}

#[tokio::test]
async fn lowered_limits_refuse_growth_and_nothing_else() {
    let plane = plane(Limits::default()).await;
    plane.group("acme").await;
    plane.admin().groups.update_group(denies("acme", 50)).await.unwrap();
    let (folder, clock) = (plane.folder.clone(), Clock::standing_at(START_MS));
    plane.stop().await;
    let mut config = config(&folder);
    config.limits = Limits::default().with(Limit::GroupBytes, 1000).with(Limit::TotalBytes, 1000);
    let plane = Plane::start_with(config, folder, clock).await;
    let mut admin = plane.admin();
    refused(admin.groups.update_group(denies("acme", 51)).await, Limit::GroupBytes);
    let frozen = UpdateGroupRequest { path: "acme".into(), frozen: Some(true), ..Default::default() };
    admin.groups.update_group(frozen).await.unwrap();
    admin.groups.update_group(denies("acme", 49)).await.unwrap();
    refused(admin.groups.create_group(group("beta")).await, Limit::TotalBytes);
    admin.groups.delete_group(DeleteGroupRequest { path: "acme".into() }).await.unwrap();
    plane.group("beta").await;
}

#[tokio::test]
async fn tokens_are_limited_for_a_tree_and_those_that_nodes_remember_as_revoked_count() {
    let plane = plane(Limits::default().with(Limit::Tokens, 4)).await;
    for path in ["acme", "acme/ci", "other"] {
        plane.group(path).await;
    }
    let mut olga = owner(&plane, "acme").await;
    let token = |path: &str| CreateTokenRequest {
        owner: Some(Owner::GroupPath(path.into())),
        name: "t".into(),
        scopes: vec!["read_registry".into()],
        ..Default::default()
    };
    for _ in 0..3 {
        let id = olga.tokens.create_token(token("acme")).await.unwrap().into_inner().id;
        olga.tokens.delete_token(DeleteTokenRequest { id }).await.unwrap();
    }
    olga.tokens.create_token(token("acme/ci")).await.unwrap();
    refused(olga.tokens.create_token(token("acme")).await, Limit::Tokens);
    // Neither another name nor another group makes nodes forget.
    olga.groups.update_group(renamed("acme", "apex")).await.unwrap();
    refused(olga.tokens.create_token(token("apex")).await, Limit::Tokens);
    olga.groups.delete_group(DeleteGroupRequest { path: "apex/ci".into() }).await.unwrap();
    olga.groups.create_group(group("apex/ci")).await.unwrap();
    refused(olga.tokens.create_token(token("apex/ci")).await, Limit::Tokens);
    plane.admin().tokens.create_token(token("other")).await.unwrap();
    // A person's own: one there is already.
    let own = || CreateTokenRequest { owner: Some(Owner::User("olga".into())), ..token("") };
    for _ in 0..3 {
        let id = olga.tokens.create_token(own()).await.unwrap().into_inner().id;
        olga.tokens.delete_token(DeleteTokenRequest { id }).await.unwrap();
    }
    refused(olga.tokens.create_token(own()).await, Limit::Tokens);
}

#[tokio::test]
async fn members_schedules_and_pins_of_a_group_are_limited() {
    let limits = Limits::default().with(Limit::Members, 2).with(Limit::Schedules, 2);
    let plane = plane(limits.with(Limit::Pins, 2)).await;
    plane.group("acme").await;
    let mut olga = owner(&plane, "acme").await;
    for name in ["paul", "quinn"] {
        plane.user(name, false).await;
    }
    let member = |user: &str, role: Role| UpdateMemberRequest {
        group_path: "acme".into(),
        user: user.into(),
        role: role.into(),
        allow_missing: true,
    };
    olga.members.update_member(member("paul", Role::Guest)).await.unwrap();
    refused(olga.members.update_member(member("quinn", Role::Guest)).await, Limit::Members);
    olga.members.update_member(member("paul", Role::Maintainer)).await.unwrap();

    let schedule = |image: &str| CreatePrefetchScheduleRequest {
        group_path: "acme".into(),
        image: image.into(),
        every: Some(prost_types::Duration { seconds: 3600, nanos: 0 }),
        ..Default::default()
    };
    for image in ["a:1", "b:1"] {
        olga.cache.create_prefetch_schedule(schedule(image)).await.unwrap();
    }
    refused(olga.cache.create_prefetch_schedule(schedule("c:1")).await, Limit::Schedules);

    let pin = |tag: &str| PinTagRequest {
        group_path: "acme".into(),
        image: "alpine".into(),
        tag: tag.into(),
        digest: format!("sha256:{}", "0".repeat(64)),
    };
    for tag in ["1", "2", "2"] {
        olga.cache.pin_tag(pin(tag)).await.unwrap();
    }
    refused(olga.cache.pin_tag(pin("3")).await, Limit::Pins);
}

#[tokio::test]
async fn a_group_is_pulled_by_its_last_twenty_paths() {
    let plane = plane(Limits::default()).await;
    plane.group("acme-0").await;
    let mut admin = plane.admin();
    for number in 0..30 {
        let rename = renamed(&format!("acme-{number}"), &format!("acme-{}", number + 1));
        admin.groups.update_group(rename).await.unwrap();
    }
    let watch = WatchRequest { node_name: "n".into(), ..Default::default() };
    let first = plane.node().node.watch(watch).await.unwrap().into_inner().message().await.unwrap().unwrap();
    let Some(Event::Snapshot(told)) = first.event else { panic!("no snapshot") };
    let group = told.groups.iter().find(|group| group.path == "acme-30").unwrap();
    let expected: Vec<_> = (10..30).map(|number| format!("acme-{number}")).collect();
    assert_eq!(group.old_paths, expected);
}
