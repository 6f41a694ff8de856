//! Keys and secrets: what signs registry tokens, what tokens look like, how passwords are kept, what keeps stored
//! secrets unreadable.

pub mod key_ring;
pub mod password;
pub mod peer_ticket;
pub mod registry_token;
pub mod rotation;
pub mod seal;
pub mod secret;
