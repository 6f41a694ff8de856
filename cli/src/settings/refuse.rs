//! Errors that name a flag, its value and the fault.

use std::{fmt::Display, time::Duration};

use url::Url;

use crate::{failure::Failure, value_parsers};

/// Longest duration of any setting: sums with the clock stay in range.
pub const LONGEST: Duration = Duration::from_secs(10 * 365 * 86_400);

/// Fails because of a flag's value.
pub fn bad(flag: &str, value: impl Display, why: impl Display) -> Failure {
    Failure::usage(format_args!("{flag} {value}: {why}"))
}

/// Fails unless the duration is between the bounds.
pub fn within(flag: &str, value: Duration, least: Duration, most: Duration) -> Result<Duration, Failure> {
    let show = humantime::format_duration;
    match value {
        _ if value < least => Err(bad(flag, show(value), format_args!("must be at least {}", show(least)))),
        _ if value > most => Err(bad(flag, show(value), format_args!("must be at most {}", show(most)))),
        _ => Ok(value),
    }
}

/// Fails unless the duration is a millisecond at least.
pub fn positive(flag: &str, value: Duration) -> Result<Duration, Failure> {
    within(flag, value, Duration::from_millis(1), LONGEST)
}

/// Fails unless the duration is a second at least.
pub fn at_least_a_second(flag: &str, value: Duration) -> Result<Duration, Failure> {
    within(flag, value, Duration::from_secs(1), LONGEST)
}

/// Parses the URL of a server: scheme, host and port.
pub fn base_url(flag: &str, text: &str) -> Result<Url, Failure> {
    value_parsers::base_url(text).map_err(|error| bad(flag, without_credentials(text), error))
}

/// The text of a URL for an error; one with credentials is not shown.
pub fn without_credentials(text: &str) -> &str {
    if text.contains('@') { "(with credentials)" } else { text }
}
