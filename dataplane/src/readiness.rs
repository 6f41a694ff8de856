//! Readiness: a node is ready with a snapshot that is not too old and a store that can be written to.

use std::{sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::{
    control::{ControlLiveness, Policy},
    metrics::Metrics,
    storage::BlobStore,
};

/// The interval at which the store is tried.
const PROBE_EVERY: Duration = Duration::from_secs(5);

/// Tells whether the node is ready. Cheap to clone and to ask.
#[derive(Clone)]
pub struct Readiness {
    policy: Arc<Policy>,
    liveness: Arc<ControlLiveness>,
    max_control_outage: Duration,
    store: Arc<Mutex<Result<(), String>>>,
    stopping: CancellationToken,
}

impl Readiness {
    pub(crate) fn new(
        policy: Arc<Policy>,
        liveness: Arc<ControlLiveness>,
        max_control_outage: Duration,
        stopping: CancellationToken,
    ) -> Self {
        Self { policy, liveness, max_control_outage, store: Arc::new(Mutex::new(Ok(()))), stopping }
    }

    /// `Ok` if ready, otherwise why not, in a sentence.
    pub fn check(&self) -> Result<(), String> {
        if self.stopping.is_cancelled() {
            return Err("the node is stopping".to_owned());
        }
        if !self.policy.has_snapshot() {
            return Err("no snapshot from the control plane yet".to_owned());
        }
        let outage = self.liveness.silent_for();
        if outage > self.max_control_outage {
            return Err(format!("the control plane has been unavailable for {} s", outage.as_secs()));
        }
        if let Some(lag) = self.liveness.lag() {
            return Err(format!("behind the control plane by {} s", lag.as_secs()));
        }
        self.store.lock().clone()
    }

    /// Tries the store now and then, until the node stops.
    pub(crate) async fn watch_store(self, store: Arc<dyn BlobStore>, metrics: Arc<Metrics>) {
        // A store that all nodes share fails for all of them at once: that is no reason to send clients to another, and what
        // nodes hold themselves goes on being served. Only one that never worked is a reason.
        let mut has_worked = false;
        let mut failing = false;
        let mut ticks = interval(PROBE_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = self.stopping.cancelled() => return,
                _ = ticks.tick() => {}
            }
            let probed = store.probe().await;
            if let Ok(space) = &probed {
                metrics.disk_total.set(i64::try_from(space.total_bytes).unwrap_or(i64::MAX));
                metrics.disk_available.set(i64::try_from(space.available_bytes).unwrap_or(i64::MAX));
            }
            let state = probed.map(drop).map_err(|error| format!("the blob store cannot be written to: {error}"));
            match &state {
                Err(error) if !std::mem::replace(&mut failing, true) => tracing::error!(%error, "the blob store fails"),
                Ok(()) if std::mem::take(&mut failing) => tracing::info!("the blob store can be written to again"),
                _ => {}
            }
            has_worked |= state.is_ok();
            let shown = if has_worked && store.is_elsewhere() { Ok(()) } else { state };
            *self.store.lock() = shown;
        }
    }
}
