//! Settings of a data-plane node.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use clap::{Args, ValueEnum};
use roadstead_dataplane::{
    AccessLog, DataplaneConfig, Mirrors,
    listener::{PortSettings, ServerTls, Timeouts, TlsFiles},
    upstream::UpstreamTimeouts,
};
use roadstead_proto::GroupPath;

use super::{
    peers::PeerFlags,
    ports::at_least_one,
    process::ProcessSettings,
    refuse::{bad, base_url},
    storage::StorageFlags,
};
use crate::{
    failure::Failure,
    value_parsers::{LONGEST, address, duration_between, mirror_host},
};

const A_MILLISECOND: Duration = Duration::from_millis(1);
const A_SECOND: Duration = Duration::from_secs(1);

/// Flags of the data plane.
#[derive(Debug, Args)]
#[command(next_help_heading = "Registry")]
pub(super) struct RegistryFlags {
    /// Address to serve registry traffic on
    #[arg(long, env = "ROADSTEAD_LISTEN", default_value = "127.0.0.1:7070", value_name = "ADDR")]
    #[arg(value_parser = address)]
    pub listen: SocketAddr,
    /// TLS certificate chain for registry traffic, a PEM file; needs --tls-key
    #[arg(long, env = "ROADSTEAD_TLS_CERT", value_name = "FILE")]
    tls_cert: Option<PathBuf>,
    /// Private key of --tls-cert, a PEM file
    #[arg(long, env = "ROADSTEAD_TLS_KEY", value_name = "FILE")]
    tls_key: Option<PathBuf>,
    /// URL of the registry in the auth challenge [default: the request's own scheme and Host]
    #[arg(long, env = "ROADSTEAD_EXTERNAL_URL", value_name = "URL")]
    external_url: Option<String>,
    #[command(flatten)]
    mirrors: MirrorFlags,
    /// Allow groups to serve pulls without sign-in [default: only on a loopback address without --external-url and
    /// --trusted-proxy]
    #[arg(long, env = "ROADSTEAD_ALLOW_ANONYMOUS_PULLS", value_name = "true|false")]
    allow_anonymous_pulls: Option<bool>,
    /// Name of this node at the control plane [default: the host name]
    #[arg(long, env = "ROADSTEAD_NODE_NAME", value_name = "NAME")]
    node_name: Option<String>,
    /// Maximum requests that wait for an upstream, the control plane or the disk; more are refused. Half of them are for
    /// signed-in callers, an eighth for pulls of cached content
    #[arg(long, env = "ROADSTEAD_MAX_REQUESTS", default_value = "4000", value_name = "NUMBER")]
    max_requests: usize,
    /// Write a line to the log for each refused and failed request (errors), also for each pull (pulls), or for each
    /// request (all)
    #[arg(long, env = "ROADSTEAD_ACCESS_LOG", value_enum, default_value = "errors", value_name = "WHICH")]
    access_log: AccessLogFlag,
    #[command(flatten)]
    timeouts: TimeoutFlags,
    #[command(flatten)]
    storage: StorageFlags,
    #[command(flatten)]
    peers: PeerFlags,
}

/// Which requests the access log has.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum AccessLogFlag {
    Off,
    Errors,
    Pulls,
    All,
}

impl From<AccessLogFlag> for AccessLog {
    fn from(flag: AccessLogFlag) -> Self {
        match flag {
            AccessLogFlag::Off => Self::Off,
            AccessLogFlag::Errors => Self::Errors,
            AccessLogFlag::Pulls => Self::Pulls,
            AccessLogFlag::All => Self::All,
        }
    }
}

/// Flags for image names without a group.
#[derive(Debug, Args)]
struct MirrorFlags {
    /// Serve names without a group (`/v2/library/alpine/…`), as Docker Engine's registry-mirrors requests them, from this group
    #[arg(long, env = "ROADSTEAD_MIRROR_GROUP", value_name = "PATH")]
    mirror_group: Option<GroupPath>,
    /// Serve such names from this group if the request is to this host name (HOST or HOST:PORT); may be repeated
    #[arg(long, env = "ROADSTEAD_MIRROR_HOST", value_name = "HOST=PATH", value_delimiter = ',')]
    #[arg(value_parser = mirror_host)]
    mirror_host: Vec<(String, GroupPath)>,
}

