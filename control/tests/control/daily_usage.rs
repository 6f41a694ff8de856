//! Hits and misses day by day, and pulls of each link.

use roadstead_proto::time::timestamp;
use roadstead_proto::{
    node::v1::{RecordUsageRequest, Usage},
    v1::{DailyUsage, GetStatsRequest, ListDailyUsageRequest, ListImagesRequest, ListManifestsRequest},
};
use tonic::Code;

use crate::harness::{Plane, START_MS, digest, place};

const DAY_SECONDS: u64 = 24 * 3600;

async fn days(plane: &Plane, days: i32) -> Vec<DailyUsage> {
    let request = ListDailyUsageRequest { group_path: "acme".into(), days };
    plane.admin().cache.list_daily_usage(request).await.unwrap().into_inner().days
}

#[tokio::test]
async fn every_day_of_a_year_is_there_and_no_more() {
    let plane = Plane::start().await;
    let group = plane.group("acme").await;
    let mut node = plane.node();
    for day in 0..370_i64 {
        let usage = |hits, misses, at_ms| Usage {
            repository: place(&group, "library/a"),
            digest: digest("m"),
            hits,
            misses,
            last_pulled_at: timestamp(at_ms),
        };
        let now_ms = START_MS + day * DAY_SECONDS as i64 * 1000;
        // Yesterday's, brought late; and one of a clock that is ahead, which is of today.
        let batch = match day {
            369 => vec![usage(7, 0, now_ms - DAY_SECONDS as i64 * 1000), usage(1, 0, now_ms + 1_000_000_000)],
            day if day % 2 == 0 => vec![usage(2, 1, now_ms)],
            _ => vec![],
        };
        node.node.record_usage(RecordUsageRequest { batch_id: day.to_string(), usage: batch }).await.unwrap();
        if day < 369 {
            plane.advance(DAY_SECONDS);
        }
    }
    plane.control.keep_up_once().await.unwrap();
    let year = days(&plane, 366).await;
    assert_eq!(year.len(), 366);
    assert!(year.windows(2).all(|two| two[0].day < two[1].day), "the oldest first, each once");
    let counts: Vec<_> = year.iter().rev().take(3).map(|day| (day.hits, day.misses)).collect();
    assert_eq!(counts, [(1, 0), (9, 1), (0, 0)]);
    assert_eq!(year.iter().map(|day| day.hits).sum::<i64>(), 2 * 183 + 8);
    assert_eq!(year.last().unwrap().day, "2028-01-19");
    assert_eq!(days(&plane, 0).await.len(), 30);
    assert_eq!(days(&plane, 1).await, year[365..]);
    let too_many = ListDailyUsageRequest { group_path: "acme".into(), days: 367 };
    assert_eq!(plane.admin().cache.list_daily_usage(too_many).await.unwrap_err().code(), Code::InvalidArgument);
    let stats = plane.admin().cache.get_stats(GetStatsRequest { group_path: "acme".into() }).await.unwrap();
    assert_eq!(stats.into_inner().hits, 2 * 185 + 8, "ever");
}

#[tokio::test]
async fn a_full_batch_counts_every_link_and_repeats_within_it_add_up() {
    let plane = Plane::start().await;
    let group = plane.group("acme").await;
    let mut node = plane.node();
    node.link_manifest(&group, "library/a", "m", "latest", &[]).await;
    node.link_manifest(&group, "library/b", "m", "latest", &[]).await;
    let usage = |repository: &str, name: &str, at_ms| Usage {
        repository: place(&group, repository),
        digest: digest(name),
        hits: 1,
        misses: 1,
        last_pulled_at: timestamp(at_ms),
    };
    let mut batch: Vec<_> = (0..9_990).map(|n| usage("library/gone", &n.to_string(), START_MS)).collect();
    batch.extend((0..10).map(|n| usage(if n < 7 { "library/a" } else { "library/b" }, "m", START_MS - n)));
    let request = RecordUsageRequest { batch_id: "full".into(), usage: batch };
    for _ in 0..2 {
        node.node.record_usage(request.clone()).await.unwrap();
    }
    let list = ListManifestsRequest { group_path: "acme".into(), ..Default::default() };
    let shown = plane.admin().cache.list_manifests(list).await.unwrap().into_inner().manifests;
    assert_eq!(shown.iter().map(|m| m.pulls).collect::<Vec<_>>(), [14, 6]);
    let list = ListImagesRequest { group_path: "acme".into(), ..Default::default() };
    let images = plane.admin().cache.list_images(list).await.unwrap().into_inner().images;
    assert_eq!(images.iter().map(|image| image.pulls).collect::<Vec<_>>(), [14, 6]);
    assert_eq!(images[0].last_pulled_at, shown[0].last_pulled_at);
    assert_eq!(shown[0].last_pulled_at.as_ref().map(|at| at.seconds), Some(START_MS / 1000));
    assert_eq!(days(&plane, 1).await.iter().map(|day| day.hits).sum::<i64>(), 10_000);
}
