//! The metrics of upstream requests. Labels are closed sets, never names of registries or repositories.

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};

/// The purpose of an upstream request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum RequestKind {
    ManifestHead,
    ManifestGet,
    BlobHead,
    BlobGet,
    Token,
    Tags,
    Referrers,
    Ping,
}

impl RequestKind {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::ManifestHead => "manifest_head",
            Self::ManifestGet => "manifest_get",
            Self::BlobHead => "blob_head",
            Self::BlobGet => "blob_get",
            Self::Token => "token",
            Self::Tags => "tags",
            Self::Referrers => "referrers",
            Self::Ping => "ping",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    kind: &'static str,
    status: &'static str,
}

/// The reason for which a request was not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HeldBack {
    /// Upstream asked for a pause.
    Paused,
    /// It has failed repeatedly.
    CircuitOpen,
}

impl HeldBack {
    fn label(self) -> ReasonLabel {
        let reason = match self {
            Self::Paused => "paused",
            Self::CircuitOpen => "circuit_open",
        };
        ReasonLabel { reason }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabel {
    reason: &'static str,
}

/// Counts requests to upstreams and the bytes of their answers. Cheap to clone; the default is registered nowhere.
#[derive(Clone, Debug, Default)]
pub struct UpstreamMetrics {
    requests: Family<Labels, Counter>,
    bytes: Counter,
    retries: Counter,
    held_back: Family<ReasonLabel, Counter>,
    /// Upstreams, by credentials, that are left alone.
    pub(super) circuits_open: Gauge,
}

impl UpstreamMetrics {
    /// Makes the metrics and registers them.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        let registry = registry.sub_registry_with_prefix("roadstead_upstream");
        registry.register("requests", "Requests sent to upstream registries", metrics.requests.clone());
        registry.register("bytes", "Bytes of bodies received from upstream registries", metrics.bytes.clone());
        registry.register("retries", "Requests to upstream registries that were sent again", metrics.retries.clone());
        for reason in [HeldBack::Paused, HeldBack::CircuitOpen] {
            // Shown from the start, so that the first one is an increase.
            drop(metrics.held_back.get_or_create(&reason.label()));
        }
        registry.register(
            "held_back",
            "Requests that were not sent, because upstream had asked for a pause or had failed repeatedly",
            metrics.held_back.clone(),
        );
        registry.register(
            "circuits_open",
            "Upstream registries, by credentials, that are left alone after repeated failures",
            metrics.circuits_open.clone(),
        );
        metrics
    }

    /// Counts a request by the status of its answer; `None` means that no answer came.
    pub(super) fn sent(&self, kind: RequestKind, status: Option<u16>) {
        let status = match status {
            None => "error",
            Some(401) => "401",
            Some(403) => "403",
            Some(404) => "404",
            Some(429) => "429",
            Some(100..=299) => "2xx",
            Some(300..=399) => "3xx",
            Some(400..=499) => "4xx",
            Some(_) => "5xx",
        };
        self.requests.get_or_create(&Labels { kind: kind.as_str(), status }).inc();
    }

    /// Counts a request that is sent again.
    pub(super) fn retried(&self) {
        self.retries.inc();
    }

    /// Counts a request that was not sent.
    pub(super) fn held_back(&self, reason: HeldBack) {
        self.held_back.get_or_create(&reason.label()).inc();
    }

    /// Bytes of bodies received so far.
    pub fn received_bytes(&self) -> u64 {
        self.bytes.get()
    }

    /// Counts bytes of a body.
    pub(super) fn received(&self, bytes: usize) {
        self.bytes.inc_by(bytes as u64);
    }
}
