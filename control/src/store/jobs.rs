//! Jobs that nodes do, and schedules.

pub mod job;
pub mod schedule;
