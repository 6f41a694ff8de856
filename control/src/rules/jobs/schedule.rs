//! The schedules of prefetches.

use roadstead_proto::{GroupPath, RepositoryRef, Tag};

/// Shortest time between two runs, in milliseconds: five minutes.
pub const MIN_EVERY_MS: i64 = 5 * 60 * 1000;
/// Longest time between two runs, in milliseconds: 30 days.
pub const MAX_EVERY_MS: i64 = 30 * 24 * 3600 * 1000;

/// An image that is fetched again and again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule {
    /// Its id (UUIDv7).
    pub id: String,
    /// Path of the group.
    pub group: GroupPath,
    /// Of which repository.
    pub repository: RepositoryRef,
    /// The tag.
    pub tag: Tag,
    /// Only these; empty means all.
    pub platforms: Vec<String>,
    /// Time between two runs, in milliseconds.
    pub every_ms: i64,
    /// When it runs next.
    pub due_at_ms: i64,
    /// When it last ran.
    pub last_run_at_ms: Option<i64>,
    /// The error of the last run; empty if it succeeded.
    pub last_error: String,
}
