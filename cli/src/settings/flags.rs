//! The servers' flags. Every one has an environment variable `ROADSTEAD_<FLAG>`.

use std::{
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use clap::{Args, ValueEnum};
use ipnet::IpNet;
use roadstead_control::rules::cache::watermark::{Level, bytes_of};
use roadstead_proto::GroupPath;
use secrecy::SecretString;

use super::{peers::PeerFlags, secret_key::SecretKeyFlags};
use crate::{
    commands::{bytes, duration},
    connect::ControlAt,
};

/// Run the whole proxy in one process: the control plane and a data-plane node
#[derive(Debug, Args)]
#[command(after_help = "Example:
  roadstead serve
  docker pull 127.0.0.1:7070/default/dependency_proxy/containers/alpine:latest

Set ROADSTEAD_ADMIN_TOKEN at the first start to choose the administrator's token; otherwise one is made and written to
DIR/admin-token. SIGTERM and SIGINT stop the server once downloads under way are finished; a second one stops it at once.")]
pub struct ServeFlags {
    #[command(flatten)]
    pub(super) registry: RegistryFlags,
    #[command(flatten)]
    pub(super) facts: FactsFlags,
    #[command(flatten)]
    pub(super) process: ProcessFlags,
}

/// Run one control-plane replica
#[derive(Debug, Args)]
#[command(after_help = "Example:
  roadstead control --data-dir /var/lib/roadstead
  roadstead token create --node --name node-1 --data-dir /var/lib/roadstead")]
pub struct ControlFlags {
    #[command(flatten)]
    pub(super) facts: FactsFlags,
    #[command(flatten)]
    pub(super) process: ProcessFlags,
}

/// Run one data-plane node
#[derive(Debug, Args)]
#[command(after_help = "Example:
  ROADSTEAD_NODE_TOKEN=rs_node_… roadstead dataplane --control https://control.example --listen 0.0.0.0:7070
  ROADSTEAD_NODE_TOKEN=rs_node_… roadstead dataplane --control https://c1.example:7071,https://c2.example:7071 \
    --control-ca-file ca.pem --control-client-cert node.pem --control-client-key node.key")]
pub struct DataplaneFlags {
    #[command(flatten)]
    pub(super) control: ControlAt,
    /// The node's credential at the control plane (`roadstead token create --node`)
    #[arg(long, env = "ROADSTEAD_NODE_TOKEN", hide_env_values = true, value_name = "TOKEN", required = true)]
    pub(super) node_token: SecretString,
    #[command(flatten)]
    pub(super) registry: RegistryFlags,
    #[command(flatten)]
    pub(super) process: ProcessFlags,
}

/// Flags of the data plane.
#[derive(Debug, Args)]
#[command(next_help_heading = "Registry")]
pub(super) struct RegistryFlags {
    /// Where registry traffic is served
    #[arg(long, env = "ROADSTEAD_LISTEN", default_value = "127.0.0.1:7070", value_name = "ADDR")]
    #[arg(value_parser = address)]
    pub listen: SocketAddr,
    /// Certificate chain for TLS, a PEM file; needs --tls-key
    #[arg(long, env = "ROADSTEAD_TLS_CERT", value_name = "FILE")]
    pub tls_cert: Option<PathBuf>,
    /// Private key of --tls-cert, a PEM file
    #[arg(long, env = "ROADSTEAD_TLS_KEY", value_name = "FILE")]
    pub tls_key: Option<PathBuf>,
    /// What clients see in the auth challenge [default: the request's own scheme and Host]
    #[arg(long, env = "ROADSTEAD_EXTERNAL_URL", value_name = "URL")]
    pub external_url: Option<String>,
    /// A proxy in front (an address, or a network as CIDR) whose X-Forwarded-For names the client; may be repeated
    #[arg(long, env = "ROADSTEAD_TRUSTED_PROXY", value_name = "CIDR", value_delimiter = ',', value_parser = network)]
    pub trusted_proxy: Vec<IpNet>,
    /// Answer bare names (`/v2/library/alpine/…`), as Docker Engine's registry-mirrors asks for them, from this group
    #[arg(long, env = "ROADSTEAD_MIRROR_GROUP", value_name = "PATH")]
    pub mirror_group: Option<GroupPath>,
    /// The same for requests to this host name only (HOST or HOST:PORT); may be repeated
    #[arg(long, env = "ROADSTEAD_MIRROR_HOST", value_name = "HOST=PATH", value_delimiter = ',')]
    #[arg(value_parser = mirror_host)]
    pub mirror_host: Vec<(String, GroupPath)>,
    /// Where blobs are kept: file:///ABSOLUTE/PATH, or s3://BUCKET[/PREFIX], which nodes may share, or
    /// gs://BUCKET[/PREFIX] or az://CONTAINER[/PREFIX] (both untested by us); credentials as AWS_*, GOOGLE_*, AZURE_* variables [default: file://DIR/blobs]
    #[arg(long, env = "ROADSTEAD_STORAGE", value_name = "URL")]
    pub storage: Option<String>,
    /// Another S3 than Amazon's, for example http://127.0.0.1:9000 [default: AWS_ENDPOINT_URL]
    #[arg(long, env = "ROADSTEAD_S3_ENDPOINT", value_name = "URL")]
    pub s3_endpoint: Option<String>,
    /// Most that is kept on this node's disk of blobs in an object store; 0 for nothing
    #[arg(long, env = "ROADSTEAD_NODE_CACHE", default_value = "10GiB", value_name = "SIZE", value_parser = bytes)]
    pub node_cache: u64,
    /// Send clients to the object store for blobs, by URLs that are good for minutes
    #[arg(long, env = "ROADSTEAD_REDIRECT_BLOBS", value_name = "true|false", default_value = "false")]
    #[arg(num_args = 0..=1, default_missing_value = "true", action = clap::ArgAction::Set)]
    pub redirect_blobs: bool,
    /// Whether groups may admit pulls without signing in [default: only while listening on loopback]
    #[arg(long, env = "ROADSTEAD_ALLOW_ANONYMOUS_PULLS", value_name = "true|false")]
    pub allow_anonymous_pulls: Option<bool>,
    /// The node's name in the control plane's log [default: the host's name]
    #[arg(long, env = "ROADSTEAD_NODE_NAME", value_name = "NAME")]
    pub node_name: Option<String>,
    /// How fast stored blobs are read and hashed in the background, a second; 0 switches that off
    #[arg(long, env = "ROADSTEAD_SCRUB_RATE", default_value = "20MiB", value_name = "BYTES")]
    #[arg(value_parser = bytes)]
    pub scrub_rate: u64,
    /// How long a stop waits for downloads under way
    #[arg(long, env = "ROADSTEAD_DRAIN_TIMEOUT", default_value = "30s", value_name = "DURATION")]
    #[arg(value_parser = duration)]
    pub drain_timeout: Duration,
    /// How long pulls go on without word from the control plane
    #[arg(long, env = "ROADSTEAD_MAX_CONTROL_OUTAGE", default_value = "15m", value_name = "DURATION")]
    #[arg(value_parser = duration)]
    pub max_control_outage: Duration,
    /// How long a connection to an upstream may take
    #[arg(long, env = "ROADSTEAD_UPSTREAM_CONNECT_TIMEOUT", default_value = "3s", value_name = "DURATION")]
    #[arg(value_parser = duration)]
    pub upstream_connect_timeout: Duration,
    /// How long an upstream may take to begin its answer
    #[arg(long, env = "ROADSTEAD_UPSTREAM_FIRST_BYTE_TIMEOUT", default_value = "5s", value_name = "DURATION")]
    #[arg(value_parser = duration)]
    pub upstream_first_byte_timeout: Duration,
    /// How long an upstream may pause within its answer
    #[arg(long, env = "ROADSTEAD_UPSTREAM_IDLE_TIMEOUT", default_value = "15s", value_name = "DURATION")]
    #[arg(value_parser = duration)]
    pub upstream_idle_timeout: Duration,
    /// How long a cached tag waits for its upstream before it is served unconfirmed
    #[arg(long, env = "ROADSTEAD_REVALIDATE_TIMEOUT", default_value = "2s", value_name = "DURATION")]
    #[arg(value_parser = duration)]
    pub revalidate_timeout: Duration,
    #[command(flatten)]
    pub peers: PeerFlags,
}

/// Flags of the control plane.
#[derive(Debug, Args)]
#[command(next_help_heading = "Control plane")]
pub(super) struct FactsFlags {
    /// Where gRPC is served, to admin commands and to nodes
    #[arg(long, env = "ROADSTEAD_CONTROL_LISTEN", default_value = "127.0.0.1:7071", value_name = "ADDR")]
    #[arg(value_parser = address)]
    pub control_listen: SocketAddr,
    /// Certificate chain of the control port, gRPC, REST and console alike, a PEM file; needs --control-tls-key
    #[arg(long, env = "ROADSTEAD_CONTROL_TLS_CERT", value_name = "FILE")]
    pub control_tls_cert: Option<PathBuf>,
    /// Private key of --control-tls-cert, a PEM file
    #[arg(long, env = "ROADSTEAD_CONTROL_TLS_KEY", value_name = "FILE")]
    pub control_tls_key: Option<PathBuf>,
    /// Serve the control port to those only who show a certificate of these authorities, a PEM file; needs --control-tls-cert
    #[arg(long, env = "ROADSTEAD_CONTROL_CLIENT_CA", value_name = "FILE")]
    pub control_client_ca: Option<PathBuf>,
    /// Where facts are kept: sqlite://PATH, or postgres://USER:PASSWORD@HOST/DATABASE, which several replicas may share
    /// [default: sqlite://DIR/control.db]
    #[arg(long, env = "ROADSTEAD_DATABASE_URL", hide_env_values = true, value_name = "URL")]
    pub database_url: Option<String>,
    /// Most connections to PostgreSQL
    #[arg(long, env = "ROADSTEAD_DATABASE_POOL_SIZE", default_value = "10", value_name = "NUMBER")]
    pub database_pool_size: u32,
    /// How long a call waits for the database, and after how long a silent database counts as gone
    #[arg(long, env = "ROADSTEAD_DATABASE_TIMEOUT", default_value = "5s", value_name = "DURATION")]
    #[arg(value_parser = duration)]
    pub database_timeout: Duration,
    #[command(flatten)]
    pub secret_key: SecretKeyFlags,
    /// A node token to take from the start, 32 characters or more, so that nodes can be deployed along with the control plane
    #[arg(long, env = "ROADSTEAD_BOOTSTRAP_NODE_TOKEN", hide_env_values = true, value_name = "TOKEN")]
    pub bootstrap_node_token: Option<SecretString>,
    /// How long a token of /jwt/auth is good
    #[arg(long, env = "ROADSTEAD_REGISTRY_TOKEN_LIFETIME", default_value = "15m", value_name = "DURATION")]
    #[arg(value_parser = duration)]
    pub registry_token_lifetime: Duration,
    /// How long bytes are kept that no group refers to
    #[arg(long, env = "ROADSTEAD_GC_GRACE", default_value = "1h", value_name = "DURATION")]
    #[arg(value_parser = duration)]
    pub gc_grace: Duration,
    /// How long it is kept who changed what and who was refused
    #[arg(long, env = "ROADSTEAD_AUDIT_RETENTION", default_value = "400d", value_name = "DURATION")]
    #[arg(value_parser = duration)]
    pub audit_retention: Duration,
    /// How full the store may be, of its size or in bytes: beyond that the least recently pulled images of all groups go, down
    /// to --store-low-watermark [default: no bound]
    #[arg(long, env = "ROADSTEAD_STORE_HIGH_WATERMARK", value_name = "PERCENT|SIZE")]
    pub store_high_watermark: Option<Level>,
    /// How full the store is then [default: nine tenths of --store-high-watermark]
    #[arg(long, env = "ROADSTEAD_STORE_LOW_WATERMARK", value_name = "PERCENT|SIZE", requires = "store_high_watermark")]
    pub store_low_watermark: Option<Level>,
    /// What the watermarks are percentages of [default: the smallest store that a node reports]
    #[arg(long, env = "ROADSTEAD_STORE_SIZE", value_name = "SIZE", value_parser = bytes_of)]
    #[arg(requires = "store_high_watermark")]
    pub store_size: Option<i64>,
}

/// Flags of every server.
#[derive(Debug, Args)]
#[command(next_help_heading = "Process")]
pub(super) struct ProcessFlags {
    /// Where /metrics, /livez and /readyz are served
    #[arg(long, env = "ROADSTEAD_METRICS_LISTEN", default_value = "127.0.0.1:7072", value_name = "ADDR")]
    #[arg(value_parser = address)]
    pub metrics_listen: SocketAddr,
    /// Where everything embedded lives; created with mode 0700
    #[arg(long, env = "ROADSTEAD_DATA_DIR", default_value = "./roadstead-data", value_name = "DIR")]
    pub data_dir: PathBuf,
    /// What to log: a level, or directives such as info,roadstead_dataplane=debug [default: RUST_LOG, or info]
    #[arg(long, env = "ROADSTEAD_LOG", value_name = "FILTER")]
    pub log: Option<String>,
    /// How to log
    #[arg(long, env = "ROADSTEAD_LOG_FORMAT", value_enum, default_value = "human", value_name = "FORMAT")]
    pub log_format: LogFormat,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// Text for people
    Human,
    /// One JSON object a line
    Json,
}

/// `HOST=PATH` or `HOST:PORT=PATH`.
fn mirror_host(text: &str) -> Result<(String, GroupPath), String> {
    let (host, path) = text.split_once('=').ok_or("expected HOST=PATH, for example mirror.example=acme/hub")?;
    let is_host = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | ':' | '[' | ']');
    if host.is_empty() || !host.chars().all(is_host) {
        return Err(format!("{host:?} is not a host name"));
    }
    Ok((host.to_owned(), path.parse().map_err(|error| format!("{error}"))?))
}

/// An address stands for itself alone.
fn network(text: &str) -> Result<IpNet, String> {
    let address = text.parse().map(|address: IpAddr| IpNet::from(address));
    address.or_else(|_| text.parse()).map_err(|_| "expected ADDRESS or ADDRESS/BITS, for example 10.0.0.0/8".to_owned())
}

pub(super) fn address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| "expected IP:PORT, for example 127.0.0.1:7070, 0.0.0.0:7070 or [::1]:7070".to_owned())
}

#[cfg(test)]
mod tests;
