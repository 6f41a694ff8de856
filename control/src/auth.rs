//! Keys and secrets: what signs registry tokens, what tokens look like, what keeps stored secrets unreadable.

pub mod key_ring;
pub mod registry_token;
pub mod rotation;
pub mod seal;
pub mod secret;
