//! The words for stored content that is not as it should be.

use std::str::FromStr;

use roadstead_proto::Digest;

/// What is wrong with stored content.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum DamageKind {
    /// It is linked, but not in the store.
    Missing,
    /// It has another size than it should.
    Size,
    /// Its bytes do not hash to its digest.
    Digest,
}

impl DamageKind {
    /// The word it is stored as.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Size => "size",
            Self::Digest => "digest",
        }
    }
}

impl FromStr for DamageKind {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "missing" => Ok(Self::Missing),
            "size" => Ok(Self::Size),
            "digest" => Ok(Self::Digest),
            _ => Err(()),
        }
    }
}

/// What a node noticed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Noticed {
    /// The content.
    pub digest: Digest,
    /// What is wrong with it.
    pub kind: DamageKind,
    /// The size found; 0 if it is missing.
    pub found_bytes: i64,
}

/// Damage to a group's content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// What was noticed.
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
