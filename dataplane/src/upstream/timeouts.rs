//! All time limits of requests to upstreams, computed in one place from three settings.

use std::time::Duration;

/// The time limits of upstreams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UpstreamTimeouts {
    /// For a connection, TLS included.
    pub connect: Duration,
    /// From sending a request to its answer's headers, a new connection included.
    pub first_byte: Duration,
    /// From one piece of a body to the next.
    pub body_idle: Duration,
    /// For everything before a blob's body, or for all of anything else: tokens, redirects, repetitions, body.
    pub whole: Duration,
}

impl Default for UpstreamTimeouts {
    fn default() -> Self {
        Self::of(Self::CONNECT, Self::FIRST_BYTE, Self::BODY_IDLE)
    }
}

impl UpstreamTimeouts {
    /// The default for a connection.
    pub const CONNECT: Duration = Duration::from_secs(3);
    /// The default for an answer's headers.
    pub const FIRST_BYTE: Duration = Duration::from_secs(5);
    /// The default between two pieces of a body.
    pub const BODY_IDLE: Duration = Duration::from_secs(15);
    /// The longest time that can be set for each of the three.
    pub const MAX: Duration = Duration::from_secs(10 * 60);
    /// A whole operation with the defaults: an uncached pull fails within ten seconds.
    const WHOLE: Duration = Duration::from_secs(8);
    /// Slow answers that an operation may wait for one after the other: a challenge, a token, the content.
    const SLOW_ANSWERS: u32 = 3;

    /// Derives all limits, so that none of them cuts short what is set here.
    pub fn of(connect: Duration, first_byte: Duration, body_idle: Duration) -> Self {
        // The time for the first byte includes the connection.
        let first_byte = first_byte.max(connect);
        let answers = if first_byte > Self::FIRST_BYTE { first_byte * Self::SLOW_ANSWERS } else { Duration::ZERO };
        let whole = Self::WHOLE.max(answers) + body_idle.saturating_sub(Self::BODY_IDLE);
        Self { connect, first_byte, body_idle, whole }
    }

    /// The time that a node waits for another node's manifest before it asks upstream itself.
    pub(crate) fn manifest_from_peer(&self) -> Duration {
        self.whole.mul_f64(0.75)
    }

    /// The time that a manifest may take in all, by whatever ways.
    pub(crate) fn manifest_in_all(&self) -> Duration {
        self.whole + Duration::from_secs(1)
    }
}

#[cfg(test)]
mod tests;
