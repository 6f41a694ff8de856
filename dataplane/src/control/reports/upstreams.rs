//! Telling the control plane what this node learnt of upstreams, in batches that count once.

use std::{sync::Arc, time::Duration};

use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};
use uuid::Uuid;

use crate::control::{
    ControlError,
    client::{NodeClient, condition::UpstreamReport},
    memory::conditions::Conditions,
};

/// Interval of reports with news. Pauses and dwindling limits are told at once.
const REPORT_INTERVAL: Duration = Duration::from_secs(5);
/// Most entries in one batch, as the protocol says.
const MAX_BATCH: usize = 1000;
/// Longest time for the last report at a stop.
const LAST_REPORT_TIME: Duration = Duration::from_secs(3);

/// Reports under one id, which stays the same however often they are sent.
struct Batch {
    id: Uuid,
    reports: Vec<UpstreamReport>,
}

/// Tells the control plane what [`Conditions`] this node has learnt.
pub(crate) struct UpstreamReports {
    pub(crate) client: Arc<NodeClient>,
    pub(crate) conditions: Arc<Conditions>,
}

impl UpstreamReports {
    /// Reports until `stop`, and once more then. If it is dropped, what was not reported is lost.
    pub(crate) async fn run(&self, stop: &CancellationToken) {
        let mut pending = None;
        let mut ticks = interval(REPORT_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let due = async |ticks: &mut tokio::time::Interval| {
            tokio::select! {
                _ = ticks.tick() => {}
                () = self.conditions.urgent.notified() => {}
            }
        };
        while stop.run_until_cancelled(due(&mut ticks)).await.is_some() {
            self.deliver(&mut pending).await;
        }
        // What could not be sent before goes first; then what was learnt meanwhile.
        let last = async { self.deliver(&mut pending).await };
        if timeout(LAST_REPORT_TIME, last).await.is_err() || pending.is_some() {
            warn!("what was learnt of upstreams could not be reported before the stop");
        }
    }

    /// Sends what is pending, and then all there is to tell. A report that cannot be sent stays pending under its id, and no
    /// other is started before it is sent.
    async fn deliver(&self, pending: &mut Option<Batch>) {
        loop {
            let batch = match pending.take() {
                Some(batch) => pending.insert(batch),
                None => {
                    let reports = self.conditions.take(MAX_BATCH);
                    if reports.is_empty() {
                        return;
                    }
                    pending.insert(Batch { id: Uuid::now_v7(), reports })
                }
            };
            match self.client.report_upstreams(batch.id, &batch.reports).await {
                Ok(()) => {}
                Err(error @ (ControlError::Refused { .. } | ControlError::NotFound { .. })) => {
                    warn!(%error, entries = batch.reports.len(), "a report on upstreams is refused and dropped");
                }
                Err(error) => return debug!(%error, "upstreams cannot be reported on now"),
            }
            *pending = None;
        }
    }
}
