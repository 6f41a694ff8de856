//! Why a command ends without having done what was asked, and the exit code that says so.

use std::{fmt, process::ExitCode};

/// What to tell the person at the terminal, with the exit code of the contract.
#[derive(Debug, PartialEq, Eq)]
pub struct Failure {
    code: u8,
    message: String,
}

impl Failure {
    /// Refused or failed: exit code 1.
    pub fn failed(message: impl fmt::Display) -> Self {
        Self { code: 1, message: message.to_string() }
    }

    /// Wrong usage, a bad setting among them: exit code 2.
    pub fn usage(message: impl fmt::Display) -> Self {
        Self { code: 2, message: message.to_string() }
    }

    /// Wrong usage or a failure, as the callee tells them apart.
    pub fn of(is_usage: bool, message: impl fmt::Display) -> Self {
        if is_usage { Self::usage(message) } else { Self::failed(message) }
    }

    /// Writes the message to stderr, as clap writes its own errors.
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
