//! Shows how long ago the control plane was last heard.

use std::{
    fmt,
    sync::{Arc, Weak},
};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric as _},
    metrics::gauge::ConstGauge,
    registry::Registry,
};

use super::ControlLiveness;

struct LastHeard(Weak<ControlLiveness>);

impl fmt::Debug for LastHeard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LastHeard")
    }
}

/// Registers the metric, which is computed whenever it is read. Keeps nothing alive.
pub fn register(liveness: &Arc<ControlLiveness>, metrics: &mut Registry) {
    metrics.register_collector(Box::new(LastHeard(Arc::downgrade(liveness))));
}

impl Collector for LastHeard {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let Some(liveness) = self.0.upgrade() else { return Ok(()) };
        let gauge = ConstGauge::new(liveness.silent_for().as_secs_f64());
        let help = "Seconds since the last word of the control plane, or since the start";
        let metric =
            encoder.encode_descriptor("roadstead_control_last_heard_seconds", help, None, gauge.metric_type())?;
        gauge.encode(metric)
    }
}
