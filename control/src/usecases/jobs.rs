//! Work that nodes do for the control plane.

pub mod exchange;
pub mod job;
pub mod schedule;
