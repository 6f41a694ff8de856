//! The commands, one a file.

pub mod cache;
pub mod completions;
pub mod control;
pub mod dataplane;
pub mod group;
pub mod serve;
pub mod token;
pub mod upstream;

use std::{io::Read, time::Duration};

use secrecy::SecretString;
use url::Url;

use crate::failure::Failure;

/// Most bytes that a password on stdin may have; the control plane takes no more either.
const MAX_PASSWORD_BYTES: u64 = 4096;

/// Reads a duration such as "30d", "15m", "1h 30m".
pub fn duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text).map_err(|error| format!("{error}; expected for example 30d, 15m or 1h30m"))
}

/// The duration for a request; longer than 10,000 years (protobuf's limit) is refused by the control plane.
fn to_proto(duration: Duration) -> prost_types::Duration {
    prost_types::Duration {
        seconds: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
        nanos: i32::try_from(duration.subsec_nanos()).unwrap_or_default(),
    }
}

/// Reads a secret to the end of stdin, without the line's end.
fn password_from_stdin() -> Result<SecretString, Failure> {
    read_password(std::io::stdin().lock())
}

fn read_password(input: impl Read) -> Result<SecretString, Failure> {
    let mut text = String::new();
    let unreadable = |error| Failure::failed(format_args!("cannot read the password from stdin: {error}"));
    input.take(MAX_PASSWORD_BYTES + 2).read_to_string(&mut text).map_err(unreadable)?;
    let password = text.strip_suffix('\n').unwrap_or(&text);
    let password = password.strip_suffix('\r').unwrap_or(password);
    if password.is_empty() {
        return Err(Failure::usage("--password-stdin: stdin holds no password"));
    }
    if password.len() as u64 > MAX_PASSWORD_BYTES {
        return Err(Failure::usage(format_args!("--password-stdin: longer than {MAX_PASSWORD_BYTES} bytes")));
    }
    Ok(password.into())
}

/// The control plane's port unless somebody chose another.
const DEFAULT_CONTROL_PORT: u16 = 7071;

/// The registry's address as far as it can be guessed: where the control plane is where `serve` puts it, so is that.
fn registry_guess(control: &Url) -> &'static str {
    let local = match control.host() {
        Some(url::Host::Domain(name)) => name == "localhost",
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    };
    if local && control.port() == Some(DEFAULT_CONTROL_PORT) { "127.0.0.1:7070" } else { "REGISTRY_HOST" }
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::*;

    #[test]
    fn durations_are_read_as_people_write_them() {
        for (text, seconds) in [("30d", 30 * 86_400), ("15m", 900), ("1h30m", 5400), ("90s", 90), ("2 h", 7200)] {
            assert_eq!(duration(text).unwrap().as_secs(), seconds, "{text}");
        }
        for bad in ["", "30", "-5m", "soon", "1x"] {
            assert!(duration(bad).unwrap_err().contains("expected for example 30d"), "{bad}");
        }
        assert_eq!(to_proto(Duration::from_millis(1500)), prost_types::Duration { seconds: 1, nanos: 500_000_000 });
    }

    #[test]
    fn a_password_ends_before_its_line_does() {
        for (input, password) in
            [("s3cret\n", "s3cret"), ("s3cret\r\n", "s3cret"), ("s3 cret", "s3 cret"), ("a\n\n", "a\n")]
        {
            assert_eq!(read_password(input.as_bytes()).unwrap().expose_secret(), password);
        }
        let long = "x".repeat(4097);
        for bad in ["", "\n", &long] {
            assert!(read_password(bad.as_bytes()).is_err());
        }
        assert!(read_password(&[0xff, 0xfe][..]).is_err());
    }

    #[test]
    fn the_registry_is_guessed_only_where_serve_puts_it() {
        for (control, guess) in [
            ("http://127.0.0.1:7071", "127.0.0.1:7070"),
            ("http://localhost:7071", "127.0.0.1:7070"),
            ("http://[::1]:7071", "127.0.0.1:7070"),
            ("http://127.0.0.1:9999", "REGISTRY_HOST"),
            ("https://roadstead.example:7071", "REGISTRY_HOST"),
        ] {
            assert_eq!(registry_guess(&Url::parse(control).unwrap()), guess);
        }
    }
}
