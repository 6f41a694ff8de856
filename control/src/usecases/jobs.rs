//! Work that nodes do for the control plane.

pub mod exchange;
pub mod job;
pub mod schedule;

use std::sync::Arc;

use tokio::sync::Notify;

use self::exchange::JobExchange;
use crate::{clock::Clock, rules::limits::Limits, store::Store};

/// Jobs that people and schedules ask for.
pub struct JobRequests {
    pub(crate) store: Store,
    pub(crate) clock: Clock,
    pub(crate) exchange: Arc<JobExchange>,
    /// The most schedules of a group.
    pub(crate) limits: Limits,
    /// There is a new schedule.
    pub(crate) schedules_changed: Notify,
}
