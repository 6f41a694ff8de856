//! Limits and defaults of the settings of tags.

/// A day in milliseconds.
pub(super) const DAY_MS: i64 = 24 * 3600 * 1000;
/// Default time for which a tag is served while upstream is unavailable: 7 days.
pub const DEFAULT_MAX_STALE_MS: i64 = 7 * DAY_MS;
/// Longest `max_stale`, in milliseconds: 3650 days.
pub const MAX_MAX_STALE_MS: i64 = 3650 * DAY_MS;
/// Longest `cooldown`, in milliseconds: 365 days.
pub const MAX_COOLDOWN_MS: i64 = 365 * DAY_MS;
/// Most rules and patterns in each list of a group.
pub const MAX_PATTERNS: usize = 100;
/// Longest time that a tag may be served without asking upstream, in milliseconds: 30 days.
pub const MAX_MAX_AGE_MS: i64 = 30 * 24 * 3600 * 1000;
