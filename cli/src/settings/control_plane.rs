//! Settings of a control-plane replica.

use std::{
    net::SocketAddr,
    ops::RangeInclusive,
    path::{Path, PathBuf},
    time::Duration,
};

use clap::Args;
use roadstead_control::{
    ControlConfig,
    rules::cache::watermark::{Level, Watermarks},
};
use roadstead_dataplane::listener::{ServerTls, TlsFiles};
use secrecy::SecretString;

use super::{
    limits::{CountLimitFlags, SettingsLimitFlags, limits},
    refuse::bad,
    secret_key::SecretKeyFlags,
};
use crate::{
    failure::Failure,
    value_parsers::{LONGEST, address, duration_between, level, size_i64},
};

/// Shortest time limit for the database.
const SHORTEST_WAIT: Duration = Duration::from_millis(100);
/// Longest wait for the database: callers give up after that.
const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// Connections to PostgreSQL: one reads, one writes and one looks for changes at the same time; a single process cannot use
/// more than the most.
const POOL_SIZES: RangeInclusive<i64> = 3..=1000;
/// Longest lifetime of a registry token: nodes remember revocations for as long.
const LONGEST_REGISTRY_TOKEN: Duration = Duration::from_secs(86_400);
/// Shortest time for which audit records are kept.
const SHORTEST_AUDIT: Duration = Duration::from_secs(86_400);
/// Environment variable that chooses the administrator's token at a first start.
const ADMIN_TOKEN_VARIABLE: &str = "ROADSTEAD_ADMIN_TOKEN";

/// Flags of the control plane.
#[derive(Debug, Args)]
#[command(next_help_heading = "Control plane")]
pub(super) struct ControlPlaneFlags {
    /// Address to serve the control port on: gRPC for admin commands and nodes, and the REST calls
    #[arg(long, env = "ROADSTEAD_CONTROL_LISTEN", default_value = "127.0.0.1:7071", value_name = "ADDR")]
    #[arg(value_parser = address)]
    pub control_listen: SocketAddr,
    #[command(flatten)]
    tls: TlsFlags,
    #[command(flatten)]
    database: DatabaseFlags,
    #[command(flatten)]
    secret_key: SecretKeyFlags,
    /// Node token (32 characters or more) to accept from the first start on, so that nodes can be deployed along with the
    /// control plane
    #[arg(long, env = "ROADSTEAD_BOOTSTRAP_NODE_TOKEN", hide_env_values = true, value_name = "TOKEN")]
    bootstrap_node_token: Option<SecretString>,
    /// Lifetime of the registry tokens that /jwt/auth issues
    #[arg(long, env = "ROADSTEAD_REGISTRY_TOKEN_LIFETIME", default_value = "15m", value_name = "DURATION")]
    #[arg(value_parser = duration_between(Duration::from_secs(1), LONGEST_REGISTRY_TOKEN))]
    registry_token_lifetime: Duration,
    /// Time for which bytes are kept that no group links to
    #[arg(long, env = "ROADSTEAD_GC_GRACE", default_value = "1h", value_name = "DURATION")]
    #[arg(value_parser = duration_between(Duration::ZERO, LONGEST))]
    gc_grace: Duration,
    /// Time for which audit records are kept
    #[arg(long, env = "ROADSTEAD_AUDIT_RETENTION", default_value = "400d", value_name = "DURATION")]
    #[arg(value_parser = duration_between(SHORTEST_AUDIT, LONGEST))]
    audit_retention: Duration,
    #[command(flatten)]
    watermarks: WatermarkFlags,
    #[command(flatten)]
    settings_limits: SettingsLimitFlags,
    #[command(flatten)]
    count_limits: CountLimitFlags,
}

/// Flags for TLS on the control port.
#[derive(Debug, Args)]
struct TlsFlags {
    /// TLS certificate chain of the control port, a PEM file; needs --control-tls-key
    #[arg(long, env = "ROADSTEAD_CONTROL_TLS_CERT", value_name = "FILE")]
    control_tls_cert: Option<PathBuf>,
    /// Private key of --control-tls-cert, a PEM file
    #[arg(long, env = "ROADSTEAD_CONTROL_TLS_KEY", value_name = "FILE")]
    control_tls_key: Option<PathBuf>,
    /// Require client certificates signed by these CAs, a PEM file; needs --control-tls-cert
    #[arg(long, env = "ROADSTEAD_CONTROL_CLIENT_CA", value_name = "FILE")]
    control_client_ca: Option<PathBuf>,
}

/// Flags of the database.
#[derive(Debug, Args)]
struct DatabaseFlags {
    /// Database: sqlite://PATH, or postgres://USER:PASSWORD@HOST/DATABASE, which several replicas can share [default:
    /// sqlite://DIR/control.db]
    #[arg(long, env = "ROADSTEAD_DATABASE_URL", hide_env_values = true, value_name = "URL")]
    database_url: Option<String>,
    /// Maximum number of connections to PostgreSQL
    #[arg(long, env = "ROADSTEAD_DATABASE_POOL_SIZE", default_value = "10", value_name = "NUMBER")]
    #[arg(value_parser = clap::value_parser!(u32).range(POOL_SIZES))]
    database_pool_size: u32,
    /// Longest wait of a call for the database; a database that is silent for longer counts as unavailable
    #[arg(long, env = "ROADSTEAD_DATABASE_TIMEOUT", default_value = "5s", value_name = "DURATION")]
    #[arg(value_parser = duration_between(SHORTEST_WAIT, LONGEST_WAIT))]
    database_timeout: Duration,
}

