//! Doubt about what is remembered: a node that was out of touch (paused, cut off) may have missed a purge, and finds out
//! before it serves anything by memory.
//!
//! A purge waits three seconds for nodes; one that it gave up on has heard nothing for as long. So whoever has heard nothing
//! for [`QUIET`] asks which revision there is, and goes on when that is applied. If nobody answers, this is an outage of the
//! control plane: what is remembered holds, until the control plane answers anything again. If somebody answers and what
//! there is does not come, the node is behind and serves nothing by memory.

use std::{
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    time::Duration,
};

use roadstead_proto::node::v1 as pb;
use tokio::{
    sync::{Mutex, Notify},
    time::{Instant, sleep, timeout_at},
};
use tracing::{debug, info};

use crate::control::{ControlClient, ControlError};

/// Silence of the watch after which there is doubt. No longer than purges wait for nodes; the watch says something every 2.5
/// seconds.
pub(crate) const QUIET: Duration = Duration::from_secs(3);
/// How long a pull waits for the doubt to be settled.
const SETTLE_TIME: Duration = Duration::from_secs(2);

/// How long what is missing may take to come before the watch is opened anew.
const PATIENCE: Duration = Duration::from_millis(300);

/// No word of the control plane is ever this late.
const NO_OUTAGE: u64 = u64::MAX;

/// This node knows that it has missed something, and not what.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this node was out of touch with its control plane and has not caught up yet; try again")]
pub struct Behind;

/// Whether what is remembered can be relied on.
#[derive(Debug)]
pub(crate) struct Doubt {
    /// There was a silence, and what was missed is not known yet.
    raised: AtomicBool,
    /// The last word before a silence in which nobody answered; [`NO_OUTAGE`] if there was none.
    outage_since: AtomicU64,
    /// Until when nothing was missed although the watch is silent, in milliseconds after `started`.
    settled_ms: AtomicU64,
    started: Instant,
    /// Whose turn it is to ask.
    turn: Mutex<()>,
    /// The control plane answers: whoever waits to open the watch again, or listens to one that tells nothing, need not.
    reopen: Notify,
}

impl Default for Doubt {
    fn default() -> Self {
        Self {
            raised: AtomicBool::new(false),
            outage_since: AtomicU64::new(NO_OUTAGE),
            settled_ms: AtomicU64::new(0),
            started: Instant::now(),
            turn: Mutex::default(),
            reopen: Notify::new(),
        }
    }
}

impl Doubt {
    /// The control plane is heard again after a silence, or what is remembered is of an earlier process.
    pub(crate) fn raise(&self) {
        self.raised.store(true, Ordering::SeqCst);
    }

    /// A call was answered: an outage is over, and what was missed in it is not known yet.
    pub(crate) fn answered(&self) {
        if self.outage_since.swap(NO_OUTAGE, Ordering::SeqCst) != NO_OUTAGE {
            self.raise();
            self.reopen.notify_waiters();
        }
    }

    /// Waits until the watch should be opened anew.
    pub(crate) async fn reopened(&self) {
        self.reopen.notified().await;
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn settled_ago(&self) -> Duration {
        Duration::from_millis(self.now_ms().saturating_sub(self.settled_ms.load(Ordering::SeqCst)))
    }
}

impl ControlClient {
    /// Whether this node may have missed something that was to void what it remembers.
    pub fn is_in_doubt(&self) -> bool {
        if self.doubt.raised.load(Ordering::SeqCst) {
            return true;
        }
        self.last_contact() > QUIET
            && self.doubt.settled_ago() > QUIET
            && self.doubt.outage_since.load(Ordering::SeqCst) != self.last_word()
    }

    /// Whether nobody answered since the last word: what is remembered holds.
    #[cfg(test)]
    pub(crate) fn knows_of_outage(&self) -> bool {
        self.doubt.outage_since.load(Ordering::SeqCst) == self.last_word()
    }

    /// Ends the doubt, if there is any: returns when all that the control plane had told by now is applied, or when it is
    /// known to be out of reach.
    pub async fn settle(&self) -> Result<(), Behind> {
        if !self.is_in_doubt() {
            return Ok(());
        }
        let _turn = self.doubt.turn.lock().await;
        if !self.is_in_doubt() {
            return Ok(());
        }
        let (last_word, asked_ms) = (self.last_word(), self.doubt.now_ms());
        let until = Instant::now() + SETTLE_TIME;
        match timeout_at(until, self.current_revision()).await {
            Ok(Ok(revision)) => {
                let mut applied = self.applied_revision();
                if *applied.borrow() < revision {
                    // A watch that is open may be dead: what it is to tell has long been there.
                    let open_anew = async {
                        sleep(PATIENCE).await;
                        self.doubt.reopen.notify_waiters();
                        std::future::pending::<()>().await;
                    };
                    let caught_up = async {
                        // The sender lives as long as `self`: this cannot fail.
                        let _ = applied.wait_for(|applied| *applied >= revision).await;
                    };
                    let caught_up = async {
                        tokio::select! { () = caught_up => {}, () = open_anew => {} }
                    };
                    if timeout_at(until, caught_up).await.is_err() {
                        debug!("the node knows that it is behind");
                        return Err(Behind);
                    }
                }
                info!("the node was out of touch and has caught up");
                self.doubt.settled_ms.store(asked_ms, Ordering::SeqCst);
            }
            Ok(Err(error)) if !error.retryable() => {
                // It answers, and will have nothing to do with this node: what is remembered is all there is.
                debug!(%error, "the control plane refuses to say what there is");
                self.doubt.outage_since.store(last_word, Ordering::SeqCst);
            }
            out_of_reach => {
                let error = out_of_reach.err().map(|_| "no answer in time");
                debug!(error, "the control plane is out of reach");
                // An outage ends with the next word, or answer, which raises doubt again.
                self.doubt.outage_since.store(last_word, Ordering::SeqCst);
            }
        }
        self.doubt.raised.store(false, Ordering::SeqCst);
        Ok(())
    }

    /// The revision that there is.
    async fn current_revision(&self) -> Result<i64, ControlError> {
        let request = self.request(pb::GetRevisionRequest {});
        let answer = self.call("GetRevision", self.service.clone().get_revision(request)).await?;
        Ok(answer.revision)
    }
}
