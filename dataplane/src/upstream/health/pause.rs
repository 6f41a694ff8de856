//! Pauses after 429: as long as the upstream asked for, or growing from seconds where it did not say.

use std::{
    collections::HashMap,
    time::{Duration, SystemTime},
};

use crate::upstream::metrics::RequestKind;

/// First pause after a 429 that does not say how long to wait.
const FIRST_PAUSE: Duration = Duration::from_secs(2);
/// Longest pause after a 429 that does not say how long to wait.
const MAX_PAUSE: Duration = Duration::from_secs(5 * 60);

/// The pauses, by kind of request: that one kind succeeds says nothing of the limit of another.
#[derive(Debug, Default)]
pub(crate) struct Pauses(HashMap<RequestKind, Pause>);

impl Pauses {
    /// The pause of one kind of requests.
    pub(crate) fn of(&mut self, kind: RequestKind) -> &mut Pause {
        self.0.entry(kind).or_default()
    }
}

/// The pause of one kind of requests. Pure: the caller passes the time.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Pause {
    until: Option<SystemTime>,
    /// The last pause that was not asked for; none since the last success.
    grown: Option<Duration>,
}

impl Pause {
    /// Begins, or extends, the pause after a 429; returns how long it lasts from `now`.
    pub(crate) fn limited(&mut self, asked: Option<Duration>, now: SystemTime) -> Duration {
        let is_paused = self.until.is_some_and(|until| until > now);
        let wait = asked.unwrap_or_else(|| match self.grown {
            // Requests that were sent before the pause began say nothing new.
            Some(grown) if is_paused => grown,
            Some(grown) => (grown * 2).min(MAX_PAUSE),
            None => FIRST_PAUSE,
        });
        if asked.is_none() {
            self.grown = Some(wait);
        }
        self.until = self.until.max(Some(now + wait));
        wait
    }

    /// A request succeeded: the next pause starts small again.
    pub(crate) const fn succeeded(&mut self) {
        self.grown = None;
    }

    /// The end of the pause.
    pub(crate) const fn until(&self) -> Option<SystemTime> {
        self.until
    }
}

#[cfg(test)]
mod tests;
