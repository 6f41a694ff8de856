//! Health of upstream registries, for each set of credentials: pauses that an upstream asked for, and circuit breakers.
//!
//! Trouble with one content is kept apart from trouble of the host. Only the host's suspends all requests: failed
//! connections, and failures of `/v2/`, which is asked when requests for content keep failing.

pub mod account;
pub mod circuit;
pub mod pause;
pub(crate) mod suspension;
