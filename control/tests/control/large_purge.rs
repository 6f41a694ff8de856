//! Purges of much content: in small transactions, each recorded.

use roadstead_proto::v1::{ListEventsRequest, PurgeCacheRequest, PurgeFilter};

use crate::harness::Plane;

/// Links of the group: more than two transactions take.
const BLOBS: i64 = 1100;
/// Most that one transaction takes.
const AT_ONCE: i64 = 500;

async fn filled(images: usize) -> Plane {
    let plane = Plane::start().await;
    let group = plane.group("acme").await;
    let mut node = plane.node();
    for n in 0..BLOBS {
        node.link_blob(&group, &format!("team/image{}", n as usize % images), &format!("blob{n}"), 10).await;
    }
    plane
}

/// The details of the records of purges, the oldest first.
async fn records(plane: &Plane) -> Vec<String> {
    let request = ListEventsRequest { page_size: 1000, ..ListEventsRequest::default() };
    let events = plane.admin().audit.list_events(request).await.unwrap().into_inner().events;
    events.into_iter().rev().filter(|event| event.action == "cache.purge").map(|event| event.detail).collect()
}

async fn taken_in_parts(plane: &Plane, request: PurgeCacheRequest) {
    let dry = plane.admin().cache.purge_cache(request.clone().dry_run(true)).await.unwrap().into_inner();
    assert_eq!((dry.blobs, dry.bytes), (BLOBS, 10 * BLOBS));
    assert_eq!(records(plane).await.len(), 0, "a dry run takes nothing");
    let done = plane.admin().cache.purge_cache(request.clone()).await.unwrap().into_inner();
    assert_eq!((done.blobs, done.bytes), (BLOBS, 10 * BLOBS));
    let records = records(plane).await;
    let (last, parts) = records.split_last().unwrap();
    assert!(parts.len() as i64 >= BLOBS / AT_ONCE, "{records:?}");
    assert!(
        parts.iter().all(|part| part.ends_with("; more follows")) && !last.ends_with("; more follows"),
        "{records:?}"
    );
    let blobs =
        |detail: &String| detail.split(", ").nth(2).unwrap().strip_suffix(" blobs").unwrap().parse::<i64>().unwrap();
    assert!(records.iter().all(|detail| blobs(detail) <= AT_ONCE), "{records:?}");
    assert_eq!(records.iter().map(blobs).sum::<i64>(), BLOBS);
    let again = plane.admin().cache.purge_cache(request).await.unwrap().into_inner();
    assert_eq!((again.blobs, again.bytes), (0, 0));
}

#[tokio::test]
async fn a_purge_of_one_large_image_takes_several_transactions_each_of_them_recorded() {
    let filter = PurgeFilter { group_path: "acme".into(), image: "team/image0".into(), ..PurgeFilter::default() };
    taken_in_parts(&filled(1).await, PurgeCacheRequest::selected(filter)).await;
}

#[tokio::test]
async fn a_purge_of_a_large_group_takes_several_transactions_each_of_them_recorded() {
    taken_in_parts(&filled(7).await, PurgeCacheRequest::whole_group("acme")).await;
}
