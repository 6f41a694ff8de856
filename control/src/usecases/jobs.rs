//! Work that nodes do for the control plane.

pub mod exchange;
pub mod job;
pub mod schedule;

use std::sync::Arc;

use tokio::sync::Notify;

use crate::{auth::seal::Sealer, clock::Clock, jobs::Jobs, rules::limits::Limits, store::Store};

/// Jobs that people and schedules ask for.
pub struct JobRequests {
    pub(crate) store: Store,
    pub(crate) clock: Clock,
    pub(crate) sealer: Arc<Sealer>,
    pub(crate) jobs: Jobs,
    /// The most schedules of a group.
    pub(crate) limits: Limits,
    /// There is a new schedule.
    pub(crate) schedules_changed: Notify,
}
