//! Upstream registries: settings, pull limits, and health.

pub mod pull_limit;
pub mod status;
pub mod upstream;
