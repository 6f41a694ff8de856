//! Data-plane nodes and their liveness.

pub mod node;
