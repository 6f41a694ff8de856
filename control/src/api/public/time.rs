//! Times and durations, to and from `google.protobuf`.

use std::time::Duration;

use prost_types::Timestamp;

use crate::api::errors::invalid_field;

pub fn timestamp(ms: i64) -> Timestamp {
    let nanos = i32::try_from(ms.rem_euclid(1000)).unwrap_or_default() * 1_000_000;
    Timestamp { seconds: ms.div_euclid(1000), nanos }
}

/// A duration of a request, in milliseconds.
pub fn duration_ms(field: &str, duration: prost_types::Duration) -> Result<i64, tonic::Status> {
    let bad = || invalid_field(field, "must be a duration that is not negative");
    let duration = Duration::try_from(duration).map_err(|_| bad())?;
    i64::try_from(duration.as_millis()).map_err(|_| bad())
}

pub fn duration(ms: i64) -> prost_types::Duration {
    let nanos = i32::try_from(ms.rem_euclid(1000)).unwrap_or_default() * 1_000_000;
    prost_types::Duration { seconds: ms.div_euclid(1000), nanos }
}
