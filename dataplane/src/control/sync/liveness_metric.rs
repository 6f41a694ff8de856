//! How long ago the control plane was last heard, for whoever watches the node.

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

use crate::control::ControlClient;

struct LastHeard(Weak<ControlClient>);

impl fmt::Debug for LastHeard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LastHeard")
    }
}

/// Lets the registry show it whenever it is asked. Keeps nothing alive.
pub fn register(control: &Arc<ControlClient>, metrics: &mut Registry) {
    metrics.register_collector(Box::new(LastHeard(Arc::downgrade(control))));
}

impl Collector for LastHeard {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let Some(control) = self.0.upgrade() else { return Ok(()) };
        let gauge = ConstGauge::new(control.last_contact().as_secs_f64());
        let help = "Seconds since the last word of the control plane, or since the start";
        let metric =
            encoder.encode_descriptor("roadstead_control_last_heard_seconds", help, None, gauge.metric_type())?;
        gauge.encode(metric)
    }
}