/// Flags for time limits.
#[derive(Debug, Args)]
struct TimeoutFlags {
    /// Longest wait of a stopping server for downloads in progress
    #[arg(long, env = "ROADSTEAD_DRAIN_TIMEOUT", default_value = "30s", value_name = "DURATION")]
    #[arg(value_parser = duration_between(Duration::ZERO, LONGEST))]
    drain_timeout: Duration,
    /// Longest time that pulls are served while the control plane is unreachable
    #[arg(long, env = "ROADSTEAD_MAX_CONTROL_OUTAGE", default_value = "15m", value_name = "DURATION")]
    #[arg(value_parser = duration_between(A_SECOND, LONGEST))]
    max_control_outage: Duration,
    /// Timeout for a connection to an upstream; at most 10m
    #[arg(long, env = "ROADSTEAD_UPSTREAM_CONNECT_TIMEOUT", default_value = "3s", value_name = "DURATION")]
    #[arg(value_parser = duration_between(A_MILLISECOND, UpstreamTimeouts::MAX))]
    upstream_connect_timeout: Duration,
    /// Timeout for the first byte of an upstream's answer; at most 10m
    #[arg(long, env = "ROADSTEAD_UPSTREAM_FIRST_BYTE_TIMEOUT", default_value = "5s", value_name = "DURATION")]
    #[arg(value_parser = duration_between(A_MILLISECOND, UpstreamTimeouts::MAX))]
    upstream_first_byte_timeout: Duration,
    /// Timeout for a pause within an upstream's answer; at most 10m
    #[arg(long, env = "ROADSTEAD_UPSTREAM_IDLE_TIMEOUT", default_value = "15s", value_name = "DURATION")]
    #[arg(value_parser = duration_between(A_MILLISECOND, UpstreamTimeouts::MAX))]
    upstream_idle_timeout: Duration,
    /// Longest wait of a cached tag for its upstream; after that the tag is served unconfirmed
    #[arg(long, env = "ROADSTEAD_REVALIDATE_TIMEOUT", default_value = "2s", value_name = "DURATION")]
    #[arg(value_parser = duration_between(A_MILLISECOND, LONGEST))]
    revalidate_timeout: Duration,
}

impl RegistryFlags {
    pub(super) fn peer_listener(&self) -> Option<(&'static str, SocketAddr)> {
        Some(("--peer-listen", self.peers.peer_listen?))
    }

    pub(super) fn check(self, process: &ProcessSettings) -> Result<DataplaneConfig, Failure> {
        let data_dir = process.data_dir.clone();
        let tls = match (self.tls_cert, self.tls_key) {
            (None, None) => None,
            (Some(cert), Some(key)) => {
                let files = TlsFiles { cert: ("--tls-cert", cert), key: ("--tls-key", key), client_ca: None };
                Some(ServerTls::load(files).map_err(Failure::usage)?)
            }
            (Some(cert), None) => return Err(bad("--tls-cert", cert.display(), "needs --tls-key too")),
            (None, Some(key)) => return Err(bad("--tls-key", key.display(), "needs --tls-cert too")),
        };
        let external_url = self.external_url.as_deref().map(|url| base_url("--external-url", url)).transpose()?;
        // Behind a proxy or a name of its own, clients come from anywhere, whatever the address is.
        let is_alone =
            self.listen.ip().is_loopback() && external_url.is_none() && process.ports.trusted_proxies.is_empty();
        let timeouts = self.timeouts;
        let drain = timeouts.drain_timeout;
        let port = PortSettings { timeouts: Timeouts { drain, ..process.ports.timeouts }, ..process.ports.clone() };
        Ok(DataplaneConfig {
            listen: self.listen,
            peers: self.peers.check()?,
            tls,
            external_url,
            port,
            mirrors: Mirrors::new(self.mirrors.mirror_group, self.mirrors.mirror_host),
            storage: self.storage.url(&data_dir)?,
            node_cache_bytes: self.storage.node_cache,
            redirect_blobs: self.storage.redirect_blobs,
            scrub_rate: self.storage.scrub_rate,
            allow_anonymous_pulls: self.allow_anonymous_pulls.unwrap_or(is_alone),
            access_log: self.access_log.into(),
            max_requests: at_least_one("--max-requests", self.max_requests)?,
            max_control_outage: timeouts.max_control_outage,
            revalidate_timeout: timeouts.revalidate_timeout,
            upstream: timeouts.upstream(),
            data_dir,
            node_name: node_name(self.node_name)?,
        })
    }
}

impl TimeoutFlags {
    fn upstream(&self) -> UpstreamTimeouts {
        UpstreamTimeouts::of(
            self.upstream_connect_timeout,
            self.upstream_first_byte_timeout,
            self.upstream_idle_timeout,
        )
    }
}

/// Returns the node's name: 1 to 255 characters without control characters, as protocol and log take it.
fn node_name(given: Option<String>) -> Result<String, Failure> {
    let Some(name) = given else {
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        return Ok(if host.is_empty() { DataplaneConfig::default().node_name } else { host });
    };
    if (1..=255).contains(&name.chars().count()) && !name.contains(char::is_control) {
        return Ok(name);
    }
    Err(bad("--node-name", name.escape_debug(), "must have 1 to 255 printable characters"))
}
