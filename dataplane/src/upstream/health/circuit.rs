//! Leaving an upstream alone that has failed repeatedly: requests fail at once instead of waiting for their time-outs,
//! but for one probe now and then.

use std::time::Duration;

use tokio::time::Instant;

/// How many requests in a row must fail.
const FAILURES: u32 = 5;
/// How long it is left alone at first; each failed probe doubles it.
const FIRST_REST: Duration = Duration::from_secs(2);
/// The longest rest.
const MAX_REST: Duration = Duration::from_secs(30);

/// The circuit to one upstream with one set of credentials. Pure: the caller tells the time.
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

/// Whether a request may go out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Passage {
    /// It may.
    Free,
    /// It may, alone: whether others follow depends on it.
    Probe,
    /// It may not, for this kind of failure; worth another try after so long.
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
            // Others that were under way say nothing new.
            Some(open) if !open.is_probing => return,
            Some(open) => (open.rest * 2).min(MAX_REST),
            None if self.failures < FAILURES => return,
            None => FIRST_REST,
        };
        self.open = Some(Open { until: now + rest, rest, is_probing: false, last_error: kind });
    }

    /// The probe was given up without an answer: the next request may be one.
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
mod tests {
    use super::*;

    fn opened(now: Instant) -> Circuit {
        let mut circuit = Circuit::default();
        for _ in 0..FAILURES {
            assert_eq!(circuit.pass(now), Passage::Free);
            circuit.failed("connect", now);
        }
        circuit
    }

    #[test]
    fn it_opens_after_failures_in_a_row_only() {
        let now = Instant::now();
        let mut circuit = Circuit::default();
        for _ in 0..3 {
            for _ in 1..FAILURES {
                circuit.failed("connect", now);
            }
            assert_eq!(circuit.pass(now), Passage::Free);
            circuit.succeeded();
        }
        assert_eq!(opened(now).pass(now), Passage::Shut("connect", FIRST_REST));
    }

    #[test]
    fn one_probe_at_a_time_decides() {
        let now = Instant::now();
        let mut circuit = opened(now);
        let later = now + FIRST_REST;
        assert_eq!(circuit.pass(later), Passage::Probe);
        assert_eq!(circuit.pass(later), Passage::Shut("connect", Duration::ZERO), "one alone");
        circuit.probe_abandoned();
        assert_eq!(circuit.pass(later), Passage::Probe);
        circuit.failed("timeout", later);
        assert_eq!(circuit.pass(later), Passage::Shut("timeout", FIRST_REST * 2));
        assert_eq!(circuit.pass(later + FIRST_REST * 2), Passage::Probe);
        circuit.succeeded();
        assert_eq!((circuit.pass(later), circuit.is_open()), (Passage::Free, false));
    }

    #[test]
    fn rests_are_bounded_and_stragglers_do_not_lengthen_them() {
        let mut now = Instant::now();
        let mut circuit = opened(now);
        circuit.failed("connect", now);
        assert_eq!(circuit.pass(now), Passage::Shut("connect", FIRST_REST));
        for _ in 0..20 {
            now += MAX_REST;
            assert_eq!(circuit.pass(now), Passage::Probe);
            circuit.failed("connect", now);
        }
        assert_eq!(circuit.pass(now), Passage::Shut("connect", MAX_REST));
    }
}
