//! The gRPC client side that every caller of the control plane shares, the command line and the nodes alike: how a channel is
//! made, how several replicas are one service, and which calls may be made again.

mod channel;
mod replicas;

pub use channel::lazy_channel;
pub use replicas::ControlReplicas;
