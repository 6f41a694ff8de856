//! The same, for what tags have meant, what nodes learn of upstreams, and schedules.

use roadstead_proto::ContentKind;

use super::{NOW, digest, fresh, group, link, repository};
use crate::{
    rules::{
        jobs::schedule::Schedule,
        tags::freshness::{Observation, Pin},
        upstreams::{
            pull_limit::Condition,
            status::{Health, NodeView},
        },
    },
    store::{
        cache::content,
        jobs::schedule,
        tags::history,
        upstreams::{condition, health},
    },
};

#[tokio::test]
async fn a_tags_history_keeps_first_and_last_observations_and_says_what_is_cached() {
    let (_folder, store) = fresh().await;
    let group = group("acme");
    let (repository, tag) = (repository(&group), "latest".parse().unwrap());
    let mut tx = store.write().await.unwrap();
    group::insert(&mut tx, &group).await.unwrap();
    for (name, at_ms) in [("a", 1), ("b", 2), ("a", 3), ("b", 1)] {
        history::note(&mut tx, &repository, &tag, Observation { digest: digest(name), at_ms }).await.unwrap();
    }
    let manifest = link("b", ContentKind::Manifest);
    content::put(&mut tx, &manifest, 0).await.unwrap();
    link::put(&mut tx, &repository, &manifest, NOW).await.unwrap();
    let all = history::all(&mut tx, &repository, &tag).await.unwrap();
    let shown: Vec<_> = all.iter().map(|m| (m.digest, m.first_seen_ms, m.last_seen_ms, m.cached)).collect();
    assert_eq!(shown, [(digest("a"), 1, 3, false), (digest("b"), 2, 2, true)]);
    assert_eq!(history::first_seen(&mut tx, &repository, &tag, &digest("a")).await.unwrap(), Some(1));
    assert_eq!(history::first_seen(&mut tx, &repository, &tag, &digest("c")).await.unwrap(), None);
}

#[tokio::test]
async fn a_pin_is_replaced_and_knows_whether_it_can_be_served() {
    let (_folder, store) = fresh().await;
    let group = group("acme");
    let (repository, tag) = (repository(&group), "latest".parse().unwrap());
    let mut tx = store.write().await.unwrap();
    group::insert(&mut tx, &group).await.unwrap();
    assert_eq!(history::pinned(&mut tx, &repository, &tag).await.unwrap(), None);
    let manifest = link("b", ContentKind::Manifest);
    content::put(&mut tx, &manifest, 0).await.unwrap();
    link::put(&mut tx, &repository, &manifest, NOW).await.unwrap();
    for (name, linked) in [("a", false), ("b", true)] {
        history::pin(&mut tx, &repository, &tag, &digest(name), NOW).await.unwrap();
        let pin = history::pinned(&mut tx, &repository, &tag).await.unwrap();
        assert_eq!(pin, Some(Pin { digest: digest(name), linked, at_ms: NOW }));
    }
    assert!(history::unpin(&mut tx, &repository, &tag).await.unwrap());
    assert!(!history::unpin(&mut tx, &repository, &tag).await.unwrap());
}

#[tokio::test]
async fn a_condition_is_untold_until_it_is_told_and_again_when_it_is_seen_anew() {
    let (_folder, store) = fresh().await;
    let mut tx = store.write().await.unwrap();
    let condition = |seen_at_ms| Condition {
        upstream: "docker.io".into(),
        username: "me".into(),
        source: "192.0.2.1".into(),
        paused_until_ms: 5,
        limit: 100,
        remaining: 7,
        window_seconds: 60,
        seen_at_ms,
    };
    condition::put(&mut tx, &condition(10)).await.unwrap();
    assert_eq!(condition::get(&mut tx, "docker.io", "me", "192.0.2.1").await.unwrap(), Some(condition(10)));
    assert_eq!(condition::unannounced(&mut tx).await.unwrap(), [condition(10)]);
    condition::told(&mut tx, &condition(10)).await.unwrap();
    assert_eq!(condition::unannounced(&mut tx).await.unwrap(), []);
    condition::put(&mut tx, &condition(11)).await.unwrap();
    assert_eq!(condition::unannounced(&mut tx).await.unwrap(), [condition(11)]);
    condition::prune(&mut tx, 11).await.unwrap();
    assert_eq!(condition::of_upstream(&mut tx, "docker.io").await.unwrap(), [condition(11)]);
    condition::prune(&mut tx, 12).await.unwrap();
    assert_eq!(condition::all(&mut tx).await.unwrap(), []);
}

#[tokio::test]
async fn a_nodes_view_keeps_its_last_failure_and_spends_add_up_for_groups_that_are_there() {
    let (_folder, store) = fresh().await;
    let group = group("acme");
    let mut tx = store.write().await.unwrap();
    group::insert(&mut tx, &group).await.unwrap();
    let view = |health, last_error: &str, last_failed_at_ms, last_answered_at_ms, reported_at_ms| NodeView {
        upstream: "docker.io".into(),
        username: String::new(),
        health,
        last_error: last_error.into(),
        last_failed_at_ms,
        last_answered_at_ms,
        reported_at_ms,
    };
    for view in [view(Health::Failing, "connect", 5, 0, 6), view(Health::Unknown, "", 0, 7, 8)] {
        health::put(&mut tx, "n1", &view).await.unwrap();
    }
    assert_eq!(health::all(&mut tx).await.unwrap(), [view(Health::Failing, "connect", 5, 7, 8)]);
    for (id, pulls) in [(&*group.id, 2), ("gone", 9), (&*group.id, 3)] {
        health::spend(&mut tx, "docker.io", "", id, 600_000, pulls).await.unwrap();
    }
    let spends = health::spends(&mut tx, 600_000, Some(&group.id)).await.unwrap();
    assert_eq!(spends.iter().map(|spend| spend.pulls).collect::<Vec<_>>(), [5]);
    assert_eq!(health::spends(&mut tx, 600_001, None).await.unwrap(), []);
}

#[tokio::test]
async fn a_schedule_that_is_due_is_begun_by_one() {
    let (_folder, store) = fresh().await;
    let group = group("acme");
    let schedule = Schedule {
        id: "s".into(),
        group: group.path.clone(),
        repository: repository(&group),
        tag: "latest".parse().unwrap(),
        platforms: vec!["linux/amd64".into(), "linux/arm64/v8".into()],
        every_ms: 100,
        due_at_ms: 10,
        last_run_at_ms: None,
        last_error: String::new(),
    };
    let mut tx = store.write().await.unwrap();
    group::insert(&mut tx, &group).await.unwrap();
    schedule::insert(&mut tx, &schedule, 10).await.unwrap();
    assert_eq!(schedule::due(&mut tx, 9).await.unwrap(), None);
    assert_eq!(schedule::due(&mut tx, 10).await.unwrap(), Some(schedule.clone()));
    assert!(schedule::begin(&mut tx, &schedule, 11).await.unwrap());
    assert!(!schedule::begin(&mut tx, &schedule, 11).await.unwrap(), "another replica was faster");
    schedule::end(&mut tx, "s", "why", 11).await.unwrap();
    let now = Schedule { due_at_ms: 111, last_run_at_ms: Some(11), last_error: "why".into(), ..schedule };
    assert_eq!(schedule::page(&mut tx, &group.id, "", 10).await.unwrap(), [now]);
    group::delete(&mut tx, &group.id).await.unwrap();
    assert_eq!(schedule::by_id(&mut tx, "s").await.unwrap(), None, "it goes with its group");
}
