//! The time, handed in wherever a rule depends on it, so that tests can say what it is.
//!
//! Replicas that share a database go by that server's clock, so that leases, expiries and pauses mean the same to all of
//! them, whatever the clocks of their machines say.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicI64, Ordering},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

/// The source of the present time: milliseconds since 1970, UTC. Clones share it.
#[derive(Clone, Debug)]
pub struct Clock(Source);

#[derive(Clone, Debug)]
enum Source {
    /// The machine's clock, or another that is followed.
    Running(Arc<Mutex<Option<Followed>>>),
    /// A clock that stands, for tests.
    Standing(Arc<AtomicI64>),
}

/// Another clock, as it was read last.
#[derive(Clone, Copy, Debug)]
struct Followed {
    read_at: Instant,
    ms: i64,
}

impl Followed {
    fn at(&self, now: Instant) -> i64 {
        self.ms.saturating_add(millis(now.saturating_duration_since(self.read_at)))
    }
}

impl Clock {
    /// The machine's clock.
    pub fn system() -> Self {
        Self(Source::Running(Arc::default()))
    }

    /// A clock that stands at `now_ms` until it is advanced. For tests.
    pub fn standing_at(now_ms: i64) -> Self {
        Self(Source::Standing(Arc::new(AtomicI64::new(now_ms))))
    }

    /// Moves a standing clock, and all its clones; a running clock goes by itself.
    pub fn advance(&self, by: Duration) {
        if let Source::Standing(now) = &self.0 {
            now.fetch_add(millis(by), Ordering::SeqCst);
        }
    }

    /// Goes by another clock from now on, which read `ms` at some moment between `asked` and `answered`. Readings that
    /// agree with the last as far as can be told change nothing, so that the time does not jump back and forth.
    pub(crate) fn follow(&self, ms: i64, asked: Instant, answered: Instant) {
        let Source::Running(followed) = &self.0 else { return };
        let half = answered.saturating_duration_since(asked) / 2;
        let read = Followed { read_at: asked + half, ms };
        let mut followed = followed.lock().unwrap_or_else(PoisonError::into_inner);
        let agrees = |known: &mut Followed| known.at(read.read_at).abs_diff(ms) <= millis(half).unsigned_abs() + 1;
        if !followed.as_mut().is_some_and(agrees) {
            *followed = Some(read);
        }
    }

    /// The present time.
    pub fn now_ms(&self) -> i64 {
        match &self.0 {
            Source::Standing(now) => now.load(Ordering::SeqCst),
            Source::Running(followed) => match *followed.lock().unwrap_or_else(PoisonError::into_inner) {
                Some(followed) => followed.at(Instant::now()),
                // A clock before 1970 counts as 1970: nothing is valid then anyway.
                None => SystemTime::now().duration_since(UNIX_EPOCH).map(millis).unwrap_or_default(),
            },
        }
    }
}

/// A duration in milliseconds; one too long to count is the longest that can be.
pub(crate) fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
