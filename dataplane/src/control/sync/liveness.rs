//! When the control plane was last heard, and what time it is for what only it could say.

use std::{
    sync::atomic::{AtomicBool, AtomicI64, Ordering},
    time::{Duration, SystemTime},
};

use tokio::time::Instant;

/// How long the watch must have been silent before the control plane counts as away. It says something every 2.5 s.
const AWAY_AFTER: Duration = Duration::from_secs(10);

/// The last word of the watch, and whether calls fail.
pub(crate) struct Contact {
    started: Instant,
    /// Milliseconds from `started` to the last word; less than 0 if that was before.
    heard_ms: AtomicI64,
    /// The same for the last call that was answered; long before if none was.
    answered_ms: AtomicI64,
    /// The last call was not answered.
    troubled: AtomicBool,
}

impl Contact {
    pub(crate) fn new() -> Self {
        Self {
            started: Instant::now(),
            heard_ms: AtomicI64::new(0),
            answered_ms: AtomicI64::new(i64::MIN),
            troubled: AtomicBool::new(false),
        }
    }

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

    /// What is known was heard at `then`, by an earlier process; a time to come is the clock's mistake and counts as now.
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

    /// Whether the last call was not answered: the next need not be waited for as long where there is a way without.
    pub(crate) fn is_troubled(&self) -> bool {
        self.troubled.load(Ordering::Relaxed)
    }

    /// Time since the watch's last word.
    pub(crate) fn silent_for(&self) -> Duration {
        self.since(&self.heard_ms)
    }

    /// Tells words apart: differs from word to word, but for those within a millisecond.
    pub(crate) fn last_word(&self) -> u64 {
        self.heard_ms.load(Ordering::Relaxed).cast_unsigned()
    }

    /// For how long the watch has been silent although calls are answered: this node lags.
    pub(crate) fn lag(&self) -> Option<Duration> {
        let silent = self.silent_for();
        (silent > AWAY_AFTER && self.since(&self.answered_ms) < AWAY_AFTER).then_some(silent)
    }

    /// The time by which it is judged whether what the control plane issued has expired: now, and while it is away the time of
    /// its last word, since nobody could have it issued anew.
    pub(crate) fn judged_at(&self) -> SystemTime {
        let (now, silent) = (SystemTime::now(), self.silent_for());
        if silent > AWAY_AFTER { now.checked_sub(silent).unwrap_or(now) } else { now }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn time_stands_still_for_tokens_while_the_control_plane_is_away_and_only_then() {
        let contact = Contact::new();
        let behind =
            |contact: &Contact| SystemTime::now().duration_since(contact.judged_at()).unwrap_or_default().as_secs();
        contact.heard();
        tokio::time::advance(Duration::from_secs(9)).await;
        assert_eq!(behind(&contact), 0);
        tokio::time::advance(Duration::from_secs(291)).await;
        assert!((299..=300).contains(&behind(&contact)));
        assert_eq!(contact.lag(), None, "nothing is heard at all");
        contact.answered();
        assert_eq!(contact.lag(), Some(Duration::from_secs(300)));
        contact.heard();
        assert_eq!((behind(&contact), contact.lag()), (0, None));
    }

    #[tokio::test(start_paused = true)]
    async fn what_an_earlier_process_heard_counts_from_then() {
        let contact = Contact::new();
        contact.heard_before(SystemTime::now() - Duration::from_secs(600));
        assert_eq!(
            (contact.silent_for().as_secs(), contact.lag()),
            (600, None),
            "nothing answers yet: no lag, an outage"
        );
        contact.heard_before(SystemTime::now() + Duration::from_secs(60));
        assert_eq!(contact.silent_for().as_secs(), 0, "the clock was set back");
    }
}
