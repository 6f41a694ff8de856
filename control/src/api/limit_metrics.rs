//! Metrics of upstreams' pull limits. Labels are the upstream and the user name of credentials that somebody stored for
//! it: as many as there are of those. Of several sources that an upstream counts for, the one with the least left is
//! shown.

use std::{collections::BTreeMap, fmt, sync::Arc};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric as _},
    metrics::gauge::ConstGauge,
    registry::Registry,
};

use crate::{rules::upstreams::pull_limit::Condition, usecases::upstreams::report::UpstreamReports};

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, EncodeLabelSet)]
struct Labels {
    upstream: String,
    username: String,
}

struct PullLimits(Arc<UpstreamReports>);

impl fmt::Debug for PullLimits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PullLimits")
    }
}

/// Registers metrics that show the known limits at the moment of a scrape.
pub fn register(reports: Arc<UpstreamReports>, metrics: &mut Registry) {
    metrics.register_collector(Box::new(PullLimits(reports)));
}

/// Limit, remaining, and seconds of pause.
#[derive(Clone, Copy, Default)]
struct Figures {
    told: Option<(i64, i64)>,
    pause_seconds: i64,
}

fn figures(conditions: &[Condition], now_ms: i64) -> BTreeMap<Labels, Figures> {
    let mut all: BTreeMap<Labels, Figures> = BTreeMap::new();
    for condition in conditions {
        let labels = Labels { upstream: condition.upstream.clone(), username: condition.username.clone() };
        let figures = all.entry(labels).or_default();
        if condition.counts(now_ms) && figures.told.is_none_or(|(_, least)| condition.remaining < least) {
            figures.told = Some((condition.limit, condition.remaining));
        }
        figures.pause_seconds = figures.pause_seconds.max((condition.paused_until_ms - now_ms).max(0) / 1000);
    }
    all
}

impl Collector for PullLimits {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let (known, now_ms) = self.0.shown();
        let all = figures(&known, now_ms);
        let mut show = |name: &str, help: &str, value: &dyn Fn(&Figures) -> Option<i64>| {
            let gauge = ConstGauge::new(0_i64);
            let mut family = encoder.encode_descriptor(name, help, None, gauge.metric_type())?;
            for (labels, figures) in &all {
                if let Some(value) = value(figures) {
                    ConstGauge::new(value).encode(family.encode_family(labels)?)?;
                }
            }
            Ok::<_, fmt::Error>(())
        };
        show("roadstead_upstream_pull_limit", "Pulls that the upstream allows in a window", &|figures| {
            figures.told.map(|(limit, _)| limit)
        })?;
        show("roadstead_upstream_pulls_remaining", "Pulls that are left in the window", &|figures| {
            figures.told.map(|(_, remaining)| remaining)
        })?;
        show("roadstead_upstream_pause_seconds", "For how long the upstream asked to be left alone", &|figures| {
            Some(figures.pause_seconds)
        })
    }
}
