//! Calls of nodes: resolving tags, recording links, counting usage.

use std::{
    sync::atomic::{AtomicI64, Ordering},
    time::{Duration, Instant},
};

use futures_util::{StreamExt as _, stream};
use roadstead_proto::node::v1::{
    ContentKind, GetLinksRequest, Link, LinkProof, RecordLinkRequest, RecordUsageRequest, RepositoryRef,
    ResolveTagRequest, Usage,
};
use roadstead_tests::api::Api;

use crate::{
    fill::{BLOBS, MANIFESTS, blob_digest, manifest_digest, repository},
    rate,
    replica::Replica,
};

/// Calls under way at once.
const AT_ONCE: usize = 32;
/// For how long each kind of call is made.
const TIME: Duration = Duration::from_secs(5);
/// Rows of a full batch.
const ROWS: i64 = 10_000;

fn place(group: &str, image: i64) -> Option<RepositoryRef> {
    Some(RepositoryRef { group_id: group.into(), upstream: "docker.io".into(), repository: repository(image) })
}

/// Makes calls, as many at once as said, for a while.
async fn run(what: &str, per_call: usize, at_once: usize, call: impl AsyncFn(i64)) {
    let (next, started) = (AtomicI64::new(0), Instant::now());
    let all = stream::iter(0..at_once).map(|_| async {
        let mut times = Vec::new();
        while started.elapsed() < TIME {
            let at = Instant::now();
            call(next.fetch_add(1, Ordering::Relaxed)).await;
            times.push(at.elapsed());
        }
        times
    });
    let times: Vec<_> = all.buffer_unordered(at_once).collect::<Vec<_>>().await.into_iter().flatten().collect();
    rate(what, times.len() * per_call, started.elapsed(), times);
}

/// Prints lines of the table.
pub async fn measure(replica: &Replica, group: &str, blobs: i64) {
    let node = Api::at(replica.address(), &replica.node_token().await).nodes;
    let images = (blobs + BLOBS - 1) / BLOBS;
    run("tags resolved", 1, AT_ONCE, async |n| {
        let image = (n * 7919) % images;
        let request = ResolveTagRequest {
            repository: place(group, image),
            tag: format!("v{}", n % MANIFESTS),
            ..Default::default()
        };
        node.clone().resolve_tag(request).await.unwrap();
    })
    .await;
    run("links of a manifest read", 1, AT_ONCE, async |n| {
        let number = (n * 7919) % (images * MANIFESTS);
        let request = GetLinksRequest { repository: place(group, number / MANIFESTS), digest: manifest_digest(number) };
        node.clone().get_links(request).await.unwrap();
    })
    .await;
    run("links recorded", 1, AT_ONCE, async |n| {
        let link = Link {
            digest: blob_digest(10_000_000_000 + n),
            kind: ContentKind::Blob.into(),
            size_bytes: 1000,
            media_type: String::new(),
        };
        let repository = place(group, (n * 7919) % images);
        let request =
            RecordLinkRequest { proof: LinkProof::Fetched.into(), repository, link: Some(link), ..Default::default() };
        node.clone().record_link(request).await.unwrap();
    })
    .await;
    run("usage rows counted, in batches of 10,000", ROWS as usize, 1, async |n| {
        let usage = (0..ROWS).map(|row| {
            let number = ((n * ROWS + row) * 7919) % (images * BLOBS);
            Usage {
                repository: place(group, number / BLOBS),
                digest: blob_digest(number),
                hits: 1,
                misses: 0,
                last_pulled_at: roadstead_proto::time::timestamp(1_700_001_000_000 + n),
            }
        });
        let request = RecordUsageRequest { batch_id: format!("bench-{n}"), usage: usage.collect() };
        node.clone().record_usage(request).await.unwrap();
    })
    .await;
}
