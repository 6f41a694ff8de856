//! The banner that a server prints on stdout when it is ready: its addresses, and after the first start the first steps. Logs go
//! to stderr.

use std::{fmt::Write, net::SocketAddr, path::Path, time::Duration};

use roadstead_dataplane::DataplaneConfig;
use secrecy::{ExposeSecret, SecretString};
use tokio::time::sleep;
use tracing::warn;
use url::Url;

use crate::{metrics::Readiness, output};

/// Interval of the readiness checks.
const POLL: Duration = Duration::from_millis(20);
/// Time after which a server that is not ready logs the reason.
const PATIENCE: Duration = Duration::from_secs(5);

/// The default of `--control`.
const DEFAULT_CONTROL_URL: &str = "http://127.0.0.1:7071";

/// The group that a first start creates.
const DEFAULT_GROUP: &str = "default";

/// Returns the message with the administrator's token, which a first start creates if none was given.
pub fn admin_token(token: &SecretString, file: &Path) -> String {
    format!(
        "The administrator's token, created now and shown only once. Admin commands on this machine read it from\n\
         {}.\n\n    {}\n\n",
        file.display(),
        token.expose_secret()
    )
}

/// The bound addresses of a server with a registry.
pub struct Listening<'a> {
    /// Address of registry traffic.
    pub registry: SocketAddr,
    /// URL of the control port, if this process serves it.
    pub control: Option<String>,
    /// Address of metrics and probes.
    pub metrics: SocketAddr,
    /// Settings of the node.
    pub dataplane: &'a DataplaneConfig,
}

impl Listening<'_> {
    /// Returns one line, for every start but the first.
    pub fn short(&self) -> String {
        let control = self.control.as_ref().map(|url| format!("the control plane on {url}, ")).unwrap_or_default();
        format!("Roadstead serves the registry on {}, {control}metrics on {}.", self.registry_url(), self.metrics)
    }

    /// Returns the addresses and the first pull, for a first start.
    pub fn first(&self) -> String {
        let mut text = format!("Roadstead {} is ready.\n\n", env!("CARGO_PKG_VERSION"));
        let _ = writeln!(text, "  registry        {}", self.registry_url());
        if let Some(url) = &self.control {
            let hint = match url.as_str() {
                DEFAULT_CONTROL_URL => "try `roadstead group list`",
                url if url.starts_with("https") => "give admin commands this URL as --control, and --control-ca-file",
                _ => "give admin commands this URL as --control",
            };
            let _ = writeln!(text, "  control plane   {url}   (gRPC; {hint})");
        }
        let _ = writeln!(text, "  metrics         http://{}/metrics\n", self.metrics);
        let image = format!("{}/{DEFAULT_GROUP}/dependency_proxy/containers/alpine:latest", self.registry_host());
        if self.dataplane.allow_anonymous_pulls {
            let _ = writeln!(text, "Try a pull:\n\n  docker pull {image}");
        } else {
            let host = self.registry_host();
            let _ = writeln!(
                text,
                "Anonymous pulls are off (--allow-anonymous-pulls). Create a token, sign in with it, and pull:\n\n  \
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

    /// Returns the host of image names: the external URL's, or an address that works on this machine.
    fn registry_host(&self) -> String {
        if let Some(host) = self.dataplane.external_url.as_ref().and_then(host_with_port) {
            return host;
        }
        reachable(self.registry)
    }
}

/// Returns the URL by which this machine reaches a control port.
pub fn control_url(address: SocketAddr, has_tls: bool) -> String {
    format!("{}://{}", if has_tls { "https" } else { "http" }, reachable(address))
}

/// Returns an address that works on this machine.
fn reachable(address: SocketAddr) -> String {
    match address {
        SocketAddr::V4(address) if address.ip().is_unspecified() => format!("127.0.0.1:{}", address.port()),
        SocketAddr::V6(address) if address.ip().is_unspecified() => format!("[::1]:{}", address.port()),
        address => address.to_string(),
    }
}

/// Prints `text` when the server is ready; logs the reason if that takes long.
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
        warn!(%failure, "cannot print the banner");
    }
}

fn host_with_port(url: &Url) -> Option<String> {
    let host = url.host_str()?;
    Some(url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}")))
}

#[cfg(test)]
mod tests;
