//! Nodes among themselves: what one of them is fetching, for the others.
//!
//! The port serves `GET /fills/DIGEST` (a blob) and `GET /manifests/DIGEST` to whoever shows a ticket of the control plane for
//! that digest, and nothing else. What a
//! node gets so it verifies like anything from upstream, and the last byte is held back until the owner has verified it.
//! Who fetches and who follows is decided in [`crate::fill`].

mod server;
mod ticket;

use std::{fmt, net::SocketAddr};

use url::Url;

pub use self::server::PeerPort;

/// How a node meets the others.
#[derive(Clone)]
pub struct PeerConfig {
    /// Where other nodes are served.
    pub listen: SocketAddr,
    /// How they reach it; by the address that is listened on if not set.
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
