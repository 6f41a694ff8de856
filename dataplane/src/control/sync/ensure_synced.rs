//! Catching up before a request is judged by what is remembered.
//!
//! A node that has just started knows nobody: requests wait for its first snapshot, and are put off if it does not come.
//! A node that may have missed something (it was paused, cut off, or has just started) asks for the current revision, and goes
//! on once that is applied. If nobody answers, this is an outage and what is remembered holds. If the control plane answers
//! and the revision does not arrive, the node is out of sync and serves nothing by what it remembers.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::Mutex,
    time::{Instant, sleep, timeout, timeout_at},
};
use tracing::{debug, info};

use crate::control::{client::NodeClient, policy::Policy, staleness::Staleness};

/// Longest wait of a request for the first snapshot of a node that has just started.
const START_TIME: Duration = Duration::from_secs(5);
/// Longest wait of a request for this node to catch up.
const CATCH_UP_TIME: Duration = Duration::from_secs(2);
/// Longest wait for missing changes before the watch is opened again.
const PATIENCE: Duration = Duration::from_millis(300);

/// This node cannot judge requests by what it knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OutOfSync {
    /// It has just started.
    #[error("this node has just started and has not heard from its control plane yet; try again")]
    NotStarted,
    /// It has missed something, and does not know what.
    #[error("this node lost its connection to the control plane and has not caught up yet; try again")]
    Behind,
}

/// Makes sure that requests are judged by what holds now.
pub struct SyncGuard {
    client: Arc<NodeClient>,
    policy: Arc<Policy>,
    staleness: Arc<Staleness>,
    /// The turn to ask; the others wait for the result.
    turn: Mutex<()>,
}

impl SyncGuard {
    pub(crate) fn new(client: Arc<NodeClient>, policy: Arc<Policy>, staleness: Arc<Staleness>) -> Self {
        Self { client, policy, staleness, turn: Mutex::default() }
    }

    /// True before the first snapshot, and while the remembered state may be stale, so that [`Self::ensure_synced`] would
    /// have to ask.
    pub fn may_be_stale(&self) -> bool {
        !self.policy.has_snapshot() || self.staleness.is_suspected()
    }

    /// Returns once all that the control plane had told by now is applied, or the control plane is known to be unavailable.
    /// Returns at once if nothing can have been missed. Dropping the future leaves the check to the next caller.
    pub async fn ensure_synced(&self) -> Result<(), OutOfSync> {
        if !self.policy.has_snapshot() {
            timeout(START_TIME, self.policy.wait_for_snapshot()).await.map_err(|_| OutOfSync::NotStarted)?;
        }
        if !self.may_be_stale() {
            return Ok(());
        }
        let _turn = self.turn.lock().await;
        if !self.may_be_stale() {
            return Ok(());
        }
        let check = self.staleness.begin_check();
        let until = Instant::now() + CATCH_UP_TIME;
        match timeout_at(until, self.client.current_revision(&self.policy.current())).await {
            Ok(Ok(revision)) => {
                if timeout_at(until, self.applied(revision)).await.is_err() {
                    debug!(revision, "the node is out of sync");
                    return Err(OutOfSync::Behind);
                }
                info!("the node had lost its connection to the control plane and has caught up");
                self.staleness.caught_up(check);
            }
            Ok(Err(error)) if !error.retryable() => {
                // It answers, and does not take this node: what is remembered is all there is.
                debug!(%error, "the control plane refuses to tell its revision");
                self.staleness.unanswered(check);
            }
            unavailable => {
                let error = unavailable.err().map(|_| "no answer in time");
                debug!(error, "the control plane is unavailable");
                self.staleness.unanswered(check);
            }
        }
        Ok(())
    }

    /// Waits until a revision is applied. If it takes long, the watch may be dead although it is open: it is opened anew.
    async fn applied(&self, revision: i64) {
        let mut applied = self.policy.applied_revision();
        let open_anew = async {
            sleep(PATIENCE).await;
            self.staleness.reopen();
            std::future::pending::<()>().await;
        };
        tokio::select! {
            // The sender lives as long as `self`: this cannot fail.
            _ = applied.wait_for(|applied| *applied >= revision) => {}
            () = open_anew => {}
        }
    }
}
