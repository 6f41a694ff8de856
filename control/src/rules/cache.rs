//! Cached content: descriptors, purge, retention, watermarks, and corruption.

pub mod corruption;
pub mod purge;
pub mod retention;
pub mod watermark;
