//! The process is ended at every commit point of fill, link, purge, claim and deletion, and started again: no linked blob is
//! missing, nothing partial is visible, and what nobody needs is gone in the end. Takes an executable with the feature
//! `failpoints`, as `tests/run` builds it.

use std::time::Duration;

use futures_util::{StreamExt, stream};
use roadstead_tests::{
    cluster::{Cluster, ClusterOptions},
    eventually::eventually_some,
    hub::{AuthMode, Hub, HubOptions, Kind, When},
    image::random_bytes,
    store_files,
};

/// Crashes tried at a time.
const AT_ONCE: usize = 4;

const FILL: &[&str] = &[
    "fill_staged",
    "store_renamed",
    "fill_committed",
    "link_asked",
    "link_uncommitted",
    "link_committed",
    "link_recorded",
];
const PURGE: &[&str] = &["purge_uncommitted", "purge_committed"];
const COLLECT: &[&str] = &[
    "claim_uncommitted",
    "claim_committed",
    "garbage_claimed",
    "garbage_deleted",
    "confirm_uncommitted",
    "confirm_committed",
    "garbage_confirmed",
];

struct Pair {
    hub: Hub,
    cluster: Cluster,
}

impl Pair {
    async fn start() -> Self {
        let hub = Hub::start_with(HubOptions { auth: AuthMode::Open, ..HubOptions::default() }).await;
        let arguments = ["--gc-grace", "1s"].map(str::to_owned).to_vec();
        let cluster = Cluster::start_with(&hub, ClusterOptions { arguments, ..ClusterOptions::default() }).await;
        Self { hub, cluster }
    }

    fn store(&self) -> std::path::PathBuf {
        self.cluster.data_dir().join("blobs")
    }

    /// Starts it so that it ends at this point.
    async fn arm(&self, point: &str) {
        self.cluster.kill();
        self.cluster.set_failpoints(&format!("{point}=return"));
        self.cluster.run_processes().await;
        self.cluster.set_failpoints("");
    }

    /// Waits for the crash, and starts it again.
    async fn crashed(&self, point: &str) {
        let codes = self.cluster.exit_codes(Duration::from_secs(60)).await;
        assert_eq!(codes, [128 + 6], "{point}: it did not abort; was it built with the feature `failpoints`?");
        self.cluster.run_processes().await;
    }

    async fn pulls_right(&self, wanted: &str, content: &[u8], point: &str) {
        let answer = self.cluster.anonymous().blob("app", wanted).await.expect(200);
        assert!(answer.body == content, "{point}: wrong bytes");
    }

    /// Nothing partial is visible, ever; and in the end bytes stored are bytes linked.
    async fn settles(&self, point: &str) {
        assert_eq!(store_files::wrong(&self.store()), Vec::<String>::new(), "{point}");
        eventually_some(async || {
            let stats = self.cluster.cli_json(&["cache", "stats", "default"]).await;
            let linked: u64 = stats["bytes"].as_u64().unwrap_or_else(|| panic!("{stats}"));
            let stored = store_files::bytes(&self.store());
            let staged = store_files::entries(&self.store().join("staging")).len();
            if linked == stored && staged == 0 {
                return Ok(());
            }
            let files = store_files::blobs(&self.store());
            Err(format!("{point}: {linked} bytes linked, {stored} stored: {files:?}"))
        })
        .await;
    }
}

async fn each<F: Future<Output = ()>>(points: &'static [&'static str], test: impl Fn(&'static str) -> F) {
    stream::iter(points).map(|point| test(point)).buffer_unordered(AT_ONCE).collect::<Vec<()>>().await;
}

#[tokio::test]
async fn a_crash_anywhere_in_a_fill_or_a_link_leaves_all_of_the_blob_or_nothing() {
    each(FILL, |point| async move {
        let pair = Pair::start().await;
        let (wanted, unwanted) = (random_bytes(1, 300_000), random_bytes(2, 200_000));
        let digests = [&wanted, &unwanted].map(|blob| pair.hub.push_blob("library/app", blob.clone()));
        for digest in &digests {
            pair.arm(point).await;
            // It has all bytes before it is committed, or breaks off: both are fine.
            let _ = pair.cluster.anonymous().try_blob("app", digest).await;
            pair.crashed(point).await;
        }
        assert_eq!(store_files::wrong(&pair.store()), Vec::<String>::new(), "{point}");
        pair.pulls_right(&digests[0], &wanted, point).await;
        pair.cluster.anonymous().blob_hit("app", &digests[0]).await;
        // The other is not pulled again: either it is linked, or it goes.
        pair.settles(point).await;
        assert!(store_files::blobs(&pair.store()).contains_key(&digests[0]), "{point}");
        let gets = pair.hub.count(&When::get(Kind::Blob));
        assert!(gets <= 3, "{point}: {gets} downloads of two blobs");
    })
    .await;
}

#[tokio::test]
async fn a_crash_anywhere_in_a_purge_leaves_it_done_or_undone() {
    each(PURGE, |point| async move {
        let pair = Pair::start().await;
        let (gone, kept) = (random_bytes(1, 300_000), random_bytes(2, 200_000));
        let digests = [&gone, &kept].map(|blob| pair.hub.push_blob("library/app", blob.clone()));
        for digest in &digests {
            pair.cluster.anonymous().blob_hit("app", digest).await;
        }
        pair.arm(point).await;
        pair.cluster.cli(&["cache", "purge", "default", "--digest", &digests[0]]).await.failed();
        pair.crashed(point).await;
        pair.settles(point).await;
        let is_stored = store_files::blobs(&pair.store()).contains_key(&digests[0]);
        assert_eq!(is_stored, point == "purge_uncommitted", "{point}");
        pair.cluster.anonymous().blob_hit("app", &digests[1]).await;
        pair.pulls_right(&digests[0], &gone, point).await;
        // Again, to its end.
        pair.cluster.cli(&["cache", "purge", "default", "--digest", &digests[0]]).await.ok();
        pair.settles(point).await;
    })
    .await;
}

#[tokio::test]
async fn a_crash_anywhere_in_the_collection_of_garbage_loses_nothing_and_leaves_nothing() {
    each(COLLECT, |point| async move {
        let pair = Pair::start().await;
        let (gone, kept) = (random_bytes(1, 300_000), random_bytes(2, 200_000));
        let digests = [&gone, &kept].map(|blob| pair.hub.push_blob("library/app", blob.clone()));
        for digest in &digests {
            pair.cluster.anonymous().blob_hit("app", digest).await;
        }
        pair.arm(point).await;
        pair.cluster.cli(&["cache", "purge", "default", "--digest", &digests[0]]).await.ok();
        pair.crashed(point).await;
        pair.cluster.anonymous().blob_hit("app", &digests[1]).await;
        pair.settles(point).await;
        assert!(!store_files::blobs(&pair.store()).contains_key(&digests[0]), "{point}");
        pair.pulls_right(&digests[0], &gone, point).await;
        pair.cluster.anonymous().blob_hit("app", &digests[0]).await;
        pair.settles(point).await;
    })
    .await;
}
