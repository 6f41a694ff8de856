//! Times and durations of messages, as milliseconds and seconds. Zero stands for "not said" and is absent on the wire.

pub use prost_types::{Duration, Timestamp};

/// Milliseconds in a second.
const SECOND_MS: i64 = 1000;
/// Nanoseconds in a millisecond.
const MS_NANOS: i64 = 1_000_000;

fn parts(ms: i64) -> (i64, i32) {
    let nanos = ms.rem_euclid(SECOND_MS) * MS_NANOS;
    (ms.div_euclid(SECOND_MS), i32::try_from(nanos).unwrap_or_default())
}

fn whole(seconds: i64, nanos: i32) -> i64 {
    seconds.saturating_mul(SECOND_MS).saturating_add(i64::from(nanos) / MS_NANOS)
}

/// Writes milliseconds since 1970, UTC.
pub fn timestamp(ms: i64) -> Option<Timestamp> {
    let (seconds, nanos) = parts(ms);
    (ms != 0).then_some(Timestamp { seconds, nanos })
}

/// Reads a time as milliseconds since 1970, UTC.
pub fn timestamp_ms(timestamp: Option<Timestamp>) -> i64 {
    timestamp.map_or(0, |at| whole(at.seconds, at.nanos))
}

/// Writes a duration of so many milliseconds.
pub fn duration(ms: i64) -> Option<Duration> {
    let (seconds, nanos) = parts(ms);
    (ms != 0).then_some(Duration { seconds, nanos })
}

/// Writes a duration of so many seconds.
pub fn seconds(seconds: i64) -> Option<Duration> {
    (seconds != 0).then_some(Duration { seconds, nanos: 0 })
}

/// Reads a duration as milliseconds; a negative one is zero.
pub fn duration_ms(duration: Option<Duration>) -> i64 {
    duration.map_or(0, |length| whole(length.seconds, length.nanos)).max(0)
}

/// Reads a duration as whole seconds, rounded up; a negative one is zero.
pub fn duration_seconds(duration: Option<Duration>) -> i64 {
    let ms = duration_ms(duration);
    ms / SECOND_MS + i64::from(ms % SECOND_MS > 0)
}

#[cfg(test)]
mod tests;
