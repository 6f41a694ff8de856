//! The metrics of a node. Labels are closed sets, never names of groups or repositories.

use std::{sync::Arc, time::Duration};

use prometheus_client::{
    encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder},
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
    registry::{Registry, Unit},
};

use crate::{cache_status::CacheStatus, control::CorruptionKind};

/// Labels of a finished request.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    route: &'static str,
    status: u16,
}

/// Label of requests by route.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RouteLabel {
    route: &'static str,
}

/// Labels of where content came from.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CacheLabels {
    route: &'static str,
    outcome: CacheOutcome,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum CacheOutcome {
    Served(CacheStatus),
    Error,
}

impl EncodeLabelValue for CacheOutcome {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), std::fmt::Error> {
        let word = match self {
            Self::Served(status) => status.as_str(),
            Self::Error => "error",
        };
        word.encode(encoder)
    }
}

/// Labels of a fill that ended.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct FillLabels {
    outcome: &'static str,
}

/// Label of damage to stored content.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct DamageLabel {
    kind: &'static str,
}

/// The source of a fill's bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FillSource {
    /// Upstream; in a cluster, for all nodes.
    Upstream,
    /// Another node.
    Peer,
    /// Upstream, although another node may be fetching the same.
    Uncoordinated,
}

impl EncodeLabelValue for FillSource {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), std::fmt::Error> {
        let word = match self {
            Self::Upstream => "upstream",
            Self::Peer => "peer",
            Self::Uncoordinated => "upstream_uncoordinated",
        };
        word.encode(encoder)
    }
}

/// The sender of a fill's bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FillBytes {
    /// The upstream.
    Upstream,
    /// Another node.
    Peer,
}

