//! When the control plane was last heard, and by which time expiry is judged while it is unavailable.

pub(crate) mod metric;

use std::{
    sync::atomic::{AtomicBool, AtomicI64, Ordering},
    time::{Duration, SystemTime},
};

use tokio::time::Instant;

/// Silence of the watch after which the control plane counts as unavailable. It says something every 2.5 s.
const AWAY_AFTER: Duration = Duration::from_secs(10);

/// The last word of the watch, and whether calls fail.
pub struct ControlLiveness {
    started: Instant,
    /// Milliseconds from `started` to the last word; less than 0 if that was before.
    heard_ms: AtomicI64,
    /// Likewise for the last call that was answered; long before if none was.
    answered_ms: AtomicI64,
    /// The last call was not answered.
    troubled: AtomicBool,
}

impl Default for ControlLiveness {
    fn default() -> Self {
        Self {
            started: Instant::now(),
            heard_ms: AtomicI64::new(0),
            answered_ms: AtomicI64::new(i64::MIN),
            troubled: AtomicBool::new(false),
        }
    }
}

impl ControlLiveness {
    fn now_ms(&self) -> i64 {
        i64::try_from(self.started.elapsed().as_millis()).unwrap_or(i64::MAX)
    }

    fn since(&self, then: &AtomicI64) -> Duration {
        let passed = self.now_ms().saturating_sub(then.load(Ordering::Relaxed));
        Duration::from_millis(u64::try_from(passed).unwrap_or_default())
    }

    /// The watch has said something.
    pub(crate) fn heard(&self) {
        self.heard_ms.store(self.now_ms(), Ordering::Relaxed);
        self.answered();
    }

    /// The saved state dates from `then`, from an earlier process; a time in the future is a clock error and counts as now.
    pub(crate) fn heard_before(&self, then: SystemTime) {
        let ago = SystemTime::now().duration_since(then).unwrap_or_default();
        let ago_ms = i64::try_from(ago.as_millis()).unwrap_or(i64::MAX);
        self.heard_ms.store(self.now_ms().saturating_sub(ago_ms), Ordering::Relaxed);
    }

    /// A call was answered.
    pub(crate) fn answered(&self) {
        self.answered_ms.store(self.now_ms(), Ordering::Relaxed);
        self.troubled.store(false, Ordering::Relaxed);
    }

    /// A call was not answered.
    pub(crate) fn unanswered(&self) {
        self.troubled.store(true, Ordering::Relaxed);
    }

    /// True if the last call failed: the next one need not be waited for as long if there is a way without it.
    pub(crate) fn is_troubled(&self) -> bool {
        self.troubled.load(Ordering::Relaxed)
    }

    /// Returns the time since the watch's last word, or since the start before the first.
    pub fn silent_for(&self) -> Duration {
        self.since(&self.heard_ms)
    }

    /// Tells words apart: differs from word to word, but for those within a millisecond.
    pub(crate) fn last_word(&self) -> u64 {
        self.heard_ms.load(Ordering::Relaxed).cast_unsigned()
    }

    /// Returns how long the watch has been silent although calls are answered: by so much this node is behind.
    pub fn lag(&self) -> Option<Duration> {
        let silent = self.silent_for();
        (silent > AWAY_AFTER && self.since(&self.answered_ms) < AWAY_AFTER).then_some(silent)
    }

    /// Returns the time by which the expiry of what the control plane issued is judged: now, and while the control plane is
    /// unavailable the time of its last word, since nothing can be issued anew.
    pub fn judged_at(&self) -> SystemTime {
        let (now, silent) = (SystemTime::now(), self.silent_for());
        if silent > AWAY_AFTER { now.checked_sub(silent).unwrap_or(now) } else { now }
    }
}

#[cfg(test)]
mod tests;
