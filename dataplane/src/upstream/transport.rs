//! Sending requests to upstream registries: connections, destinations, redirects, and encodings.

pub mod accepted;
pub mod address;
pub mod body;
pub mod connections;
pub mod destination;
pub mod encoding;
pub mod exchange;
pub mod redirect;
