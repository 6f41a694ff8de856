//! Corruption of stored content.

use roadstead_proto::{CorruptionKind, Digest};

/// A corruption that a node found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Noticed {
    /// The content.
    pub digest: Digest,
    /// Lists the problems.
    pub kind: CorruptionKind,
    /// The size found; 0 if it is missing.
    pub found_bytes: i64,
}

/// A corruption of a group's content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Corruption {
    /// The finding.
    pub noticed: Noticed,
    /// The right size.
    pub size_bytes: i64,
    /// Images of the group that have it.
    pub images: Vec<String>,
    /// When it was noticed last, in milliseconds.
    pub noticed_at_ms: i64,
    /// When it was fetched again.
    pub healed_at_ms: Option<i64>,
}

/// Content of a store, by the name that it is kept under.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Its digest.
    pub digest: Digest,
    /// Its size.
    pub size_bytes: i64,
}
