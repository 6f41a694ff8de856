//! A data-plane node of Roadstead: serves registry traffic, moves bytes between upstream, store and client, and asks
//! the control plane who may do what and whether a tag is still fresh. It owns nothing irreplaceable.
//!
//! Where to look: [`stack`] shows what a request passes, `pull` what happens to it then, `fill` how a blob is
//! fetched once for everybody, `storage` where bytes are kept.

mod client_address;
pub mod config;
pub mod control;
mod errands;
mod failpoint;
mod fill;
mod flight;
mod layers;
mod metrics;
mod mirror;
mod node_id;
mod peer;
mod pull;
mod readiness;
mod registry_url;
mod reporter;
mod respond;
mod route;
mod server;
mod sign_in;
mod stack;
mod stalled;
mod start;
mod storage;
mod store_copy;
mod tls;
mod upkeep;
pub mod upstream;

pub use config::{DataplaneConfig, InvalidStorageUrl, StorageUrl};
pub use control::{ControlReplicas, MayRepeat};
pub use mirror::Mirrors;
pub use node_id::NodeId;
pub use peer::PeerConfig;
pub use readiness::Readiness;
pub use start::{Dataplane, StartError};
pub use storage::ObjectStoreUrl;
pub use store_copy::{CopyError, CopyProgress, Count, StoreCopy};
pub use tls::{InvalidTls, ServerTls};
