//! Links that nobody pulls by are removed when their group says so.

use roadstead_control::rules::cache::watermark::{Level, Watermarks};
use roadstead_proto::time::timestamp;
use roadstead_proto::{
    node::v1::{GetLinksRequest, RecordUsageRequest, ReportNodeRequest, Usage},
    v1::{
        ApplyRetentionRequest, ApplyRetentionResponse, EvictionReason, GetGroupRequest, Group, ImagePatterns,
        PinTagRequest, UpdateGroupRequest,
    },
};

use crate::{
    audit,
    harness::{Client, Plane, START_MS, digest, place},
};

const DAY: u64 = 24 * 3600;

async fn has(node: &mut Client, group: &Group, repository: &str, name: &str) -> bool {
    let request = GetLinksRequest { repository: place(group, repository), digest: digest(name) };
    node.node.get_links(request).await.unwrap().into_inner().link.is_some()
}

async fn pull(plane: &Plane, group: &Group, repository: &str, name: &str) {
    let usage = Usage {
        repository: place(group, repository),
        digest: digest(name),
        hits: 1,
        misses: 0,
        last_pulled_at: timestamp(plane.clock.now_ms()),
    };
    let batch_id = format!("{repository} {name} {}", plane.clock.now_ms());
    plane.node().node.record_usage(RecordUsageRequest { batch_id, usage: vec![usage] }).await.unwrap();
}

#[tokio::test]
async fn what_was_not_pulled_for_so_long_goes_and_everything_else_stays() {
    let plane = Plane::start().await;
    let (group, keeper) = (plane.group("acme").await, plane.group("keeper").await);
    let retention = Some(prost_types::Duration { seconds: 30 * DAY as i64, nanos: 0 });
    let request = UpdateGroupRequest { path: "acme".into(), retention, ..Default::default() };
    let updated = plane.admin().groups.update_group(request).await.unwrap().into_inner().group.unwrap();
    assert_eq!(updated.retention, retention);
    let mut node = plane.node();
    for owner in [&group, &keeper] {
        for (repository, manifest, layer) in [("old", "m-old", "l-old"), ("used", "m-used", "l-used")] {
            node.link_blob(owner, repository, layer, 100).await;
            node.link_manifest(owner, repository, manifest, "latest", &[layer]).await;
        }
    }
    plane.advance(29 * DAY);
    plane.control.keep_up_once().await.unwrap();
    pull(&plane, &group, "used", "m-used").await;
    assert!(has(&mut node, &group, "old", "m-old").await, "a day too early");
    plane.advance(2 * DAY);
    plane.control.keep_up_once().await.unwrap();
    for (owner, repository, name, expected) in [
        (&group, "old", "m-old", false),
        (&group, "old", "l-old", false),
        (&group, "used", "m-used", true),
        (&group, "used", "l-used", true),
        (&keeper, "old", "m-old", true),
        (&keeper, "old", "l-old", true),
    ] {
        assert_eq!(has(&mut node, owner, repository, name).await, expected, "{} {name}", owner.path);
    }
    let events = audit::all(&plane).await;
    let event = &events[0];
    assert_eq!((event.action.as_str(), event.subject.as_str()), ("cache.expire", "docker.io/old"));
    assert_eq!((event.actor.as_str(), event.client_address.as_str()), ("server", ""));
    assert_eq!(event.group_path, "acme");
    assert!(event.detail.contains("1 manifest"), "{}", event.detail);
    plane.advance(DAY);
    plane.control.keep_up_once().await.unwrap();
    assert_eq!(audit::all(&plane).await.len(), events.len(), "nothing more to do, nothing more to say");
}

