//! Which requests are suspended after failures: all of an upstream, or those for single contents: a manifest, a blob, a list.

use std::collections::HashMap;

use tokio::time::Instant;

use super::circuit::{Circuit, FAILURES, Passage};
use crate::upstream::error::{CONNECT_PHASE, TIMEOUT, UpstreamError};

/// Most failing contents that are remembered for an account.
const MAX_CONTENTS: usize = 1000;
/// The beginning of the names of contents that are asked for by HEAD. A HEAD may fail where a GET works: their failures are
/// counted apart, and neither suspends the other.
pub(crate) const BY_HEAD: &str = "HEAD ";

/// The subject of a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    /// The host's: no request can succeed.
    Host(&'static str),
    /// That of the content asked for, as far as one request can tell.
    Content(&'static str),
}

impl Trouble {
    /// The trouble that an error means; `None` for refusals and other answers.
    pub(super) fn of(error: &UpstreamError) -> Option<Self> {
        match error {
            UpstreamError::Connect { .. } | UpstreamError::Tls { .. } => Some(Self::Host(error.kind())),
            UpstreamError::Timeout { phase, .. } if *phase == CONNECT_PHASE => Some(Self::Host(error.kind())),
            _ if error.retryable() => Some(Self::Content(error.kind())),
            _ => None,
        }
    }

    /// Does the same where the failure was at a token service, which may be another host.
    pub(super) const fn of_content(self) -> Self {
        Self::Content(self.kind())
    }

    /// The kind of the failure.
    pub(super) const fn kind(self) -> &'static str {
        let (Self::Host(kind) | Self::Content(kind)) = self;
        kind
    }
}

/// The circuits of one account. Pure: the caller passes the time.
#[derive(Debug, Default)]
pub(super) struct Suspension {
    host: Circuit,
    /// Of contents whose last request failed.
    contents: HashMap<String, Circuit>,
    /// Failures of content since the host was last seen working.
    unexplained: u32,
    is_checking: bool,
}

impl Suspension {
    /// Returns whether requests may be sent to the host at all. A probe must not ask for content: it may be what fails.
    pub(super) fn pass_host(&mut self, now: Instant) -> Passage {
        self.host.pass(now)
    }

    /// Returns whether requests for a content may be sent.
    pub(super) fn pass(&mut self, content: &str, now: Instant) -> Passage {
        self.contents.get_mut(content).map_or(Passage::Free, |circuit| circuit.pass(now))
    }

    /// A request failed. True if the host should be checked, by a request that is not for content.
    pub(super) fn failed(&mut self, trouble: Trouble, content: Option<&str>, now: Instant) -> bool {
        let (kind, content) = match (trouble, content) {
            (Trouble::Content(kind), Some(content)) => (kind, content),
            (Trouble::Host(kind), _) => {
                self.host.failed(kind, now);
                return false;
            }
            // A check failed: that is how the host is doing.
            (Trouble::Content(kind), None) => {
                self.is_checking = false;
                self.host.trip(kind, now);
                return false;
            }
        };
        if self.contents.len() >= MAX_CONTENTS && !self.contents.contains_key(content) {
            self.contents.retain(|_, circuit| circuit.is_open());
        }
        if self.contents.len() < MAX_CONTENTS || self.contents.contains_key(content) {
            self.contents.entry(content.to_owned()).or_default().failed(kind, now);
        }
        // A GET follows at once, unless the HEAD took too long: of the two, the GET counts.
        if !content.starts_with(BY_HEAD) || kind == TIMEOUT {
            self.unexplained += 1;
        }
        let is_due = self.unexplained >= FAILURES && !self.is_checking && !self.host.is_open();
        self.is_checking |= is_due;
        is_due
    }

    /// The host answered; with the content, where some was asked for.
    pub(super) fn succeeded(&mut self, content: Option<&str>) {
        self.host.succeeded();
        (self.unexplained, self.is_checking) = (0, false);
        if let Some(content) = content {
            self.contents.remove(content);
        }
    }

    /// A check ended without an outcome.
    pub(super) fn check_abandoned(&mut self) {
        self.is_checking = false;
        self.host.probe_abandoned();
    }

    /// A probe of a content ended without an outcome.
    pub(super) fn probe_abandoned(&mut self, content: &str) {
        if let Some(circuit) = self.contents.get_mut(content) {
            circuit.probe_abandoned();
        }
    }

    pub(super) const fn is_host_suspended(&self) -> bool {
        self.host.is_open()
    }

    /// Returns the number of open circuits.
    pub(super) fn open(&self) -> i64 {
        let contents = self.contents.values().filter(|circuit| circuit.is_open()).count();
        i64::try_from(contents).unwrap_or(i64::MAX) + i64::from(self.host.is_open())
    }
}

#[cfg(test)]
mod tests;
