//! Users, tokens, signing keys, and OpenID Connect issuers.

pub mod key;
pub mod oidc;
pub mod token;
pub mod user;
