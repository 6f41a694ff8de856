//! A data-plane node of Roadstead: serves registry traffic, moves bytes between upstream, store and client, and asks
//! the control plane who may do what and whether a tag is still fresh. It owns nothing irreplaceable.
//!
//! Start reading here: `http::pipeline` shows the order in which a request is handled, `pull` the flows behind it, `fill`
//! the single fetch of a blob for all clients, and `storage` the blob stores.

mod access;
mod backoff;
mod cache_status;
pub mod config;
pub mod control;
mod failpoint;
mod fill;
mod http;
mod jobs;
mod links;
pub mod listener;
mod maintenance;
mod metrics;
mod mirror;
mod node_id;
mod peer;
mod pull;
mod random;
mod readiness;
mod reporter;
mod respond;
mod route;
mod sign_in;
mod singleflight;
mod start;
mod storage;
mod store_copy;
mod trace_context;
mod trail;
pub mod upstream;

pub use self::config::{DataplaneConfig, InvalidStorageUrl, StorageUrl};
pub use self::mirror::Mirrors;
pub use self::node_id::NodeId;
pub use self::peer::PeerConfig;
pub use self::readiness::Readiness;
pub use self::start::{Dataplane, StartError};
pub use self::storage::ObjectStoreUrl;
pub use self::store_copy::{CopyError, CopyProgress, Count, StoreCopy};
pub use self::trail::AccessLog;
