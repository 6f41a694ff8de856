//! With what an admin command signs in.

use std::fmt;

use base64::{Engine, engine::general_purpose::STANDARD};
use secrecy::{ExposeSecret, SecretString};
use tonic::metadata::{Ascii, MetadataValue};

use super::token::Found;
use crate::failure::Failure;

/// An API token, or a person's password. Shows where it came from, never what it is.
pub enum Credential {
    /// The usual way.
    Token(Found),
    /// How people make their first token.
    Password { user: String, password: SecretString },
}

impl Credential {
    /// The value of `authorization`.
    pub fn header(&self) -> Result<MetadataValue<Ascii>, Failure> {
        let value = match self {
            Self::Token(found) => format!("Bearer {}", found.secret.expose_secret()),
            Self::Password { user, password } => {
                format!("Basic {}", STANDARD.encode(format!("{user}:{}", password.expose_secret())))
            }
        };
        let mut header: MetadataValue<Ascii> = value
            .parse()
            .map_err(|_| Failure::usage(format_args!("{self} is not one: it has characters that no token has")))?;
        header.set_sensitive(true);
        Ok(header)
    }

    /// What to do when it is not accepted.
    pub fn next_step(&self) -> &'static str {
        match self {
            Self::Token(_) => "give a good one with --token",
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