impl EncodeLabelValue for FillBytes {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), std::fmt::Error> {
        let word = match self {
            Self::Upstream => "upstream",
            Self::Peer => "peer",
        };
        word.encode(encoder)
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct SourceLabel {
    source: FillSource,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct SenderLabel {
    source: FillBytes,
}

/// Counts bytes that leave for clients. Cheap to clone.
pub type BodyBytes = Arc<dyn ByteCounter>;

/// Something that adds up bytes.
pub trait ByteCounter: Send + Sync {
    /// Adds `bytes`.
    fn add(&self, bytes: u64);
}

impl ByteCounter for Counter {
    fn add(&self, bytes: u64) {
        self.inc_by(bytes);
    }
}

/// A node's metrics.
pub struct Metrics {
    requests: Family<RequestLabels, Counter>,
    durations: Family<RouteLabel, Histogram>,
    cache: Family<CacheLabels, Counter>,
    fills_ended: Family<FillLabels, Counter>,
    fill_sources: Family<SourceLabel, Counter>,
    fill_bytes: Family<SenderLabel, Counter>,
    client_bytes: BodyBytes,
    client_bytes_sent: Counter,
    /// Bytes of blobs fetched from other nodes.
    pub peer_bytes: Counter,
    damaged: Family<DamageLabel, Counter>,
    garbage: Counter,
    /// Bytes that were read and hashed in the background.
    pub scrubbed_bytes: Counter,
    /// Requests being answered, bodies included.
    pub requests_in_flight: Gauge,
    /// Connections open.
    pub connections: Gauge,
    /// Connections of other nodes.
    pub peer_connections: Gauge,
    /// Fills under way.
    pub fills: Gauge,
    /// Room of the blob store's file system, in bytes.
    pub disk_total: Gauge,
    /// The free part of it, in bytes.
    pub disk_available: Gauge,
}

impl Metrics {
    /// Makes the metrics and registers them.
    pub fn register(registry: &mut Registry) -> Arc<Self> {
        let client_bytes = Counter::default();
        // 0.25 ms to about 2 min.
        let histogram = || Histogram::new(exponential_buckets(0.000_25, 4.0, 10));
        let metrics = Self {
            requests: Family::default(),
            durations: Family::new_with_constructor(histogram),
            cache: Family::default(),
            fills_ended: Family::default(),
            fill_sources: Family::default(),
            fill_bytes: Family::default(),
            client_bytes: Arc::new(client_bytes.clone()),
            client_bytes_sent: client_bytes.clone(),
            peer_bytes: Counter::default(),
            damaged: Family::default(),
            garbage: Counter::default(),
            scrubbed_bytes: Counter::default(),
            requests_in_flight: Gauge::default(),
            connections: Gauge::default(),
            peer_connections: Gauge::default(),
            fills: Gauge::default(),
            disk_total: Gauge::default(),
            disk_available: Gauge::default(),
        };
        let registry = registry.sub_registry_with_prefix("roadstead");
        registry.register("requests", "Requests answered on the registry port", metrics.requests.clone());
        registry.register_with_unit(
            "request_duration",
            "Time from a request's headers to the answer's headers",
            Unit::Seconds,
            metrics.durations.clone(),
        );
        registry.register("cache", "Where content that clients asked for came from", metrics.cache.clone());
        registry.register("client_bytes", "Bytes of content sent to clients", client_bytes);
        registry.register("peer_bytes", "Bytes of blobs fetched from other nodes", metrics.peer_bytes.clone());
        registry.register("requests_in_flight", "Requests being answered", metrics.requests_in_flight.clone());
        registry.register("connections", "Connections open on the registry port", metrics.connections.clone());
        registry.register("peer_connections", "Connections of other nodes", metrics.peer_connections.clone());
        registry.register("fills", "Blob downloads from upstream that ended", metrics.fills_ended.clone());
        registry.register(
            "fill_source",
            "Where downloads got their bytes: upstream, another node, or upstream because others were out of reach",
            metrics.fill_sources.clone(),
        );
        registry.register("fill_bytes", "Bytes of blobs fetched, by who sent them", metrics.fill_bytes.clone());
        registry.register("fills_in_progress", "Blob downloads from upstream under way", metrics.fills.clone());
        for kind in [CorruptionKind::Missing, CorruptionKind::Size, CorruptionKind::Digest] {
            // Shown from the start, so that the first damage is an increase.
            drop(metrics.damaged.get_or_create(&DamageLabel { kind: kind.as_str() }));
        }
        registry.register(
            "damaged_contents",
            "Linked contents that were found missing or damaged in the blob store",
            metrics.damaged.clone(),
        );
        registry.register(
            "scrubbed_bytes",
            "Bytes of linked content that were read and hashed in the background",
            metrics.scrubbed_bytes.clone(),
        );
        registry.register("garbage_deleted", "Contents without links that were deleted", metrics.garbage.clone());
        registry.register("disk_total_bytes", "Size of the blob store's file system", metrics.disk_total.clone());
        registry.register("disk_available_bytes", "Room left for blobs", metrics.disk_available.clone());
        Arc::new(metrics)
    }

    /// Counts an answered request.
    pub fn answered(&self, route: &'static str, status: u16, elapsed: Duration) {
        self.requests.get_or_create(&RequestLabels { route, status }).inc();
        self.durations.get_or_create(&RouteLabel { route }).observe(elapsed.as_secs_f64());
    }

    /// Counts content served.
    pub fn served(&self, route: &'static str, status: CacheStatus) {
        self.cache.get_or_create(&CacheLabels { route, outcome: CacheOutcome::Served(status) }).inc();
    }

    /// Counts content that could not be served because something failed.
    pub fn failed(&self, route: &'static str) {
        self.cache.get_or_create(&CacheLabels { route, outcome: CacheOutcome::Error }).inc();
    }

    /// Counts a fill that ended, by `complete` or the kind of its error.
    pub fn fill_ended(&self, outcome: &'static str) {
        self.fills_ended.get_or_create(&FillLabels { outcome }).inc();
    }

    /// Counts that a fill began to take bytes from there.
    pub fn fill_source(&self, source: FillSource) {
        self.fill_sources.get_or_create(&SourceLabel { source }).inc();
    }

    /// Counts bytes that a fill was sent.
    pub fn fill_bytes(&self, source: FillBytes, bytes: u64) {
        self.fill_bytes.get_or_create(&SenderLabel { source }).inc_by(bytes);
        if source == FillBytes::Peer {
            self.peer_bytes.inc_by(bytes);
        }
    }

    /// Bytes sent to clients so far.
    pub fn served_bytes(&self) -> u64 {
        self.client_bytes_sent.get()
    }

    /// Counts damage to stored content that somebody links, by its kind.
    pub fn damaged(&self, kind: &'static str) {
        self.damaged.get_or_create(&DamageLabel { kind }).inc();
    }

    /// Counts garbage that was deleted.
    pub fn garbage(&self, contents: usize) {
        self.garbage.inc_by(contents as u64);
    }

    /// For bodies that go to no client.
    pub fn no_client() -> BodyBytes {
        Arc::new(Counter::<u64>::default())
    }

    /// The counter for bodies.
    pub fn client_bytes(&self) -> BodyBytes {
        Arc::clone(&self.client_bytes)
    }
}
