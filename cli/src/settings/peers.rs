//! Settings of the port for other nodes.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
};

use clap::Args;
use roadstead_dataplane::PeerConfig;

use super::refuse::{bad, base_url};
use crate::{failure::Failure, value_parsers::address};

/// Flags of the peer port.
#[derive(Debug, Args)]
#[command(next_help_heading = "Other nodes")]
pub(super) struct PeerFlags {
    /// Address on which other nodes follow this node's downloads, so that each blob is fetched once for all [default: off]
    #[arg(long, env = "ROADSTEAD_PEER_LISTEN", value_name = "ADDR", value_parser = address)]
    pub peer_listen: Option<SocketAddr>,
    /// URL by which other nodes reach --peer-listen [default: that address]
    #[arg(long, env = "ROADSTEAD_PEER_URL", value_name = "URL", requires = "peer_listen")]
    peer_url: Option<String>,
    /// CA certificates to trust besides the public ones when other nodes use https, a PEM file
    #[arg(long, env = "ROADSTEAD_PEER_CA_FILE", value_name = "FILE", requires = "peer_listen")]
    peer_ca_file: Option<PathBuf>,
}

impl PeerFlags {
    pub(super) fn check(self) -> Result<Option<PeerConfig>, Failure> {
        let Some(listen) = self.peer_listen else { return Ok(None) };
        let url = self.peer_url.as_deref().map(|url| base_url("--peer-url", url)).transpose()?;
        if url.is_none() && listen.ip().is_unspecified() {
            let why = "needs --peer-url too (http://HOST:PORT): other nodes cannot connect to an unspecified address";
            return Err(bad("--peer-listen", listen, why));
        }
        let ca_pem = self.peer_ca_file.as_deref().map(ca_file).transpose()?.unwrap_or_default();
        Ok(Some(PeerConfig { listen, url, ca_pem }))
    }
}

fn ca_file(path: &Path) -> Result<Vec<u8>, Failure> {
    let pem = std::fs::read(path).map_err(|error| bad("--peer-ca-file", path.display(), error))?;
    if !pem.windows(27).any(|part| part == b"-----BEGIN CERTIFICATE-----") {
        return Err(bad("--peer-ca-file", path.display(), "the file contains no certificate"));
    }
    Ok(pem)
}
