//! CI without secrets: ID tokens of OpenID Connect issuers as sign-in.
//!
//! It guarantees that
//! - keys are fetched only from issuers that an administrator allowed, and only from the issuer's own origin;
//! - a token counts only with a good signature by one of these keys, made with an algorithm that belongs to the key;
//! - a token counts for a group only if a trust of that group (or of one above it) fits its audience and its claims;
//! - an issuer that is down, slow or hostile costs a bounded time, and stops nobody whose keys are known.
//!
//! `token`, `key_set` and `trust` are rules over plain data; `discovery` asks the issuer; `key_cache` remembers what it
//! said. What is stored, and who may change it, is the plane's.

mod discovery;
mod issuer;
mod key_cache;
mod key_set;
mod token;
mod trust;

pub use self::{
    discovery::FetchError,
    issuer::IssuerUrl,
    key_cache::{KeyCache, KeysUnavailable},
    token::{IdToken, MAX_TOKEN_BYTES, TokenProblem, Unverified},
    trust::{ClaimRule, MAX_TRUSTS, NewTrust, Trust},
};
