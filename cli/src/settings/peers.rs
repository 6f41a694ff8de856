//! How a node meets the others of its cluster.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
};

use clap::Args;
use roadstead_dataplane::PeerConfig;
use url::Url;

use super::{check::bad, flags::address};
use crate::failure::Failure;

/// Flags for meeting other nodes.
#[derive(Debug, Args)]
#[command(next_help_heading = "Other nodes")]
pub(super) struct PeerFlags {
    /// Where other nodes are served what this one is fetching, so that each blob is fetched once for all [default: nowhere]
    #[arg(long, env = "ROADSTEAD_PEER_LISTEN", value_name = "ADDR", value_parser = address)]
    pub peer_listen: Option<SocketAddr>,
    /// How other nodes reach --peer-listen [default: by that address]
    #[arg(long, env = "ROADSTEAD_PEER_URL", value_name = "URL", requires = "peer_listen")]
    pub peer_url: Option<String>,
    /// Certificates to trust besides the public ones when other nodes are asked by https, a PEM file
    #[arg(long, env = "ROADSTEAD_PEER_CA_FILE", value_name = "FILE", requires = "peer_listen")]
    pub peer_ca_file: Option<PathBuf>,
}

impl PeerFlags {
    /// Checks everything.
    pub(super) fn check(self) -> Result<Option<PeerConfig>, Failure> {
        let Some(listen) = self.peer_listen else { return Ok(None) };
        let url = self.peer_url.as_deref().map(peer_url).transpose()?;
        if url.is_none() && listen.ip().is_unspecified() {
            let message = "needs --peer-url too: other nodes cannot reach every address; say http://HOST:PORT";
            return Err(bad("--peer-listen", listen, message));
        }
        let ca_pem = self.peer_ca_file.as_deref().map(ca_file).transpose()?.unwrap_or_default();
        Ok(Some(PeerConfig { listen, url, ca_pem }))
    }
}

fn peer_url(text: &str) -> Result<Url, Failure> {
    let expected = "expected http://HOST[:PORT] or https://HOST[:PORT]";
    let url = Url::parse(text).map_err(|error| bad("--peer-url", text, format_args!("{error}; {expected}")))?;
    let bare = url.path() == "/" && url.query().is_none() && url.fragment().is_none() && url.username().is_empty();
    if matches!(url.scheme(), "http" | "https") && url.has_host() && bare && url.password().is_none() {
        return Ok(url);
    }
    Err(bad("--peer-url", if url.password().is_none() { text } else { "(with credentials)" }, expected))
}

fn ca_file(path: &Path) -> Result<Vec<u8>, Failure> {
    let pem = std::fs::read(path).map_err(|error| bad("--peer-ca-file", path.display(), error))?;
    if !pem.windows(27).any(|part| part == b"-----BEGIN CERTIFICATE-----") {
        return Err(bad("--peer-ca-file", path.display(), "it holds no certificate"));
    }
    Ok(pem)
}