/// Flags that bound the store.
#[derive(Debug, Args)]
struct WatermarkFlags {
    /// Fill level of the store, as a percentage or a size, above which the least recently pulled images of all groups are
    /// evicted [default: no limit]
    #[arg(long, env = "ROADSTEAD_STORE_HIGH_WATERMARK", value_name = "PERCENT|SIZE", value_parser = level)]
    store_high_watermark: Option<Level>,
    /// Fill level down to which they are evicted [default: nine tenths of --store-high-watermark]
    #[arg(long, env = "ROADSTEAD_STORE_LOW_WATERMARK", value_name = "PERCENT|SIZE", value_parser = level)]
    #[arg(requires = "store_high_watermark")]
    store_low_watermark: Option<Level>,
    /// Size of the store, which percentages refer to [default: the smallest store that a node reports]
    #[arg(long, env = "ROADSTEAD_STORE_SIZE", value_name = "SIZE", value_parser = size_i64)]
    #[arg(requires = "store_high_watermark")]
    store_size: Option<i64>,
}

impl ControlPlaneFlags {
    /// Returns the control port's TLS settings; `None` is plain HTTP.
    pub(super) fn tls(&self) -> Result<Option<ServerTls>, Failure> {
        match (&self.tls.control_tls_cert, &self.tls.control_tls_key, &self.tls.control_client_ca) {
            (None, None, None) => Ok(None),
            (Some(cert), Some(key), client_ca) => {
                let files = TlsFiles {
                    cert: ("--control-tls-cert", cert.clone()),
                    key: ("--control-tls-key", key.clone()),
                    client_ca: client_ca.clone().map(|ca| ("--control-client-ca", ca)),
                };
                ServerTls::load(files).map(Some).map_err(Failure::usage)
            }
            (Some(cert), None, _) => Err(bad("--control-tls-cert", cert.display(), "needs --control-tls-key too")),
            (None, Some(key), _) => Err(bad("--control-tls-key", key.display(), "needs --control-tls-cert too")),
            (None, None, Some(ca)) => {
                Err(bad("--control-client-ca", ca.display(), "needs --control-tls-cert and --control-tls-key too"))
            }
        }
    }

    pub(super) fn check(self, data_dir: &Path) -> Result<ControlConfig, Failure> {
        let database = self.database;
        if let Some(url) = &database.database_url {
            database_url(url)?;
        }
        Ok(ControlConfig {
            data_dir: data_dir.to_owned(),
            database_url: database.database_url,
            database_pool_size: database.database_pool_size,
            database_timeout: database.database_timeout,
            secret_key: self.secret_key.into(),
            registry_token_lifetime: self.registry_token_lifetime,
            gc_grace: self.gc_grace,
            audit_retention: self.audit_retention,
            watermarks: self.watermarks.check()?,
            limits: limits(&self.settings_limits, &self.count_limits),
            admin_token: admin_token()?,
            bootstrap_node_token: self.bootstrap_node_token,
        })
    }
}

impl WatermarkFlags {
    /// Fails if the low watermark is above the high one, or of the other kind.
    fn check(self) -> Result<Option<Watermarks>, Failure> {
        let Some(high) = self.store_high_watermark else { return Ok(None) };
        let low = self.store_low_watermark.unwrap_or(match high {
            Level::Bytes(bytes) => Level::Bytes(bytes - bytes / 10),
            Level::Percent(percent) => Level::Percent(percent - percent / 10),
        });
        for (flag, level) in [("--store-high-watermark", high), ("--store-low-watermark", low)] {
            if level == Level::Bytes(0) {
                return Err(bad(flag, level, "would empty the store; leave it out for no limit"));
            }
        }
        let is_above = match (low, high) {
            (Level::Bytes(low), Level::Bytes(high)) => low > high,
            (Level::Percent(low), Level::Percent(high)) => low > high,
            _ => {
                let why = format!("must be a size or a percentage, as --store-high-watermark {high} is");
                return Err(bad("--store-low-watermark", low, why));
            }
        };
        if is_above {
            return Err(bad("--store-low-watermark", low, format!("must not be above --store-high-watermark {high}")));
        }
        if self.store_size == Some(0) {
            return Err(bad("--store-size", 0, "must be more than 0"));
        }
        Ok(Some(Watermarks { high, low, store_bytes: self.store_size }))
    }
}

fn admin_token() -> Result<Option<SecretString>, Failure> {
    match std::env::var(ADMIN_TOKEN_VARIABLE) {
        Ok(token) if token.trim().is_empty() => Ok(None),
        Ok(token) => Ok(Some(SecretString::from(token.trim()))),
        Err(std::env::VarError::NotPresent) => Ok(None),
        Err(error) => Err(Failure::usage(format_args!("{ADMIN_TOKEN_VARIABLE}: {error}"))),
    }
}

fn database_url(url: &str) -> Result<(), Failure> {
    let scheme = url.split_once("://").map(|(scheme, _)| scheme);
    match scheme {
        Some("sqlite") if url.len() > "sqlite://".len() => Ok(()),
        // The rest of the URL often contains a password; it is checked where the database is opened.
        Some("postgres" | "postgresql") => Ok(()),
        Some(scheme) => {
            Err(bad("--database-url", format_args!("{scheme}://…"), "expected sqlite://PATH or postgres://…"))
        }
        // It may contain a password.
        None => Err(bad("--database-url", "(not a URL)", "expected sqlite://PATH or postgres://…")),
    }
}
