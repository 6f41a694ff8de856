//! The service of `roadstead.node.v1`, for data-plane nodes.

pub mod convert;
pub mod job;
pub mod lease;
pub mod parts;
pub mod report;
pub mod service;
pub mod stored;
pub mod watch;
