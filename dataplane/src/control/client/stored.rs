//! The calls about the blob store: garbage, unknown files, corruption, and the content to hash next.

use std::time::SystemTime;

use roadstead_proto::{Digest, node::v1 as pb};

use super::translate::{self, Problem, timestamp};

/// Content claimed for deletion.
#[derive(Debug)]
pub struct ClaimedGarbage {
    /// Names the claim, for its confirmation.
    pub claim_id: String,
    /// The content to delete.
    pub digests: Vec<Digest>,
}

/// Content as it is, or should be, in a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoredContent {
    /// Its digest.
    pub digest: Digest,
    /// Its size in bytes.
    pub size_bytes: u64,
}

/// The kind of corruption of stored content.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CorruptionKind {
    /// It is not there.
    Missing,
    /// It has another size.
    Size,
    /// Its bytes do not hash to its digest.
    Digest,
}

impl CorruptionKind {
    /// A stable word for metrics and logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Size => "size",
            Self::Digest => "digest",
        }
    }
}

/// Linked content that is not in the store as it should be.
#[derive(Clone, Copy, Debug)]
pub struct Corruption {
    /// The content.
    pub digest: Digest,
    /// The kind of corruption.
    pub kind: CorruptionKind,
    /// The size found; 0 if it is missing.
    pub found_bytes: u64,
    /// When it was noticed.
    pub noticed_at: SystemTime,
}

fn number(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

pub(super) fn contents(told: Vec<pb::StoredContent>) -> Result<Vec<StoredContent>, Problem> {
    let content = |told: pb::StoredContent| {
        let size_bytes = translate::unsigned("a size", told.size_bytes)?;
        Ok(StoredContent { digest: translate::digest(&told.digest)?, size_bytes })
    };
    told.into_iter().map(content).collect()
}

pub(super) fn digests(told: &[String]) -> Result<Vec<Digest>, Problem> {
    told.iter().map(|text| translate::digest(text)).collect()
}

pub(super) fn corruption_to_pb(corruption: &Corruption) -> pb::CorruptContent {
    let kind = match corruption.kind {
        CorruptionKind::Missing => pb::CorruptionKind::Missing,
        CorruptionKind::Size => pb::CorruptionKind::Size,
        CorruptionKind::Digest => pb::CorruptionKind::Digest,
    };
    pb::CorruptContent {
        digest: corruption.digest.to_string(),
        kind: kind.into(),
        found_bytes: number(corruption.found_bytes),
        noticed_at: timestamp(corruption.noticed_at),
    }
}

pub(super) fn content_to_pb(content: StoredContent) -> pb::StoredContent {
    pb::StoredContent { digest: content.digest.to_string(), size_bytes: number(content.size_bytes) }
}