#[tokio::test]
async fn nodes_forget_what_has_gone_and_switching_retention_off_keeps_the_rest() {
    let plane = Plane::start().await;
    let group = plane.group("acme").await;
    let mut admin = plane.admin();
    let of_days = |days: i64| UpdateGroupRequest {
        path: "acme".into(),
        retention: Some(prost_types::Duration { seconds: days * DAY as i64, nanos: 0 }),
        ..Default::default()
    };
    admin.groups.update_group(of_days(1)).await.unwrap();
    let mut node = plane.node();
    node.link_blob(&group, "a", "l-a", 1).await;
    let epoch = |told: roadstead_proto::node::v1::PolicySnapshot| told.groups[0].link_epoch;
    let before = epoch(crate::sign_in::snapshot(&mut node).await);
    plane.advance(DAY + 1);
    plane.control.keep_up_once().await.unwrap();
    assert!(epoch(crate::sign_in::snapshot(&mut node).await) > before);
    assert!(!has(&mut node, &group, "a", "l-a").await);
    node.link_blob(&group, "a", "l-a", 1).await;
    admin.groups.update_group(of_days(0)).await.unwrap();
    plane.advance(100 * DAY);
    plane.control.keep_up_once().await.unwrap();
    assert!(has(&mut node, &group, "a", "l-a").await);
    assert!(plane.clock.now_ms() > START_MS);
    let got = admin.groups.get_group(GetGroupRequest { path: "acme".into() }).await.unwrap().into_inner();
    assert_eq!(got.group.unwrap().retention, Some(prost_types::Duration::default()));
}

async fn set(plane: &Plane, request: UpdateGroupRequest) {
    let request = UpdateGroupRequest { path: "acme".into(), ..request };
    plane.admin().groups.update_group(request).await.unwrap();
}

async fn retention(plane: &Plane, dry_run: bool) -> ApplyRetentionResponse {
    let request = ApplyRetentionRequest { group_path: "acme".into(), dry_run };
    plane.admin().cache.apply_retention(request).await.unwrap().into_inner()
}

fn gone(answer: &ApplyRetentionResponse) -> Vec<(String, i64, EvictionReason)> {
    answer.evictions.iter().map(|gone| (gone.digest.clone(), gone.bytes, gone.reason())).collect()
}

/// Images m-0 (the oldest) to m-3 of 10 + 100 bytes each, with a layer of 1000 that all share, an hour apart.
async fn shelf(plane: &Plane, group: &Group) {
    let mut node = plane.node();
    node.link_blob(group, "library/app", "base", 1000).await;
    for n in 0..4 {
        let layer = format!("l-{n}");
        node.link_blob(group, "library/app", &layer, 100).await;
        node.link_manifest(group, "library/app", &format!("m-{n}"), &format!("v{n}"), &["base", &layer]).await;
        plane.advance(3600);
    }
}

#[tokio::test]
async fn a_quota_takes_the_least_recently_pulled_images_whole_and_no_more_than_it_must() {
    let plane = Plane::idle(|_| {}).await;
    let group = plane.group("acme").await;
    shelf(&plane, &group).await;
    pull(&plane, &group, "library/app", "m-0").await;
    set(&plane, UpdateGroupRequest { quota_bytes: Some(1300), ..Default::default() }).await;
    let would = retention(&plane, true).await;
    let expected = vec![(digest("m-1"), 110, EvictionReason::Quota), (digest("m-2"), 110, EvictionReason::Quota)];
    assert_eq!(gone(&would), expected);
    assert_eq!((would.manifests, would.bytes, would.bytes_left), (2, 220, 1220));
    assert_eq!(
        (would.evictions[0].image.as_str(), &would.evictions[0].tags[..]),
        ("docker.io/library/app", &["v1".into()][..])
    );
    let mut node = plane.node();
    assert!(has(&mut node, &group, "library/app", "m-1").await, "a dry run takes nothing");
    let audited = audit::all(&plane).await.len();
    plane.control.keep_up_once().await.unwrap();
    for (name, expected) in
        [("m-0", true), ("l-0", true), ("m-1", false), ("l-1", false), ("m-2", false), ("m-3", true), ("base", true)]
    {
        assert_eq!(has(&mut node, &group, "library/app", name).await, expected, "{name}");
    }
    let events = audit::all(&plane).await;
    assert_eq!(events.len(), audited + 2, "one for each image");
    assert_eq!((events[0].action.as_str(), events[0].actor.as_str()), ("cache.evict", "server"));
    assert_eq!(gone(&retention(&plane, false).await), vec![]);
}

