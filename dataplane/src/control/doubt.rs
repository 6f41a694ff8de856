//! Doubt about what is remembered: a node that was out of touch (paused, cut off) may have missed a purge, and finds out
//! before it serves anything by memory.
//!
//! A purge waits three seconds for nodes; one that it gave up on has heard nothing for as long. So whoever has heard nothing
//! for [`QUIET`] asks which revision there is, and goes on when that is applied. If nobody answers, this is an outage of the
//! control plane: what is remembered holds, until the control plane is heard again.

use std::{
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    time::Duration,
};

use roadstead_proto::node::v1 as pb;
use tokio::{sync::Mutex, time::timeout};
use tracing::{debug, info};

use super::{ControlClient, ControlError};

/// Silence of the watch after which there is doubt. No longer than purges wait for nodes; the watch says something every 2.5
/// seconds.
pub(super) const QUIET: Duration = Duration::from_secs(3);
/// How long a pull waits for the doubt to be settled.
const SETTLE_TIME: Duration = Duration::from_secs(2);

/// No word of the control plane is ever this late.
const NO_OUTAGE: u64 = u64::MAX;

/// Whether what is remembered can be relied on.
#[derive(Debug)]
pub(super) struct Doubt {
    /// There was a silence, and what was missed is not known yet.
    raised: AtomicBool,
    /// The last word before a silence in which nobody answered; [`NO_OUTAGE`] if there was none.
    outage_since: AtomicU64,
    /// Whose turn it is to ask.
    turn: Mutex<()>,
}

impl Default for Doubt {
    fn default() -> Self {
        Self { raised: AtomicBool::new(false), outage_since: AtomicU64::new(NO_OUTAGE), turn: Mutex::default() }
    }
}

impl Doubt {
    /// The control plane is heard again after a silence.
    pub(super) fn raise(&self) {
        self.raised.store(true, Ordering::SeqCst);
    }
}

impl ControlClient {
    /// Whether this node may have missed something that was to void what it remembers.
    pub fn is_in_doubt(&self) -> bool {
        if self.doubt.raised.load(Ordering::SeqCst) {
            return true;
        }
        self.last_contact() > QUIET && self.doubt.outage_since.load(Ordering::SeqCst) != self.last_word()
    }

    /// Ends the doubt, if there is any: returns when all that the control plane had told by now is applied, or when it is
    /// known to be out of reach.
    pub async fn settle(&self) {
        if !self.is_in_doubt() {
            return;
        }
        let _turn = self.doubt.turn.lock().await;
        if !self.is_in_doubt() {
            return;
        }
        let last_word = self.last_word();
        match timeout(SETTLE_TIME, self.catch_up()).await {
            Ok(Ok(())) => info!("the node was out of touch and has caught up"),
            Ok(Err(error)) => debug!(%error, "the control plane is out of reach"),
            Err(_) => debug!("the control plane is out of reach"),
        }
        // An outage ends with the next word, which raises doubt again.
        self.doubt.outage_since.store(last_word, Ordering::SeqCst);
        self.doubt.raised.store(false, Ordering::SeqCst);
    }

    /// Waits until this node has applied what there is.
    async fn catch_up(&self) -> Result<(), ControlError> {
        let request = self.request(pb::GetRevisionRequest {});
        let pb::GetRevisionResponse { revision } =
            self.call("GetRevision", self.service.clone().get_revision(request)).await?;
        let mut applied = self.applied_revision();
        // The sender lives as long as `self`: this cannot fail.
        let _ = applied.wait_for(|applied| *applied >= revision).await;
        Ok(())
    }
}
