//! Work that is scheduled for nodes.

pub mod schedule;