#[tokio::test]
async fn protected_and_pinned_tags_stay_though_there_is_too_much() {
    let plane = Plane::idle(|_| {}).await;
    let group = plane.group("acme").await;
    shelf(&plane, &group).await;
    let mut admin = plane.admin();
    let pin = PinTagRequest {
        group_path: "acme".into(),
        image: "docker.io/library/app".into(),
        tag: "stable".into(),
        digest: digest("m-1"),
    };
    admin.cache.pin_tag(pin).await.unwrap();
    let protected_tags = Some(ImagePatterns { patterns: vec!["v0".into()] });
    let day = Some(prost_types::Duration { seconds: DAY as i64, nanos: 0 });
    set(&plane, UpdateGroupRequest { quota_bytes: Some(1), protected_tags, retention: day, ..Default::default() })
        .await;
    plane.advance(2 * DAY);
    let done = retention(&plane, false).await;
    let roots: Vec<_> = gone(&done).into_iter().map(|(digest, ..)| digest).collect();
    assert!(roots.iter().all(|root| [digest("m-2"), digest("m-3")].contains(root)), "{roots:?}");
    let mut node = plane.node();
    for (name, expected) in
        [("m-0", true), ("l-0", true), ("m-1", true), ("l-1", true), ("base", true), ("m-2", false), ("l-3", false)]
    {
        assert_eq!(has(&mut node, &group, "library/app", name).await, expected, "{name}");
    }
    let shown = admin.groups.get_group(GetGroupRequest { path: "acme".into() }).await.unwrap().into_inner().group;
    let shown = shown.unwrap();
    assert_eq!((shown.quota_bytes, shown.protected_tags), (1, vec!["v0".to_owned()]));
}

#[tokio::test]
async fn an_image_that_was_pulled_since_it_was_planned_stays() {
    let plane = Plane::idle(|_| {}).await;
    let group = plane.group("acme").await;
    shelf(&plane, &group).await;
    set(&plane, UpdateGroupRequest { quota_bytes: Some(1400), ..Default::default() }).await;
    assert_eq!(gone(&retention(&plane, true).await)[0].0, digest("m-0"));
    pull(&plane, &group, "library/app", "m-0").await;
    assert_eq!(gone(&retention(&plane, false).await)[0].0, digest("m-1"));
    assert!(has(&mut plane.node(), &group, "library/app", "m-0").await);
}

#[tokio::test]
async fn beyond_the_high_watermark_the_least_recently_pulled_of_all_groups_go_down_to_the_low_one() {
    let watermarks = Watermarks { high: Level::Percent(90), low: Level::Percent(50), store_bytes: None };
    let plane = Plane::idle(|config| config.watermarks = Some(watermarks)).await;
    let (acme, other) = (plane.group("acme").await, plane.group("other").await);
    let mut node = plane.node();
    for (n, group) in [&acme, &other, &acme, &other].into_iter().enumerate() {
        node.link_blob(group, "library/app", &format!("l-{n}"), 240).await;
        node.link_manifest(group, "library/app", &format!("m-{n}"), "", &[&format!("l-{n}")]).await;
        plane.advance(3600);
    }
    let report = |total| crate::nodes::report_store(1, total);
    // 1000 bytes: below 90% of the store.
    node.node.report_node(report(1200)).await.unwrap();
    plane.control.keep_up_once().await.unwrap();
    assert!(has(&mut node, &acme, "library/app", "m-0").await);
    plane.advance(60);
    node.node.report_node(ReportNodeRequest { stopping: true, ..report(1200) }).await.unwrap();
    node.node.report_node(report(1000)).await.unwrap();
    plane.advance(60);
    plane.control.keep_up_once().await.unwrap();
    for (group, name, expected) in
        [(&acme, "m-0", false), (&other, "m-1", false), (&acme, "m-2", true), (&other, "m-3", true)]
    {
        assert_eq!(has(&mut node, group, "library/app", name).await, expected, "{name}");
    }
}

