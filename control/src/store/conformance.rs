//! The behaviour that every database behind the seam must have. Each test is written against [`Store`] alone, and runs
//! once for each engine.

use std::time::Duration;

use roadstead_proto::{Algorithm, ContentKind, Digest, Link, MissingTag, RepositoryRef, TokenKind, Visibility};
use tokio::time::timeout;

use super::{ENGINE, Home};
use crate::{
    clock::Clock,
    rules::{
        groups::group::{Group, GroupSettings},
        identity::token::Token,
        tags::{
            freshness::{Observation, TagRecord},
            settings::{ImageRules, TagRule, TagSettings},
        },
    },
    store::{
        Store,
        cache::{content, inventory, link, usage},
        changes::{self, Subject},
        groups::group,
        identity::token,
        tags::tag,
    },
};

#[path = "conformance/freshness.rs"]
mod freshness;
#[path = "conformance/garbage_and_damage.rs"]
mod garbage_and_damage;
#[path = "conformance/leases.rs"]
mod leases;
#[path = "conformance/inventory.rs"]
mod lists_of_the_cache;
#[path = "conformance/nodes.rs"]
mod nodes;
#[path = "conformance/people.rs"]
mod people;

/// The moment at which the databases are made.
const NOW: i64 = 1_000_000;

async fn open(home: &Home) -> Store {
    Store::open(&home.settings, &Clock::standing_at(NOW)).await.unwrap()
}

async fn fresh() -> (Home, Store) {
    let home = Home::new(ENGINE);
    let store = open(&home).await;
    (home, store)
}

fn group(path: &str) -> Group {
    Group {
        id: format!("id-{path}"),
        path: path.parse().unwrap(),
        old_paths: vec![],
        settings: GroupSettings {
            visibility: Visibility::Internal,
            anonymous_pull: false,
            enabled: true,
            frozen: true,
            upstreams: vec!["docker.io".parse().unwrap(), "quay.io:443".parse().unwrap()],
            max_age_ms: 5,
            quota_bytes: 1 << 40,
            protected_tags: vec!["release-*".parse().unwrap(), "alpine:3*".parse().unwrap()],
            retention_ms: 7,
            tags: TagSettings {
                max_stale_ms: 8,
                cooldown_ms: 9,
                missing_tag: MissingTag::Keep,
                rules: vec![TagRule {
                    pattern: "alpine:3.*".parse().unwrap(),
                    max_age_ms: Some(1),
                    max_stale_ms: None,
                    cooldown_ms: Some(0),
                    missing_tag: Some(MissingTag::Gone),
                    immutable: Some(false),
                }],
            },
            images: ImageRules {
                allowed: vec!["docker.io/*".parse().unwrap(), "quay.io/*".parse().unwrap()],
                denied: vec!["*miner*".parse().unwrap()],
            },
        },
        etag: 1,
        link_epoch: 2,
        credential_epoch: 3,
        access_epoch: 4,
        hits: 4,
        misses: 5,
        created_at_ms: 6,
        updated_at_ms: 7,
    }
}

fn digest(name: &str) -> Digest {
    Digest::of(Algorithm::Sha512, name.as_bytes())
}

fn repository(group: &Group) -> RepositoryRef {
    RepositoryRef {
        group: group.id.as_str().into(),
        upstream: "docker.io".parse().unwrap(),
        repository: "library/alpine".parse().unwrap(),
    }
}

fn link(name: &str, kind: ContentKind) -> Link {
    Link { digest: digest(name), kind, size_bytes: 1 << 40, media_type: "a/b".into() }
}

#[tokio::test]
async fn what_is_written_is_read_back_as_it_was_also_after_opening_again() {
    let (folder, store) = fresh().await;
    let expected = group("acme");
    let mut tx = store.write().await.unwrap();
    assert!(group::insert(&mut tx, &expected).await.unwrap());
    tx.commit().await.unwrap();
    drop(store);
    let store = open(&folder).await;
    let mut tx = store.read().await.unwrap();
    assert_eq!(group::by_path(&mut tx, &expected.path).await.unwrap(), Some(expected.clone()));
    assert_eq!(group::by_id(&mut tx, &expected.id).await.unwrap(), Some(expected));
}

