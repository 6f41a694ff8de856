//! Health of upstream registries: pauses of accounts, and circuit breakers of hosts.

pub mod account;
pub mod circuit;
