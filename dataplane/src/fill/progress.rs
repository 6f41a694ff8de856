//! The progress of a fill, as its followers see it.

use std::sync::Arc;

use super::FillError;

/// Longest blob whose answer waits for the digest, in bytes: it comes in one piece or two, and a clear error is better than
/// a connection that breaks. Error pages of proxies and hotels are this short, too.
const SHORT_BYTES: u64 = 4 * 1024;

/// A fill's state at one moment.
#[derive(Clone, Debug, Default)]
pub struct Progress {
    pub(super) phase: Phase,
    /// The blob's size, where upstream told it.
    pub(super) total: Option<u64>,
    /// Bytes in the staged file.
    pub(super) written: u64,
    /// Nothing of it may be used before the digest is right: it may be something that has to be decoded.
    pub(super) is_held: bool,
}

/// The steps of a fill.
#[derive(Clone, Debug, Default)]
pub(super) enum Phase {
    /// Upstream has not answered.
    #[default]
    Connecting,
    /// Bytes arrive.
    Arriving,
    /// All bytes are here and hash to the digest.
    Verified,
    /// There will be no more; nothing is kept.
    Failed(Arc<FillError>),
}

impl Progress {
    /// True if answers may start.
    pub(super) fn has_headers(&self) -> bool {
        match self.phase {
            Phase::Connecting => false,
            Phase::Arriving => self.total.is_none_or(|total| total > SHORT_BYTES),
            Phase::Verified | Phase::Failed(_) => true,
        }
    }

    /// Returns the number of bytes that followers may have: all but the last until the digest is right, so that no client
    /// can take a wrong blob for a whole one.
    pub(super) fn released(&self) -> u64 {
        match (&self.phase, self.total) {
            (Phase::Verified, _) => self.written,
            _ if self.is_held => 0,
            (_, Some(total)) => self.written.min(total.saturating_sub(1)),
            (_, None) => self.written.saturating_sub(1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_answer_waits_for_the_digest() {
        let at = |phase: Phase, total| Progress { phase, total, ..Progress::default() }.has_headers();
        assert!(!at(Phase::Connecting, None));
        assert!(!at(Phase::Arriving, Some(0)) && !at(Phase::Arriving, Some(SHORT_BYTES)));
        assert!(
            at(Phase::Arriving, Some(SHORT_BYTES + 1)) && at(Phase::Arriving, None) && at(Phase::Verified, Some(0))
        );
    }

    #[test]
    fn the_last_byte_waits_for_the_digest() {
        let at = |phase, total, written| Progress { phase, total, written, is_held: false }.released();
        assert_eq!(at(Phase::Arriving, Some(10), 4), 4);
        assert_eq!(at(Phase::Arriving, Some(10), 10), 9);
        assert_eq!(at(Phase::Arriving, None, 4), 3);
        assert_eq!(at(Phase::Arriving, None, 0), 0);
        assert_eq!(at(Phase::Verified, Some(10), 10), 10);
        assert_eq!(at(Phase::Verified, None, 4), 4);
        let held = |phase| Progress { phase, total: None, written: 4, is_held: true }.released();
        assert_eq!((held(Phase::Arriving), held(Phase::Verified)), (0, 4));
        assert_eq!(at(Phase::Failed(Arc::new(FillError::Aborted)), Some(10), 10), 9);
    }
}