#[tokio::test]
async fn a_quota_is_looked_at_within_seconds_without_anybody_asking() {
    let plane = Plane::start().await;
    let group = plane.group("acme").await;
    set(&plane, UpdateGroupRequest { quota_bytes: Some(150), ..Default::default() }).await;
    let mut node = plane.node();
    node.link_blob(&group, "library/app", "old", 100).await;
    plane.advance(60);
    node.link_blob(&group, "library/app", "new", 100).await;
    let all = async {
        while has(&mut node, &group, "library/app", "old").await {
            plane.advance(1);
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(20), all).await.unwrap();
    assert!(has(&mut plane.node(), &group, "library/app", "new").await);
}

async fn link_epoch(plane: &Plane) -> i64 {
    crate::sign_in::snapshot(&mut plane.node()).await.groups[0].link_epoch
}

#[tokio::test]
async fn many_images_go_under_one_revision_each_on_record_by_whom() {
    let plane = Plane::idle(|_| {}).await;
    let group = plane.group("acme").await;
    shelf(&plane, &group).await;
    set(&plane, UpdateGroupRequest { quota_bytes: Some(1110), ..Default::default() }).await;
    let before = link_epoch(&plane).await;
    let watched = crate::sign_in::snapshot(&mut plane.node()).await.revision;
    let done = retention(&plane, false).await;
    assert_eq!((done.evictions.len(), done.manifests, done.bytes_left), (3, 3, 1110));
    let after = crate::sign_in::snapshot(&mut plane.node()).await;
    assert!(after.groups[0].link_epoch > before);
    assert_eq!(after.revision, watched + 1, "nodes ask again once, not for each image");
    let events = audit::all(&plane).await;
    assert_eq!(events[0].action, "cache.retain");
    for event in &events[1..4] {
        assert_eq!((event.action.as_str(), &event.actor), ("cache.evict", &events[0].actor));
    }
    assert_ne!(events[0].actor, "server");
}

#[tokio::test]
async fn more_images_than_one_transaction_takes_go_all_the_same() {
    let plane = Plane::idle(|_| {}).await;
    let group = plane.group("acme").await;
    let mut node = plane.node();
    for n in 0..130 {
        node.link_blob(&group, if n % 2 == 0 { "even" } else { "odd" }, &format!("l-{n}"), 10).await;
        plane.advance(1);
    }
    set(&plane, UpdateGroupRequest { quota_bytes: Some(50), ..Default::default() }).await;
    let done = retention(&plane, false).await;
    assert_eq!((done.bytes, done.bytes_left), (1250, 50));
    for n in [0, 1, 99, 100, 124, 125, 126, 129] {
        let repository = if n % 2 == 0 { "even" } else { "odd" };
        assert_eq!(has(&mut node, &group, repository, &format!("l-{n}")).await, n >= 125, "{n}");
    }
}

#[tokio::test]
async fn what_may_not_go_is_looked_at_ever_more_rarely_and_new_settings_at_once() {
    let plane = Plane::idle(|_| {}).await;
    let group = plane.group("acme").await;
    shelf(&plane, &group).await;
    let all = |pattern: &str| Some(ImagePatterns { patterns: vec![pattern.into()] });
    set(&plane, UpdateGroupRequest { quota_bytes: Some(1), protected_tags: all("v*"), ..Default::default() }).await;
    let mut node = plane.node();
    for _ in 0..8 {
        plane.control.keep_up_once().await.unwrap();
        plane.advance(6);
    }
    // Pushed beside what is protected: it could go, but nobody looks just now.
    node.link_blob(&group, "library/app", "loose", 1).await;
    plane.control.keep_up_once().await.unwrap();
    assert!(has(&mut node, &group, "library/app", "loose").await, "looked at again and again");
    plane.advance(600);
    plane.control.keep_up_once().await.unwrap();
    assert!(!has(&mut node, &group, "library/app", "loose").await);
    for _ in 0..8 {
        plane.control.keep_up_once().await.unwrap();
        plane.advance(6);
    }
    set(&plane, UpdateGroupRequest { protected_tags: all("v1"), ..Default::default() }).await;
    plane.control.keep_up_once().await.unwrap();
    assert!(!has(&mut node, &group, "library/app", "m-0").await, "new settings wait for nothing");
}

#[tokio::test]
async fn what_several_groups_hold_counts_once_against_the_watermark() {
    let watermarks = Watermarks { high: Level::Bytes(1500), low: Level::Bytes(500), store_bytes: None };
    let plane = Plane::idle(|config| config.watermarks = Some(watermarks)).await;
    let mut node = plane.node();
    for path in ["acme", "other"] {
        let group = plane.group(path).await;
        node.link_blob(&group, "library/app", "shared", 1000).await;
    }
    plane.control.keep_up_once().await.unwrap();
    plane.advance(60);
    let acme = plane.admin().groups.get_group(GetGroupRequest { path: "acme".into() }).await.unwrap().into_inner();
    let acme = acme.group.unwrap();
    assert!(has(&mut node, &acme, "library/app", "shared").await, "1000 bytes, not 2000");
    node.link_blob(&acme, "library/app", "more", 600).await;
    plane.control.keep_up_once().await.unwrap();
    assert!(!has(&mut node, &acme, "library/app", "shared").await);
}
