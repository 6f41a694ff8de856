//! Property: after any sequence of pulls, purges, evictions and collections of garbage, what a client can still get is stored, and
//! what is stored is what somebody links. The control plane is the real one; the node and its store are played by the test.

use std::collections::BTreeSet;

use proptest::prelude::*;
use roadstead_proto::{
    node::v1::{ClaimGarbageRequest, ConfirmGarbageRequest, GetLinksRequest},
    v1::{GetStatsRequest, Group, PurgeCacheRequest, PurgeFilter},
};

use crate::harness::{Client, Plane, digest, place};

/// Images with their blobs; neighbours share one.
const IMAGES: [(&str, [&str; 2]); 4] = [
    ("m0", ["own0", "shared0"]),
    ("m1", ["own1", "shared0"]),
    ("m2", ["own2", "shared1"]),
    ("m3", ["own3", "shared1"]),
];

#[derive(Clone, Debug)]
enum Deed {
    Pull(usize),
    /// Its manifest arrives, and the client leaves.
    PullPart(usize),
    PurgeImage(usize),
    PurgeBlob(usize),
    PurgeAll,
    Evict,
    Wait(u64),
    Collect,
    /// Claims, deletes, and never confirms.
    CollectHalf,
}

fn deeds() -> impl Strategy<Value = Vec<Deed>> {
    let image = 0..IMAGES.len();
    let deed = prop_oneof![
        4 => image.clone().prop_map(Deed::Pull),
        1 => image.clone().prop_map(Deed::PullPart),
        2 => image.clone().prop_map(Deed::PurgeImage),
        1 => image.prop_map(Deed::PurgeBlob),
        1 => Just(Deed::PurgeAll),
        1 => Just(Deed::Evict),
        3 => prop_oneof![Just(60_u64), Just(1800), Just(4000)].prop_map(Deed::Wait),
        2 => Just(Deed::Collect),
        1 => Just(Deed::CollectHalf),
    ];
    proptest::collection::vec(deed, 1..25)
}

struct World {
    plane: Plane,
    node: Client,
    group: Group,
    store: BTreeSet<String>,
}

impl World {
    async fn start() -> Self {
        let plane = Plane::start().await;
        let group = plane.group("acme").await;
        let node = plane.node();
        Self { plane, node, group, store: BTreeSet::new() }
    }

    async fn is_linked(&mut self, repository: &str, name: &str) -> bool {
        let request = GetLinksRequest { repository: place(&self.group, repository), digest: digest(name) };
        self.node.node.get_links(request).await.unwrap().into_inner().link.is_some()
    }

    async fn pull(&mut self, image: usize, whole: bool) {
        let (manifest, blobs) = IMAGES[image];
        let repository = format!("app{image}");
        if !self.is_linked(&repository, manifest).await {
            self.store.insert(digest(manifest));
            let recorded = self.node.link_manifest(&self.group, &repository, manifest, "latest", &blobs).await.recorded;
            // As the node does: once it is linked, it looks, and writes again what is gone.
            if recorded {
                self.store.insert(digest(manifest));
            }
        }
        for blob in blobs.iter().take(if whole { 2 } else { 0 }) {
            if !self.is_linked(&repository, blob).await {
                self.store.insert(digest(blob));
                self.node.link_blob(&self.group, &repository, blob, 1).await;
            }
        }
    }

    async fn purge(&mut self, filter: PurgeFilter) {
        let request = match filter == PurgeFilter::default() {
            true => PurgeCacheRequest::whole_group("acme"),
            false => PurgeCacheRequest::selected(PurgeFilter { group_path: "acme".into(), ..filter }),
        };
        self.plane.admin().cache.purge_cache(request).await.unwrap();
    }

    async fn collect(&mut self, confirms: bool) {
        let request = ClaimGarbageRequest { node_id: "node".into(), void_earlier: true, ..Default::default() };
        let claimed = self.node.node.claim_garbage(request).await.unwrap().into_inner();
        for digest in &claimed.digests {
            self.store.remove(digest);
        }
        if confirms && !claimed.digests.is_empty() {
            let request = ConfirmGarbageRequest { digests: claimed.digests, claim_id: claimed.claim_id };
            self.node.node.confirm_garbage(request).await.unwrap();
        }
    }

    async fn run(&mut self, deed: Deed) {
        match deed {
            Deed::Pull(image) => self.pull(image, true).await,
            Deed::PullPart(image) => self.pull(image, false).await,
            Deed::PurgeImage(image) => {
                self.purge(PurgeFilter { image: format!("app{image}"), ..Default::default() }).await;
            }
            Deed::PurgeBlob(image) => {
                self.purge(PurgeFilter { digest: digest(IMAGES[image].1[1]), ..Default::default() }).await;
            }
            Deed::PurgeAll => self.purge(PurgeFilter::default()).await,
            Deed::Evict => {
                let older_than = Some(prost_types::Duration { seconds: 600, nanos: 0 });
                self.purge(PurgeFilter { older_than, ..Default::default() }).await;
            }
            Deed::Wait(seconds) => self.plane.advance(seconds),
            Deed::Collect => self.collect(true).await,
            Deed::CollectHalf => self.collect(false).await,
        }
    }

    /// Everything that is linked, by digest.
    async fn linked(&mut self) -> BTreeSet<String> {
        let mut linked = BTreeSet::new();
        for (image, (manifest, blobs)) in IMAGES.iter().enumerate() {
            for name in blobs.iter().chain([manifest]) {
                if self.is_linked(&format!("app{image}"), name).await {
                    linked.insert(digest(name));
                }
            }
        }
        linked
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_can_be_had_is_stored_and_what_is_stored_can_be_had(deeds in deeds()) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        runtime.block_on(async {
            let mut world = World::start().await;
            for deed in deeds {
                world.run(deed.clone()).await;
                let linked = world.linked().await;
                assert!(linked.is_subset(&world.store), "{deed:?} lost {:?}", linked.difference(&world.store));
            }
            // All garbage, the unconfirmed too.
            world.plane.advance(4000);
            world.collect(true).await;
            let linked = world.linked().await;
            assert_eq!(linked, world.store, "stored is what is linked");
            let request = GetStatsRequest { group_path: "acme".into() };
            let stats = world.plane.admin().cache.get_stats(request).await.unwrap().into_inner();
            let bytes = |name: &String| if IMAGES.iter().any(|(manifest, _)| digest(manifest) == *name) { 10 } else { 1 };
            assert_eq!(stats.bytes, linked.iter().map(bytes).sum::<i64>());
        });
    }
}
