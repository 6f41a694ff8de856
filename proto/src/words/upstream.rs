//! The words for upstream registries.

use super::words;
use crate::v1;

words! {
    /// The health of an upstream. Nothing is known where the wire says nothing.
    UpstreamHealth, v1::UpstreamHealth, "health" {
        /// It answers.
        Good = "good",
        /// Some requests fail.
        Failing = "failing",
        /// It failed repeatedly: the circuit is open, and requests are suspended except for periodic probes.
        Open = "open",
    }
}
