//! Upstream registries, credentials for them, and what nodes report about them.

pub mod credential;
pub mod report;
pub mod upstream;
