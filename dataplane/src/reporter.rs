//! Reports how this node is: every five seconds, at once after a change of the settings was applied, and a last time when
//! it serves no more. A purge is answered when the nodes have reported that they applied it.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;
use tracing::debug;

use crate::{
    control::{NodeClient, NodeReport, Policy},
    metrics::Metrics,
    upstream::UpstreamMetrics,
};

/// Interval of reports, as in the protocol.
const REPORT_INTERVAL: Duration = Duration::from_secs(5);
/// Longest time for the last report at a stop.
const LAST_REPORT_TIME: Duration = Duration::from_secs(2);

/// The sources of the reports.
pub struct Reporter {
    /// Their receiver.
    pub client: Arc<NodeClient>,
    /// The policy that the node serves by.
    pub policy: Arc<Policy>,
    /// The node's metrics.
    pub metrics: Arc<Metrics>,
    /// Its metrics of upstreams.
    pub upstream_metrics: UpstreamMetrics,
    /// For how long it serves without word from the control plane.
    pub max_control_outage: Duration,
    /// The URL by which other nodes reach it; empty if they do not.
    pub peer_url: String,
    /// Names its blob store.
    pub store_id: String,
}

impl Reporter {
    /// Reports until `stop`, and once more then: by that time nothing must be served any more.
    pub async fn run(self, stop: CancellationToken) {
        let started_at = SystemTime::now();
        let mut applied = self.policy.applied_revision();
        let mut ticks = interval(REPORT_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut due = async || {
            tokio::select! {
                // Changes that come while a report is on its way make one more, not one each.
                Ok(()) = applied.changed() => {}
                _ = ticks.tick() => {}
            }
        };
        while stop.run_until_cancelled(due()).await.is_some() {
            let report = self.report(started_at, false);
            // At a stop the last report is the one that counts.
            if let Some(Err(error)) = stop.run_until_cancelled(self.client.report_node(report)).await {
                debug!(%error, "the node's report was not taken");
            }
        }
        let last = self.client.report_node(self.report(started_at, true));
        if !matches!(timeout(LAST_REPORT_TIME, last).await, Ok(Ok(()))) {
            debug!("the control plane was not told that the node stops; it notices");
        }
    }

    fn report(&self, started_at: SystemTime, stopping: bool) -> NodeReport {
        // One snapshot's: a report of a number with another's mark would say that the control plane's database is another.
        let policy = self.policy.current();
        let has_applied = *self.policy.applied_revision().borrow() >= policy.revision();
        let (applied_revision, applied_mark) =
            if has_applied { (policy.revision(), policy.mark().to_string()) } else { (0, String::new()) };
        let gauge = |value: i64| u64::try_from(value).unwrap_or_default();
        NodeReport {
            applied_revision,
            applied_mark,
            started_at,
            max_control_outage_seconds: self.max_control_outage.as_secs(),
            fills: gauge(self.metrics.fills.get()),
            served_bytes: self.metrics.served_bytes(),
            fetched_bytes: self.upstream_metrics.received_bytes(),
            peer_bytes: self.metrics.peer_bytes.get(),
            peer_url: self.peer_url.clone(),
            store_total_bytes: gauge(self.metrics.disk_total.get()),
            store_available_bytes: gauge(self.metrics.disk_available.get()),
            store_id: self.store_id.clone(),
            stopping,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::fake::{Fake, FakeWatch, changes, group, snapshot};
    use prometheus_client::registry::Registry;
    use roadstead_proto::node::v1::policy_change::Change;
    use tokio::sync::mpsc;

    #[tokio::test(start_paused = true)]
    async fn an_applied_change_is_reported_at_once_and_a_stop_last() {
        let fake = Fake::default();
        let (events, told) = mpsc::unbounded_channel();
        fake.script(|script| script.watches.push_back(FakeWatch::Live(told)));
        let control = fake.client();
        let mut registry = Registry::default();
        let metrics = Metrics::register(&mut registry);
        metrics.peer_bytes.inc_by(7);
        let reporter = Reporter {
            client: Arc::clone(&control.client),
            policy: Arc::clone(&control.policy),
            metrics,
            upstream_metrics: UpstreamMetrics::register(&mut registry),
            max_control_outage: Duration::from_secs(900),
            peer_url: String::new(),
            store_id: "store".to_owned(),
        };
        let stop = CancellationToken::new();
        let reporting = tokio::spawn(reporter.run(stop.clone()));
        let following = tokio::spawn({
            let stop = stop.clone();
            async move { control.run("", stop).await }
        });
        let revisions = |fake: &Fake| {
            fake.script(|script| script.node_reports.iter().map(|r| r.applied_revision).collect::<Vec<_>>())
        };
        let until = async |wanted: i64| {
            while revisions(&fake).last() != Some(&wanted) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        events.send(snapshot(7, vec![group("g1", "acme", 1, 1)])).unwrap();
        let begun = tokio::time::Instant::now();
        until(7).await;
        events.send(changes(9, vec![Change::Group(group("g1", "acme", 9, 1))])).unwrap();
        until(9).await;
        assert!(begun.elapsed() < Duration::from_secs(1), "no report waits for the next tick");
        let count = revisions(&fake).len();
        tokio::time::sleep(REPORT_INTERVAL * 2 + Duration::from_secs(1)).await;
        assert_eq!(revisions(&fake).len(), count + 2, "every five seconds");
        stop.cancel();
        reporting.await.unwrap();
        following.await.unwrap();
        fake.script(|script| {
            let last = script.node_reports.last().unwrap();
            assert!(last.stopping);
            assert_eq!(
                (
                    last.peer_bytes,
                    roadstead_proto::time::duration_seconds(last.max_control_outage),
                    last.store_id.as_str()
                ),
                (7, 900, "store")
            );
            assert!(script.node_reports.iter().rev().skip(1).all(|report| !report.stopping));
        });
    }
}
