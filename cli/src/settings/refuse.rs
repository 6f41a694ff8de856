//! Errors that name a flag, its value and the fault.

use std::fmt::Display;

use url::Url;

use crate::{failure::Failure, value_parsers};

/// Fails because of a flag's value.
pub fn bad(flag: &str, value: impl Display, why: impl Display) -> Failure {
    Failure::usage(format_args!("{flag} {value}: {why}"))
}

/// Parses the URL of a server: scheme, host and port.
pub fn base_url(flag: &str, text: &str) -> Result<Url, Failure> {
    value_parsers::base_url(text).map_err(|error| bad(flag, without_credentials(text), error))
}

/// The text of a URL for an error; one with credentials is not shown.
pub fn without_credentials(text: &str) -> &str {
    if text.contains('@') { "(with credentials)" } else { text }
}
