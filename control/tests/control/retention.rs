//! Links that nobody pulls by are removed when their group says so.

use roadstead_proto::{
    node::v1::{GetLinksRequest, RecordUsageRequest, Usage},
    v1::{GetGroupRequest, Group, UpdateGroupRequest},
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
        last_pulled_at_ms: plane.clock.now_ms(),
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