#[tokio::test]
async fn a_dropped_transaction_leaves_nothing_and_announces_nothing() {
    let (_folder, store) = fresh().await;
    let mut revisions = store.revisions();
    revisions.mark_unchanged();
    let mut tx = store.write().await.unwrap();
    tx.changed(&Subject::Keys, NOW).await.unwrap();
    group::insert(&mut tx, &group("acme")).await.unwrap();
    drop(tx);
    // The next writer comes after the undoing.
    store.write().await.unwrap().commit().await.unwrap();
    let mut tx = store.read().await.unwrap();
    assert_eq!(group::all(&mut tx).await.unwrap(), []);
    assert_eq!(changes::current_revision(&mut tx).await.unwrap().number, NOW);
    assert!(!revisions.has_changed().unwrap());
}

#[tokio::test]
async fn a_commit_is_announced_with_its_revision() {
    let (_folder, store) = fresh().await;
    let mut revisions = store.revisions();
    revisions.mark_unchanged();
    let mut tx = store.write().await.unwrap();
    let revision = tx.changed(&Subject::Group("g".into()), NOW).await.unwrap();
    assert!(!revisions.has_changed().unwrap());
    tx.commit().await.unwrap();
    assert_eq!(revisions.borrow_and_update().revision.number, revision);
    let told = changes::since(&mut store.read().await.unwrap(), revision - 1).await.unwrap();
    assert_eq!(told, Some(vec![Subject::Group("g".into())]));
}

#[tokio::test]
async fn a_commit_of_another_process_is_noticed_when_asked_for() {
    let (folder, store) = fresh().await;
    let other = open(&folder).await;
    let mut tx = other.write().await.unwrap();
    let revision = tx.changed(&Subject::Keys, NOW).await.unwrap();
    tx.commit().await.unwrap();
    store.refresh_revision().await.unwrap();
    assert_eq!(store.revisions().borrow().revision.number, revision);
}

#[tokio::test]
async fn a_reader_sees_one_moment_while_others_write() {
    let (_folder, store) = fresh().await;
    let mut reader = store.read().await.unwrap();
    assert_eq!(changes::current_revision(&mut reader).await.unwrap().number, NOW);
    let mut tx = store.write().await.unwrap();
    tx.changed(&Subject::Keys, NOW).await.unwrap();
    group::insert(&mut tx, &group("acme")).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(group::all(&mut reader).await.unwrap(), []);
    assert_eq!(changes::current_revision(&mut reader).await.unwrap().number, NOW);
    assert_eq!(group::all(&mut store.read().await.unwrap()).await.unwrap().len(), 1);
}

#[tokio::test]
async fn writers_take_turns_so_that_no_count_is_lost() {
    let (_folder, store) = fresh().await;
    let mut tx = store.write().await.unwrap();
    group::insert(&mut tx, &group("acme")).await.unwrap();
    tx.commit().await.unwrap();
    let add = || async {
        let mut tx = store.write().await.unwrap();
        let before = group::by_id(&mut tx, "id-acme").await.unwrap().unwrap();
        let after = GroupSettings { max_age_ms: before.settings.max_age_ms + 1, ..before.settings };
        tokio::task::yield_now().await;
        group::update(&mut tx, "id-acme", &after, 0, 0).await.unwrap();
        tx.commit().await.unwrap();
    };
    let all = async { tokio::join!(add(), add(), add(), add(), add(), add(), add(), add()) };
    timeout(Duration::from_secs(10), all).await.unwrap();
    let now = group::by_id(&mut store.read().await.unwrap(), "id-acme").await.unwrap().unwrap();
    assert_eq!(now.settings.max_age_ms, 13);
}

