//! Pauses between attempts: each twice as long as the one before, up to a limit, and shortened by chance, so that nodes which
//! lost the same service do not come back all at once.

use std::time::Duration;

use crate::random;

/// The pauses of one row of attempts.
#[derive(Clone, Debug)]
pub(crate) struct Backoff {
    first: Duration,
    longest: Duration,
    next: Duration,
}

impl Backoff {
    /// Begins with a pause of `first`; no pause is longer than `longest`.
    pub(crate) const fn new(first: Duration, longest: Duration) -> Self {
        Self { first, longest, next: first }
    }

    /// Returns the next pause: between half of its length and all of it.
    pub(crate) fn pause(&mut self) -> Duration {
        let length = self.next;
        self.next = (length * 2).min(self.longest);
        let share = f64::from(random::number()) / f64::from(u32::MAX);
        length.mul_f64(0.5 + share / 2.0)
    }

    /// Begins again: an attempt got somewhere.
    pub(crate) const fn reset(&mut self) {
        self.next = self.first;
    }
}

#[cfg(test)]
mod tests;
