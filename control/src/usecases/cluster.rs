//! Nodes, leases, and the work that one replica does at a time.

pub mod applied;
pub mod leader;
pub mod lease;
pub mod node;
pub mod timeline;
