//! Upstream registries, sealed credentials for them, and what nodes reported about them.

pub mod condition;
pub mod credential;
pub mod health;
pub mod upstream;
