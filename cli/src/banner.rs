//! What a server says on stdout when it starts: where it listens, and at the very first start how to begin.
//! Logs go to stderr; programs read those, people this.

use std::{fmt::Write, net::SocketAddr, path::Path, time::Duration};

use roadstead_dataplane::DataplaneConfig;
use secrecy::{ExposeSecret, SecretString};
use tokio::time::sleep;
use tracing::warn;
use url::Url;

use crate::{metrics::Readiness, output};

/// How often to look whether the server is ready.
const POLL: Duration = Duration::from_millis(20);
/// After how long to say that it is not.
const PATIENCE: Duration = Duration::from_secs(5);

/// The group that a first start makes.
const DEFAULT_GROUP: &str = "default";

/// The administrator's token, said once: it is made at a first start where none was given.
pub fn admin_token(token: &SecretString, file: &Path) -> String {
    format!(
        "The administrator's token, made now and shown only this once. It is kept in {}, where admin\n\
         commands on this machine find it.\n\n    {}\n\n",
        file.display(),
        token.expose_secret()
    )
}

/// Where a server with a registry listens, as bound.
pub struct Listening<'a> {
    /// Registry traffic.
    pub registry: SocketAddr,
    /// gRPC, if this process serves it.
    pub control: Option<SocketAddr>,
    /// Metrics and probes.
    pub metrics: SocketAddr,
    /// The node's settings.
    pub dataplane: &'a DataplaneConfig,
}

impl Listening<'_> {
    /// One line, for every start but the first.
    pub fn short(&self) -> String {
        let control = self.control.map(|address| format!("control plane on {address}, ")).unwrap_or_default();
        format!("Roadstead serves the registry on {}, {control}metrics on {}.", self.registry_url(), self.metrics)
    }

    /// For a first start: where it listens, and the first pull.
    pub fn first(&self) -> String {
        let mut text = format!("Roadstead {} is ready.\n\n", env!("CARGO_PKG_VERSION"));
        let _ = writeln!(text, "  registry        {}", self.registry_url());
        if let Some(control) = self.control {
            let _ = writeln!(text, "  control plane   http://{control}   (gRPC; `roadstead group list` asks it)");
        }
        let _ = writeln!(text, "  metrics         http://{}/metrics\n", self.metrics);
        let image = format!("{}/{DEFAULT_GROUP}/dependency_proxy/containers/alpine:latest", self.registry_host());
        if self.dataplane.allow_anonymous_pulls {
            let _ = writeln!(text, "Pull through it:\n\n  docker pull {image}");
        } else {
            let host = self.registry_host();
            let _ = writeln!(
                text,
                "Anonymous pulls are off (--allow-anonymous-pulls). Make a token, sign in with it, pull:\n\n  \
                 roadstead token create --group {DEFAULT_GROUP} --name first\n  docker login {host}\n  docker pull {image}"
            );
        }
        text
    }

    fn scheme(&self) -> &'static str {
        if self.dataplane.tls.is_some() { "https" } else { "http" }
    }

    fn registry_url(&self) -> String {
        match &self.dataplane.external_url {
            Some(url) => format!("{} (as {})", self.registry, url.as_str().trim_end_matches('/')),
            None => format!("{}://{}", self.scheme(), self.registry),
        }
    }

    /// What image names begin with: the external URL's host, or an address that works from this machine.
    fn registry_host(&self) -> String {
        if let Some(host) = self.dataplane.external_url.as_ref().and_then(host_with_port) {
            return host;
        }
        match self.registry {
            SocketAddr::V4(address) if address.ip().is_unspecified() => format!("127.0.0.1:{}", address.port()),
            SocketAddr::V6(address) if address.ip().is_unspecified() => format!("[::1]:{}", address.port()),
            address => address.to_string(),
        }
    }
}

/// Prints `text` once the server can serve; what keeps it from that is logged.
pub async fn once_ready(readiness: Readiness, text: String) {
    let mut waited = Duration::ZERO;
    while let Err(reason) = readiness().await {
        if waited == PATIENCE {
            warn!(reason, "not ready yet");
        }
        waited += POLL;
        sleep(POLL).await;
    }
    if let Err(failure) = output::print(&text) {
        warn!(%failure, "nobody reads what the server says at its start");
    }
}

fn host_with_port(url: &Url) -> Option<String> {
    let host = url.host_str()?;
    Some(url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}")))
}

#[cfg(test)]
mod tests;
