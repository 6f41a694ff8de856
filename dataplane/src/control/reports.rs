//! Reports to the control plane: pulls, and what was learnt about upstreams.

pub mod upstreams;
pub mod usage;
