//! A group's credentials for an upstream.

use std::fmt;

use roadstead_proto::{Algorithm, Digest, DigestHasher};
use secrecy::{ExposeSecret, SecretString};

/// A user name and its password or token.
pub struct Credential {
    username: String,
    password: SecretString,
    id: Digest,
}

impl Credential {
    /// Credentials as the control plane keeps them.
    pub fn new(username: String, password: SecretString) -> Self {
        let mut hasher = DigestHasher::new(Algorithm::Sha256);
        // The length keeps ("ab", "c") and ("a", "bc") apart.
        hasher.update(&(username.len() as u64).to_be_bytes());
        hasher.update(username.as_bytes());
        hasher.update(password.expose_secret().as_bytes());
        Self { id: hasher.finish(), username, password }
    }

    /// The user name.
    pub fn username(&self) -> &str {
        &self.username
    }

    /// The password or token.
    pub const fn password(&self) -> &SecretString {
        &self.password
    }

    /// Tells credentials apart: the same user name and password have the same id. To be kept in memory only.
    pub const fn id(&self) -> &Digest {
        &self.id
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credential").field("username", &self.username).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
