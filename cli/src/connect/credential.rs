//! The credential of an admin command.

use std::fmt;

use base64::{Engine, engine::general_purpose::STANDARD};
use secrecy::{ExposeSecret, SecretString};
use tonic::metadata::{Ascii, MetadataValue};

use super::token::Found;
use crate::failure::Failure;

/// An API token, or a user's password. Displays its source, never its value.
pub enum Credential {
    /// The usual credential.
    Token(Found),
    /// The credential for a user's first token.
    Password { user: String, password: SecretString },
}

impl Credential {
    /// Returns the value of the header `authorization`.
    pub fn header(&self) -> Result<MetadataValue<Ascii>, Failure> {
        let value = match self {
            Self::Token(found) => format!("Bearer {}", found.secret.expose_secret()),
            Self::Password { user, password } => {
                format!("Basic {}", STANDARD.encode(format!("{user}:{}", password.expose_secret())))
            }
        };
        let mut header: MetadataValue<Ascii> = value.parse().map_err(|_| {
            Failure::usage(format_args!("{self} is not a valid token: it has characters that tokens do not have"))
        })?;
        header.set_sensitive(true);
        Ok(header)
    }

    /// Returns the next step after the control plane did not accept it.
    pub fn next_step(&self) -> &'static str {
        match self {
            Self::Token(_) => "give a valid one with --token",
            Self::Password { .. } => "check both",
        }
    }
}

impl fmt::Display for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Token(found) => write!(f, "the token from {}", found.source),
            Self::Password { user, .. } => write!(f, "the password of {user}"),
        }
    }
}

#[cfg(test)]
mod tests;
