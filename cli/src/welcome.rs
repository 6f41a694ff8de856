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
mod tests {
    use super::*;

    fn listening<'a>(dataplane: &'a DataplaneConfig, registry: &str) -> Listening<'a> {
        let address = |port| SocketAddr::from(([127, 0, 0, 1], port));
        Listening {
            registry: registry.parse().unwrap(),
            control: Some(address(7071)),
            metrics: address(7072),
            dataplane,
        }
    }

    #[test]
    fn a_first_start_says_where_it_listens_and_the_exact_pull() {
        let config = DataplaneConfig::default();
        let text = listening(&config, "127.0.0.1:7070").first();
        let expected = format!(
            "Roadstead {} is ready.\n\n  registry        http://127.0.0.1:7070\n  \
             control plane   http://127.0.0.1:7071   (gRPC; `roadstead group list` asks it)\n  \
             metrics         http://127.0.0.1:7072/metrics\n\nPull through it:\n\n  \
             docker pull 127.0.0.1:7070/default/dependency_proxy/containers/alpine:latest\n",
            env!("CARGO_PKG_VERSION")
        );
        assert_eq!(text, expected);
    }

    #[test]
    fn without_anonymous_pulls_the_way_leads_over_a_token() {
        let config = DataplaneConfig { allow_anonymous_pulls: false, ..DataplaneConfig::default() };
        let text = listening(&config, "0.0.0.0:7070").first();
        assert!(
            text.contains("roadstead token create --group default --name first\n  docker login 127.0.0.1:7070\n"),
            "{text}"
        );
    }

    #[test]
    fn image_names_begin_with_what_clients_see() {
        for (url, registry, host) in [
            (None, "192.0.2.1:7070", "192.0.2.1:7070"),
            (None, "[::]:7070", "[::1]:7070"),
            (Some("https://images.example"), "0.0.0.0:7070", "images.example"),
            (Some("http://images.example:8080"), "0.0.0.0:7070", "images.example:8080"),
        ] {
            let external_url = url.map(|url| Url::parse(url).unwrap());
            let config = DataplaneConfig { external_url, ..DataplaneConfig::default() };
            assert_eq!(listening(&config, registry).registry_host(), host);
        }
    }

    #[test]
    fn later_starts_say_it_in_a_line() {
        let config = DataplaneConfig::default();
        let line = "Roadstead serves the registry on http://127.0.0.1:7070, control plane on 127.0.0.1:7071, metrics on 127.0.0.1:7072.";
        assert_eq!(listening(&config, "127.0.0.1:7070").short(), line);
    }

    #[test]
    fn the_admin_token_is_said_with_its_file() {
        let text = admin_token(&"rs_adm_x".into(), Path::new("./roadstead-data/admin-token"));
        assert!(text.contains("    rs_adm_x\n") && text.contains("./roadstead-data/admin-token"), "{text}");
    }
}
