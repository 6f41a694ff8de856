//! Nodes, leases, and facts shared by all replicas.

pub mod fact;
pub mod lease;
pub mod node;
