//! Circuit breakers: after repeated failures requests fail at once instead of waiting for their time-outs, except for one
//! probe at growing intervals.

use std::time::Duration;

use tokio::time::Instant;

/// Failed requests in a row after which a circuit opens.
pub(crate) const FAILURES: u32 = 5;
/// The time that requests are suspended at first; each failed probe doubles it.
const FIRST_REST: Duration = Duration::from_secs(2);
/// Longest suspension.
const MAX_REST: Duration = Duration::from_secs(30);

/// The circuit to an upstream with one set of credentials, or to one content there. Pure: the caller passes the time.
#[derive(Debug, Default)]
pub(crate) struct Circuit {
    failures: u32,
    open: Option<Open>,
}

#[derive(Debug)]
struct Open {
    until: Instant,
    rest: Duration,
    is_probing: bool,
    last_error: &'static str,
}

/// Tells whether a request may be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Passage {
    /// The circuit is closed: it may.
    Free,
    /// It may, as the only one: its outcome decides whether others follow.
    Probe,
    /// It may not, because of this kind of failure; the next probe is due after the duration.
    Shut(&'static str, Duration),
}

impl Circuit {
    pub(crate) fn pass(&mut self, now: Instant) -> Passage {
        match &mut self.open {
            None => Passage::Free,
            Some(open) if open.until <= now && !open.is_probing => {
                open.is_probing = true;
                Passage::Probe
            }
            Some(open) => Passage::Shut(open.last_error, open.until.saturating_duration_since(now)),
        }
    }

    pub(crate) fn succeeded(&mut self) {
        *self = Self::default();
    }

    pub(crate) fn failed(&mut self, kind: &'static str, now: Instant) {
        self.failures = self.failures.saturating_add(1);
        let rest = match &self.open {
            // Requests that were sent before it opened prove nothing new.
            Some(open) if !open.is_probing => return,
            Some(open) => (open.rest * 2).min(MAX_REST),
            None if self.failures < FAILURES => return,
            None => FIRST_REST,
        };
        self.open = Some(Open { until: now + rest, rest, is_probing: false, last_error: kind });
    }

    /// Opens at once: a probe has just found the upstream failing.
    pub(crate) fn trip(&mut self, kind: &'static str, now: Instant) {
        self.failures = self.failures.max(FAILURES - 1);
        self.failed(kind, now);
    }

    /// The probe ended without an outcome: the next request may be one.
    pub(crate) fn probe_abandoned(&mut self) {
        if let Some(open) = &mut self.open {
            open.is_probing = false;
        }
    }

    pub(crate) const fn is_open(&self) -> bool {
        self.open.is_some()
    }
}

#[cfg(test)]
mod tests;
