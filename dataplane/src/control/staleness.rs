//! The staleness of this node's remembered state.
//!
//! A purge waits three seconds for nodes; a node that it gave up on has heard nothing for as long. So a node that has heard
//! nothing for [`QUIET`] may have missed something. If nobody answers it, this is an outage of the control plane: what is
//! remembered holds until the control plane answers any call again.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{sync::Notify, time::Instant};

use super::liveness::ControlLiveness;

/// Silence of the watch after which what is remembered may be stale. No longer than purges wait for nodes; the watch says
/// something every 2.5 seconds.
pub(crate) const QUIET: Duration = Duration::from_secs(3);

/// No word of the control plane is ever this late.
const NO_OUTAGE: u64 = u64::MAX;

/// The reliability of the remembered state. Changes with each word of the control plane, and with each silence.
pub(crate) struct Staleness {
    liveness: Arc<ControlLiveness>,
    /// There was a silence, and what was missed in it is not known yet.
    suspected: AtomicBool,
    /// The last word before a silence in which nobody answered; [`NO_OUTAGE`] without one.
    outage_since: AtomicU64,
    /// Until when nothing was missed although the watch is silent, in milliseconds after `started`.
    checked_ms: AtomicU64,
    started: Instant,
    /// The control plane answers: whoever waits to open the watch again, or listens to one that tells nothing, need not.
    reopen: Notify,
}

impl Staleness {
    pub(crate) fn new(liveness: Arc<ControlLiveness>) -> Self {
        Self {
            liveness,
            suspected: AtomicBool::new(false),
            outage_since: AtomicU64::new(NO_OUTAGE),
            checked_ms: AtomicU64::new(0),
            started: Instant::now(),
            reopen: Notify::new(),
        }
    }

    /// True if this node may have missed a change that voids what it remembers.
    pub(crate) fn is_suspected(&self) -> bool {
        if self.suspected.load(Ordering::SeqCst) {
            return true;
        }
        let checked_ago = Duration::from_millis(self.now_ms().saturating_sub(self.checked_ms.load(Ordering::SeqCst)));
        self.liveness.silent_for() > QUIET && checked_ago > QUIET && !self.is_outage()
    }

    /// True if nobody has answered since the last word: the remembered state is used.
    pub(crate) fn is_outage(&self) -> bool {
        self.outage_since.load(Ordering::SeqCst) == self.liveness.last_word()
    }

    /// Records a word of the watch. After a silence it says nothing about what else is on its way.
    pub(crate) fn heard(&self) {
        if self.liveness.silent_for() > QUIET {
            self.suspect();
        }
        self.liveness.heard();
    }

    /// Records that what is remembered may be stale: it is of an earlier process, or there was a silence.
    pub(crate) fn suspect(&self) {
        self.suspected.store(true, Ordering::SeqCst);
    }

    /// Records that a call was answered: an outage is over, and what was missed in it is not known yet.
    pub(crate) fn answered(&self) {
        self.liveness.answered();
        if self.outage_since.swap(NO_OUTAGE, Ordering::SeqCst) != NO_OUTAGE {
            self.suspect();
            self.reopen.notify_waiters();
        }
    }

    /// Begins a check; what it finds out holds as of now.
    pub(crate) fn begin_check(&self) -> Check {
        Check { last_word: self.liveness.last_word(), asked_ms: self.now_ms() }
    }

    /// Records that all there was when `check` began is applied.
    pub(crate) fn caught_up(&self, check: Check) {
        self.checked_ms.store(check.asked_ms, Ordering::SeqCst);
        self.suspected.store(false, Ordering::SeqCst);
    }

    /// Records that nobody answered. The outage ends with the next word or answer, after which a check is due again.
    pub(crate) fn unanswered(&self, check: Check) {
        self.outage_since.store(check.last_word, Ordering::SeqCst);
        self.suspected.store(false, Ordering::SeqCst);
    }

    /// Opens the watch anew.
    pub(crate) fn reopen(&self) {
        self.reopen.notify_waiters();
    }

    /// Waits until the watch should be opened anew.
    pub(crate) async fn reopened(&self) {
        self.reopen.notified().await;
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

/// A check of what there is, under way.
#[derive(Clone, Copy)]
pub(crate) struct Check {
    last_word: u64,
    asked_ms: u64,
}
