//! CI without secrets: ID tokens of OpenID Connect issuers as sign-in.
//!
//! It guarantees that
//! - keys are fetched only from issuers that an administrator allowed, and only from the issuer's own origin;
//! - a token counts only with a good signature by one of these keys, made with an algorithm that belongs to the key;
//! - a token counts for a group only if a trust of that group (or of one above it) fits its audience and its claims;
//! - an issuer that is down, slow or hostile costs a bounded time, and stops nobody whose keys are known.
//!
//! `token`, `key_set` and `trust` are rules over plain data; `discovery` asks the issuer; `key_cache` remembers what it
//! said. Storage and access rules belong to the plane.

mod discovery;
mod issuer;
mod key_cache;
mod key_set;
mod token;
mod trust;

pub use self::{
    issuer::IssuerUrl,
    key_cache::{KeyCache, KeysUnavailable},
    token::{IdToken, TokenProblem, Unverified},
    trust::{ClaimRule, NewTrust, Trust},
};

/// The reason for which an ID token is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OidcRefused {
    /// The token itself is invalid.
    #[error("this ID token is not accepted: {0}")]
    Token(#[from] TokenProblem),
    /// Its issuer is not trusted here.
    #[error("no group here trusts the issuer of this ID token")]
    Stranger,
    /// No group trusts it.
    #[error("no group here trusts this ID token: its audience or its claims fit no trust; see `oidc trust list`")]
    NoTrust,
}
