//! Reports to the control plane: heartbeats, usage, and what was learnt about upstreams.

pub mod heartbeat;
pub mod upstreams;
pub mod usage;
