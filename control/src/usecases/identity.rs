//! Users, tokens, and sign-in.

pub mod admin_token;
pub mod credentials;
pub mod last_used;
pub mod login_throttle;
pub mod oidc;
pub mod secret_key;
pub mod sign_in;
pub mod signing_keys;
pub mod token;
pub mod user;
