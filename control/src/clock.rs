//! The time, handed in wherever a rule depends on it, so that tests can say what it is.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::{SystemTime, UNIX_EPOCH},
};

/// The source of the present time: milliseconds since 1970, UTC.
#[derive(Clone, Debug, Default)]
pub struct Clock(Option<Arc<AtomicI64>>);

impl Clock {
    /// The machine's clock.
    pub fn system() -> Self {
        Self(None)
    }

    /// A clock that stands at `now_ms` until it is advanced. For tests.
    pub fn standing_at(now_ms: i64) -> Self {
        Self(Some(Arc::new(AtomicI64::new(now_ms))))
    }

    /// Moves a standing clock, and all its clones; the machine's clock goes by itself.
    pub fn advance(&self, by: std::time::Duration) {
        if let Some(now) = &self.0 {
            now.fetch_add(millis(by), Ordering::SeqCst);
        }
    }

    /// The present time.
    pub fn now_ms(&self) -> i64 {
        match &self.0 {
            Some(now) => now.load(Ordering::SeqCst),
            // A clock before 1970 counts as 1970: nothing is valid then anyway.
            None => SystemTime::now().duration_since(UNIX_EPOCH).map(millis).unwrap_or_default(),
        }
    }
}

/// A duration in milliseconds; one too long to count is the longest that can be.
pub(crate) fn millis(duration: std::time::Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
