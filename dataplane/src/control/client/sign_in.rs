//! Signing in: credentials and scopes, and what comes of them.

use std::{fmt, time::Duration};

use roadstead_proto::GroupPath;
use secrecy::SecretString;

/// Credentials and what they are to be good for.
#[derive(Clone, Debug)]
pub struct SignIn {
    /// Empty, as the password, for an anonymous client.
    pub username: String,
    /// The password or a token's secret.
    pub password: SecretString,
    /// The requested access; `None` if only the credentials are to be checked.
    pub scopes: Vec<PullScope>,
    /// True if this node lets anonymous clients pull.
    pub anonymous_allowed: bool,
    /// The client's address; empty if unknown.
    pub client_address: String,
}

/// A repository on the registry port, as clients name it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PullScope {
    /// `acme/dependency_proxy/containers/alpine`.
    pub name: String,
    /// The group in that name.
    pub group: GroupPath,
}

/// The result of a sign-in.
#[derive(Clone, Debug)]
pub enum SignInResult {
    /// Signed in.
    Token(RegistryToken),
    /// Not signed in.
    Refused(SignInRefused),
}

/// A token for the registry port.
#[derive(Clone)]
pub struct RegistryToken {
    /// The JWT.
    pub token: String,
    /// Seconds it is good for.
    pub expires_in_seconds: i64,
    /// When it was issued (milliseconds since 1970, UTC).
    pub issued_at_ms: i64,
    /// Time for which it may be given again without a call; zero for not at all.
    pub reusable_for: Duration,
    /// True if somebody could guess the credentials.
    pub guessable: bool,
}

/// The token itself never reaches a log.
impl fmt::Debug for RegistryToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RegistryToken")
            .field("expires_in_seconds", &self.expires_in_seconds)
            .field("issued_at_ms", &self.issued_at_ms)
            .finish_non_exhaustive()
    }
}

/// The reason for which the sign-in has no token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignInRefused {
    /// The kind of refusal.
    pub reason: SignInRefusal,
    /// For the person at the client.
    pub message: String,
    /// The requested wait, if there is one.
    pub retry_after: Option<Duration>,
}

/// Kinds of refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignInRefusal {
    /// The credentials are wrong, expired or revoked.
    Unauthenticated,
    /// The credentials are good, but not for what was asked.
    Denied,
    /// The group does not exist, as far as the caller may know.
    NotFound,
    /// Too many failures.
    TooManyRequests,
    /// The credentials cannot be checked now.
    Unavailable,
}
