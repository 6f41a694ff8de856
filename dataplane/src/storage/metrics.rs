//! The metrics of stores: requests to an object store, and the requests that its node cache saved.

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    operation: &'static str,
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CacheLabels {
    outcome: &'static str,
}

/// The counters; clones count together. By default they are counted and shown nowhere.
#[derive(Clone, Default)]
pub struct StorageMetrics {
    requests: Family<RequestLabels, Counter>,
    node_cache: Family<CacheLabels, Counter>,
    node_cache_bytes: Gauge,
}

impl StorageMetrics {
    /// Makes the metrics and registers them.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        let registry = registry.sub_registry_with_prefix("roadstead");
        registry.register("store_requests", "Requests to the object store", metrics.requests.clone());
        let help = "Blobs of the object store that were looked for in the node cache";
        registry.register("node_cache", help, metrics.node_cache.clone());
        let help = "Bytes that the node cache in front of the object store holds";
        registry.register("node_cache_bytes", help, metrics.node_cache_bytes.clone());
        metrics
    }

    /// Counts a request, its retries included.
    pub fn request(&self, operation: &'static str, outcome: &'static str) {
        self.requests.get_or_create(&RequestLabels { operation, outcome }).inc();
    }

    /// Counts a look into the node cache.
    pub fn looked_up(&self, hit: bool) {
        self.node_cache.get_or_create(&CacheLabels { outcome: if hit { "hit" } else { "miss" } }).inc();
    }

    /// Size of the node cache now.
    pub fn holds(&self, bytes: u64) {
        self.node_cache_bytes.set(i64::try_from(bytes).unwrap_or(i64::MAX));
    }
}
