//! The error that ends a command, and its exit code.

use std::{fmt, process::ExitCode};

/// A message for the terminal, with an exit code.
#[derive(Debug, PartialEq, Eq)]
pub struct Failure {
    code: u8,
    message: String,
}

impl Failure {
    /// Returns a refusal or a failure: exit code 1.
    pub fn failed(message: impl fmt::Display) -> Self {
        Self { code: 1, message: message.to_string() }
    }

    /// Returns wrong usage, which includes bad settings: exit code 2.
    pub fn usage(message: impl fmt::Display) -> Self {
        Self { code: 2, message: message.to_string() }
    }

    /// Returns wrong usage or a failure.
    pub fn of(is_usage: bool, message: impl fmt::Display) -> Self {
        if is_usage { Self::usage(message) } else { Self::failed(message) }
    }

    /// Writes the message to stderr in the form of clap's errors.
    pub fn report(&self) -> ExitCode {
        eprintln!("error: {}", self.message);
        ExitCode::from(self.code)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}
