//! Cached content: links, figures, purge, retention, garbage, and corruption.

pub mod corruption;
pub mod evict;
pub mod garbage;
pub mod link;
pub mod list;
pub mod purge;
pub mod retention;
pub mod retention_backoff;
pub mod stats;
pub mod usage;
