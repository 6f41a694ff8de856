//! The control plane's answers about links, tags and credentials: remembered, or asked for and then remembered.

pub mod credentials;
pub mod link_batches;
pub mod links;
pub mod tags;
