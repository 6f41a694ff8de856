//! Keeping up with the control plane: the watch, the policy it tells, and how stale that may be.

pub mod liveness;
pub mod liveness_metric;
pub mod policy;
pub mod saved;
pub mod staleness;
pub mod watch;
