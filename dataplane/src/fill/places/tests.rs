//! Tests of the places: who gets one, and which are wanted back.

use std::{sync::Arc, time::Duration};

use tokio::{task::yield_now, time::timeout};

use super::{Limits, Place, Places};

const SOON: Duration = Duration::from_secs(1);

async fn take(places: &Arc<Places>, group: &str, upstream: &str) -> Option<Place> {
    places.take(&group.into(), &upstream.parse().unwrap(), SOON).await
}

#[tokio::test(start_paused = true)]
async fn one_group_and_one_upstream_leave_places_to_the_others() {
    let places = Places::new(Limits { all: 5, upstream: 4, group: 2 });
    let mut held = Vec::new();
    for group in ["a", "a", "b", "b"] {
        held.push(take(&places, group, "docker.io").await.expect("free"));
    }
    assert!(take(&places, "a", "ghcr.io").await.is_none(), "the group has its share");
    assert!(take(&places, "c", "docker.io").await.is_none(), "the upstream has its share");
    held.push(take(&places, "c", "ghcr.io").await.expect("free"));
    assert!(take(&places, "d", "quay.io").await.is_none(), "all are taken");
    held.clear();
    assert!(take(&places, "a", "docker.io").await.is_some());
    assert!(places.counts().groups.is_empty() && places.counts().upstreams.is_empty(), "nothing is kept of the past");
}

#[tokio::test(start_paused = true)]
async fn whoever_waits_gets_the_place_that_becomes_free() {
    let places = Places::new(Limits { all: 1, upstream: 1, group: 1 });
    let held = take(&places, "a", "docker.io").await.unwrap();
    let waiting = tokio::spawn({
        let places = Arc::clone(&places);
        async move { take(&places, "b", "docker.io").await.is_some() }
    });
    yield_now().await;
    assert!(held.is_wanted());
    drop(held);
    assert!(timeout(SOON, waiting).await.unwrap().unwrap());
}

#[tokio::test(start_paused = true)]
async fn only_places_that_would_help_are_wanted() {
    let places = Places::new(Limits { all: 10, upstream: 5, group: 1 });
    let (a, b) = (take(&places, "a", "docker.io").await.unwrap(), take(&places, "b", "docker.io").await.unwrap());
    let waiting = tokio::spawn({
        let places = Arc::clone(&places);
        async move { take(&places, "a", "docker.io").await.is_some() }
    });
    yield_now().await;
    assert!(a.is_wanted() && !b.is_wanted(), "a group that waits for itself takes nothing from another");
    assert!(!waiting.await.unwrap(), "nothing became free");
    assert!(!a.is_wanted(), "nobody waits any more");
}
