//! Nodes among themselves: what one of them is fetching, for the others.
//!
//! The port serves `GET /fills/DIGEST` (a blob) and `GET /manifests/DIGEST` to whoever shows a ticket of the control plane
//! for that digest, and nothing else. A node verifies the content that it gets like any from upstream, and the last byte is
//! held back until the owner has verified it. [`crate::fill`] decides which node fetches and which follow.

mod server;
mod ticket;

use std::{fmt, net::SocketAddr};

use url::Url;

pub use self::server::PeerPort;

/// The settings of the port for other nodes.
#[derive(Clone)]
pub struct PeerConfig {
    /// Address of the port.
    pub listen: SocketAddr,
    /// URL by which they reach it; the listening address if not set.
    pub url: Option<Url>,
    /// Certificates, PEM, that are trusted besides the public ones when others are asked.
    pub ca_pem: Vec<u8>,
}

impl PeerConfig {
    /// The URL to tell others, for the address that was bound.
    pub fn url(&self, bound: SocketAddr, has_tls: bool) -> String {
        let scheme = if has_tls { "https" } else { "http" };
        self.url.as_ref().map_or_else(|| format!("{scheme}://{bound}"), Url::to_string)
    }
}

impl fmt::Debug for PeerConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PeerConfig").field("listen", &self.listen).field("url", &self.url).finish_non_exhaustive()
    }
}
