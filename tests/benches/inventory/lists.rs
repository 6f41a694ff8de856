//! Lists, page by page, and figures.

use std::time::{Duration, Instant};

use roadstead_proto::v1::{
    CacheSort, GetStatsRequest, ListBlobsRequest, ListDailyUsageRequest, ListImagesRequest, ListManifestsRequest,
    ListTagsRequest, PurgeCacheRequest, PurgeFilter,
};
use roadstead_tests::api::Api;

use crate::{
    fill::{GROUP, repository},
    line,
    replica::Replica,
};

const ORDERS: [(CacheSort, &str); 4] = [
    (CacheSort::Name, "name"),
    (CacheSort::Size, "size"),
    (CacheSort::LastPulled, "last pulled"),
    (CacheSort::Pulls, "pulls"),
];
/// Pages of a thousand that are turned before one counts as deep.
const DEEP: usize = 30;

/// Times calls of one kind; each answers the token of the page behind it.
async fn time(rounds: usize, mut call: impl AsyncFnMut() -> String) -> Vec<Duration> {
    let mut times = Vec::with_capacity(rounds);
    for _ in 0..rounds {
        let started = Instant::now();
        call().await;
        times.push(started.elapsed());
    }
    times
}

macro_rules! pages {
    ($api:expr, $rounds:expr, $name:literal, $request:ident, $call:ident, $what:expr) => {
        for (sort, order) in ORDERS {
            let (api, request): (&Api, $request) = ($api, $what);
            let request = $request { group_path: GROUP.into(), sort: sort.into(), ..request };
            let ask = async |size: i32, token: String| {
                let request = $request { page_size: size, page_token: token, ..request.clone() };
                api.cache.clone().$call(request).await.unwrap().into_inner().next_page_token
            };
            line(
                &format!("{}, by {order}, first page of 100", $name),
                time($rounds, async || ask(100, String::new()).await).await,
            );
            let mut deep = String::new();
            for _ in 0..DEEP {
                let next = ask(1000, deep.clone()).await;
                if next.is_empty() {
                    break;
                }
                deep = next;
            }
            line(
                &format!("{}, by {order}, deep page", $name),
                time($rounds, async || ask(100, deep.clone()).await).await,
            );
        }
    };
}

/// Prints lines of the table.
pub async fn measure(replica: &Replica, rounds: usize) {
    let api = &replica.admin();
    pages!(api, rounds, "images", ListImagesRequest, list_images, ListImagesRequest::default());
    pages!(api, rounds, "tags", ListTagsRequest, list_tags, ListTagsRequest::default());
    pages!(api, rounds, "manifests", ListManifestsRequest, list_manifests, ListManifestsRequest::default());
    pages!(api, rounds, "blobs", ListBlobsRequest, list_blobs, ListBlobsRequest::default());
    let upstream = ListBlobsRequest { upstream: "docker.io".into(), ..Default::default() };
    pages!(api, rounds, "an upstream's blobs", ListBlobsRequest, list_blobs, upstream.clone());
    let image = ListBlobsRequest { image: repository(7), ..Default::default() };
    pages!(api, rounds, "an image's blobs", ListBlobsRequest, list_blobs, image.clone());
    let group_path = || GROUP.to_owned();
    let text = ListImagesRequest { group_path: group_path(), name_contains: "app77".into(), ..Default::default() };
    line(
        "images that hold a text",
        time(rounds, async || api.cache.clone().list_images(text.clone()).await.unwrap().into_inner().next_page_token)
            .await,
    );
    let old = ListBlobsRequest {
        group_path: group_path(),
        older_than: Some(prost_types::Duration { seconds: 3600, nanos: 0 }),
        sort: CacheSort::LastPulled.into(),
        ..Default::default()
    };
    line(
        "blobs not pulled for an hour, by last pulled",
        time(rounds, async || api.cache.clone().list_blobs(old.clone()).await.unwrap().into_inner().next_page_token)
            .await,
    );
    line(
        "figures of the group",
        time(rounds, async || {
            api.cache.clone().get_stats(GetStatsRequest { group_path: group_path() }).await.unwrap();
            String::new()
        })
        .await,
    );
    line(
        "366 days of hits and misses",
        time(rounds, async || {
            let request = ListDailyUsageRequest { group_path: group_path(), days: 366 };
            api.cache.clone().list_daily_usage(request).await.unwrap();
            String::new()
        })
        .await,
    );
    let purge = PurgeCacheRequest::selected(PurgeFilter {
        group_path: group_path(),
        image: repository(9),
        older_than: Some(prost_types::Duration { seconds: 3600, nanos: 0 }),
        ..Default::default()
    })
    .dry_run(true);
    line(
        "what a purge of an image by age would take",
        time(rounds.min(10), async || {
            api.cache.clone().purge_cache(purge.clone()).await.unwrap();
            String::new()
        })
        .await,
    );
}
