//! Tags: settings, and when a cached tag may be served.

pub mod freshness;
pub mod limits;
pub mod settings;
