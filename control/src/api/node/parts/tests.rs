use roadstead_proto::{UpstreamHost, node::v1::GroupPolicy};

use super::*;
use crate::{
    rules::{
        groups::group::{Group, GroupSettings},
        identity::token::Revocation,
    },
    store::changes::Revision,
    watch::Change,
};

fn group(number: usize, patterns: usize) -> Group {
    let hub = UpstreamHost::DOCKER_HUB.parse().unwrap();
    let mut settings = GroupSettings::new(vec![hub]);
    settings.images.denied = vec!["a".repeat(500).parse().unwrap(); patterns];
    Group {
        id: format!("g{number}"),
        path: format!("acme/{number}").parse().unwrap(),
        old_paths: Vec::new(),
        settings,
        etag: 1,
        link_epoch: 1,
        credential_epoch: 1,
        access_epoch: 1,
        hits: 0,
        misses: 0,
        created_at_ms: 0,
        updated_at_ms: 0,
    }
}

fn parts(kind: EventKind) -> Vec<WatchResponse> {
    let mut parts =
        Parts::new(Arc::new(WatchEvent { revision: Revision { number: 7, ..Revision::default() }, kind }), true);
    std::iter::from_fn(|| parts.next().unwrap()).collect()
}

fn check(parts: &[WatchResponse]) {
    for (number, part) in parts.iter().enumerate() {
        assert!(part.memory_holds);
        assert_eq!((part.revision, part.part), (7, i32::try_from(number).unwrap()));
        assert_eq!(part.continues, number + 1 < parts.len());
        assert!(part.encoded_len() <= MAX_PART_BYTES + 1024, "{}", part.encoded_len());
    }
}

#[test]
fn a_large_snapshot_comes_in_parts_that_hold_everything_once() {
    let snapshot = Snapshot {
        groups: (0..100).map(|number| group(number, 100)).collect(),
        upstreams: Vec::new(),
        keys: Vec::new(),
        revocations: (0..20_000)
            .map(|number| Revocation { id: format!("t{number:040}"), forget_after_ms: 9, user_epoch: 0 })
            .collect(),
        conditions: Vec::new(),
    };
    let parts = parts(EventKind::Snapshot(Box::new(snapshot)));
    check(&parts);
    assert!(parts.len() > 5, "{}", parts.len());
    let (mut groups, mut revocations) = (Vec::<GroupPolicy>::new(), 0);
    for part in parts {
        let Some(Wire::Snapshot(part)) = part.event else { panic!("another event") };
        revocations += part.revocations.len();
        groups.extend(part.groups);
    }
    assert_eq!(revocations, 20_000);
    assert!((0..100).all(|number| groups[number].id == format!("g{number}")) && groups.len() == 100);
}

#[test]
fn large_changes_come_in_parts_in_their_order() {
    let changes = (0..50).map(|number| Change::Group(Box::new(group(number, 100)))).collect();
    let parts = parts(EventKind::Changes(changes));
    check(&parts);
    assert!(parts.len() > 2, "{}", parts.len());
    let told: usize = parts
        .into_iter()
        .map(|part| match part.event {
            Some(Wire::Changes(changes)) => changes.changes.len(),
            _ => panic!("another event"),
        })
        .sum();
    assert_eq!(told, 50);
}

#[test]
fn small_events_are_one_part() {
    for kind in [EventKind::Heartbeat, EventKind::Changes(vec![Change::GroupGone("g".into())])] {
        let parts = parts(kind);
        check(&parts);
        assert_eq!(parts.len(), 1);
    }
    let empty = Snapshot {
        groups: Vec::new(),
        upstreams: Vec::new(),
        keys: Vec::new(),
        revocations: Vec::new(),
        conditions: Vec::new(),
    };
    assert_eq!(parts(EventKind::Snapshot(Box::new(empty))).len(), 1);
}
