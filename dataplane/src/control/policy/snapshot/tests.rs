//! The expected state of a node, after each change.

use std::time::{Duration, SystemTime};

use jsonwebtoken::DecodingKey;

use crate::control::{GroupPolicy, PolicyChange, PolicySnapshot, Revocation, VerifyingKey};

fn group(id: &str, path: &str) -> GroupPolicy {
    GroupPolicy {
        id: id.into(),
        path: path.parse().unwrap(),
        old_paths: Vec::new(),
        enabled: true,
        anonymous_pull: false,
        upstreams: vec!["docker.io".parse().unwrap()],
        link_epoch: 1,
        credential_epoch: 1,
        access_epoch: 1,
        frozen: false,
        allowed_images: Vec::new(),
        denied_images: Vec::new(),
    }
}

fn found(snapshot: &PolicySnapshot, path: &str) -> Option<String> {
    snapshot.group(&path.parse().unwrap()).map(|group| group.id.to_string())
}

#[test]
fn groups_are_found_where_they_are_now() {
    let one = PolicySnapshot::default().with(PolicyChange::Group(group("g1", "acme")));
    let renamed = one.clone().with(PolicyChange::Group(group("g1", "umbrella")));
    assert_eq!((found(&renamed, "acme"), found(&renamed, "umbrella")), (None, Some("g1".to_owned())));
    let taken_over = renamed.with(PolicyChange::Group(group("g2", "acme")));
    let deleted = taken_over.with(PolicyChange::GroupDeleted("g1".into()));
    assert_eq!((found(&deleted, "acme"), found(&deleted, "umbrella")), (Some("g2".to_owned()), None));
    assert_eq!(found(&one, "acme"), Some("g1".to_owned()), "a snapshot never changes");
}

#[test]
fn a_path_that_was_taken_over_stays_with_its_new_owner() {
    let snapshot = PolicySnapshot::default()
        .with(PolicyChange::Group(group("old", "acme")))
        .with(PolicyChange::Group(group("new", "acme")))
        .with(PolicyChange::GroupDeleted("old".into()));
    assert_eq!(found(&snapshot, "acme"), Some("new".to_owned()));
}

#[test]
fn keys_void_by_their_time_and_revocations_stay_until_theirs() {
    let now = SystemTime::now();
    let key = |id: &str, not_after| {
        let (key, ed25519) = (DecodingKey::from_ed_der(&[0; 32]), [0; 32]);
        VerifyingKey { id: id.to_owned(), key, ed25519, not_after }
    };
    let (past, future) = (now - Duration::from_secs(5), now + Duration::from_secs(60));
    let revoked = |id: &str, forget_after| {
        PolicyChange::Revoked(Revocation { id: id.to_owned(), before_epoch: None, forget_after })
    };
    let snapshot = PolicySnapshot::default()
        .with(PolicyChange::Keys(vec![key("now", None), key("old", Some(future)), key("void", Some(past))]))
        .with(revoked("t1", past))
        .with(revoked("t2", future))
        .with(revoked("t3", future))
        .at(2);
    let known = ["now", "old", "void", "none"].map(|id| snapshot.key(id).is_some());
    assert_eq!(known, [true, true, false, false]);
    assert_eq!(["t1", "t2", "t3", "t4"].map(|id| snapshot.is_revoked(id, 0)), [false, true, true, false]);
    assert!(snapshot.with(PolicyChange::Keys(vec![])).key("now").is_none());
}

/// A group that was renamed.
fn renamed(id: &str, path: &str, old_paths: &[&str]) -> PolicyChange {
    let old_paths = old_paths.iter().map(|path| path.parse().unwrap()).collect();
    PolicyChange::Group(GroupPolicy { old_paths, ..group(id, path) })
}

#[test]
fn a_renamed_group_is_found_by_its_old_path_until_another_group_has_it() {
    let snapshot = PolicySnapshot::default().with(PolicyChange::Group(group("g1", "acme"))).with(renamed(
        "g1",
        "umbrella",
        &["acme"],
    ));
    assert_eq!(found(&snapshot, "acme").as_deref(), Some("g1"));
    assert_eq!(found(&snapshot, "umbrella").as_deref(), Some("g1"));
    // The new owner wins at once, whatever the old one still says.
    let taken = snapshot.clone().with(PolicyChange::Group(group("g2", "acme")));
    assert_eq!(found(&taken, "acme").as_deref(), Some("g2"));
    let left = taken.with(PolicyChange::GroupDeleted("g2".into()));
    assert_eq!(found(&left, "acme").as_deref(), Some("g1"), "still said to be good");
    // What is no longer said is no longer good, and gone is gone.
    let forgotten = snapshot.clone().with(PolicyChange::Group(group("g1", "umbrella")));
    assert_eq!(found(&forgotten, "acme"), None);
    assert_eq!(found(&snapshot.with(PolicyChange::GroupDeleted("g1".into())), "acme"), None);
}

#[test]
fn the_last_to_leave_a_path_is_found_there_whoever_is_deleted_before() {
    let snapshot =
        PolicySnapshot::default().with(renamed("g1", "one", &["acme"])).with(renamed("g2", "two", &["acme"]));
    assert_eq!(found(&snapshot, "acme").as_deref(), Some("g2"));
    let snapshot = snapshot.with(PolicyChange::GroupDeleted("g1".into()));
    assert_eq!(found(&snapshot, "acme").as_deref(), Some("g2"));
}

#[test]
fn a_users_tokens_are_void_below_the_epoch_and_the_stricter_revocation_stays() {
    let forget_after = SystemTime::now() + Duration::from_secs(60);
    let revoked = |before_epoch| PolicyChange::Revoked(Revocation { id: "u1".into(), before_epoch, forget_after });
    let void = |snapshot: &PolicySnapshot| [0, 2, 3, 4].map(|epoch| snapshot.is_revoked("u1", epoch));
    let snapshot = PolicySnapshot::default().with(revoked(Some(3)));
    assert_eq!(void(&snapshot), [true, true, false, false]);
    assert!(!snapshot.is_revoked("u2", 0));
    assert_eq!(void(&snapshot.clone().with(revoked(Some(2)))), [true, true, false, false]);
    assert_eq!(void(&snapshot.clone().with(revoked(Some(4)))), [true, true, true, false]);
    let all = snapshot.with(revoked(None));
    assert_eq!(void(&all), [true; 4]);
    assert_eq!(void(&all.with(revoked(Some(1)))), [true; 4]);
}