#[tokio::test]
async fn changes_are_told_in_order_each_subject_once_and_pruned_ones_are_not_known() {
    let (_folder, store) = fresh().await;
    let mut tx = store.write().await.unwrap();
    let (a, b) = (Subject::Group("a".into()), Subject::Upstream("b".into()));
    for (subject, at) in [(&a, NOW), (&b, NOW), (&a, NOW + 10)] {
        tx.changed(subject, at).await.unwrap();
    }
    assert_eq!(changes::since(&mut tx, NOW).await.unwrap(), Some(vec![b, a.clone()]));
    assert_eq!(changes::since(&mut tx, NOW + 3).await.unwrap(), Some(vec![]));
    assert_eq!(changes::since(&mut tx, NOW + 4).await.unwrap(), None, "from the future");
    changes::prune(&mut tx, NOW + 5).await.unwrap();
    assert_eq!(changes::since(&mut tx, NOW + 1).await.unwrap(), None);
    assert_eq!(changes::since(&mut tx, NOW + 2).await.unwrap(), Some(vec![a]));
    changes::prune(&mut tx, NOW + 5).await.unwrap();
    assert!(changes::since(&mut tx, NOW + 2).await.unwrap().is_some(), "pruning again prunes no more");
}

#[tokio::test]
async fn optional_columns_come_back_as_they_were() {
    let (_folder, store) = fresh().await;
    let mut tx = store.write().await.unwrap();
    let token = |id: &str, expires_at_ms| Token {
        id: id.into(),
        kind: TokenKind::Node,
        name: "ü \" '".into(),
        username: id.into(),
        group: None,
        user: None,
        role: None,
        scopes: vec![],
        created_at_ms: NOW,
        expires_at_ms,
        last_used_at_ms: None,
    };
    for token in [token("a", None), token("b", Some(i64::MAX))] {
        token::insert(&mut tx, &token, None, &token.id).await.unwrap();
        assert_eq!(token::by_secret_hash(&mut tx, &token.id).await.unwrap(), Some(token));
    }
    token::set_last_used(&mut tx, "a", 9).await.unwrap();
    assert_eq!(token::by_id(&mut tx, "a").await.unwrap().unwrap().last_used_at_ms, Some(9));
}

#[tokio::test]
async fn a_tag_counts_as_cached_only_while_its_manifest_is_linked() {
    let (_folder, store) = fresh().await;
    let group = group("acme");
    let (repository, tag) = (repository(&group), "latest".parse().unwrap());
    let mut tx = store.write().await.unwrap();
    group::insert(&mut tx, &group).await.unwrap();
    let observation = Some(Observation { digest: digest("m"), at_ms: NOW });
    let record = TagRecord { cached: observation, seen: observation, checked_at_ms: NOW - 1 };
    tag::put(&mut tx, &repository, &tag, &record, NOW).await.unwrap();
    assert_eq!(tag::get(&mut tx, &repository, &tag).await.unwrap(), TagRecord { cached: None, ..record });
    let manifest = link("m", ContentKind::Manifest);
    assert!(content::put(&mut tx, &manifest, 0).await.unwrap());
    link::put(&mut tx, &repository, &manifest, NOW).await.unwrap();
    assert_eq!(tag::get(&mut tx, &repository, &tag).await.unwrap(), record);
    link::delete(&mut tx, &repository, &digest("m"), NOW).await.unwrap();
    assert_eq!(tag::get(&mut tx, &repository, &tag).await.unwrap().cached, None);
}

#[tokio::test]
async fn sums_are_exact_beyond_32_bits_and_empty_ones_are_zero() {
    let (_folder, store) = fresh().await;
    let group = group("acme");
    let mut tx = store.write().await.unwrap();
    group::insert(&mut tx, &group).await.unwrap();
    assert_eq!(inventory::figures(&mut tx, &group.id).await.unwrap(), inventory::Figures::default());
    for name in ["a", "b"] {
        let blob = link(name, ContentKind::Blob);
        content::put(&mut tx, &blob, 0).await.unwrap();
        link::put(&mut tx, &repository(&group), &blob, NOW).await.unwrap();
    }
    assert_eq!(inventory::figures(&mut tx, &group.id).await.unwrap().bytes, 2 << 40);
}

#[tokio::test]
async fn a_batch_is_new_once() {
    let (_folder, store) = fresh().await;
    let mut tx = store.write().await.unwrap();
    assert!(usage::begin_batch(&mut tx, "b", NOW).await.unwrap());
    assert!(!usage::begin_batch(&mut tx, "b", NOW).await.unwrap());
    usage::prune_batches(&mut tx, NOW + 1).await.unwrap();
    assert!(usage::begin_batch(&mut tx, "b", NOW).await.unwrap());
}
