//! The checks: flags to settings, or the first thing that is wrong with them.

use std::{
    net::SocketAddr,
    ops::RangeInclusive,
    path::{self, Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use roadstead_control::{
    ControlConfig,
    rules::cache::watermark::{Level, Watermarks},
};
use roadstead_dataplane::{DataplaneConfig, Mirrors, ServerTls, StorageUrl, upstream::UpstreamTimeouts};
use rustls::ServerConfig;
use secrecy::{ExposeSecret, SecretString};
use tracing_subscriber::EnvFilter;
use url::Url;

use super::{
    ControlFlags, ControlSettings, DataplaneFlags, DataplaneSettings, ProcessSettings, ServeFlags, ServeSettings,
    control_tls,
    flags::{FactsFlags, ProcessFlags, RegistryFlags},
};
use crate::failure::Failure;

/// Longest any duration may be: enough for everybody, and sums with the clock stay in range.
const LONGEST: Duration = Duration::from_secs(10 * 365 * 86_400);
/// Longest wait for the database: no caller waits longer.
const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// Connections to PostgreSQL: one reads while another writes and a third looks for changes; no server wants more than
/// the most of one process.
const POOL_SIZES: RangeInclusive<u32> = 3..=1000;
/// Longest life of a registry token: a node remembers revocations for as long.
const LONGEST_REGISTRY_TOKEN: Duration = Duration::from_secs(86_400);
/// Shortest time that audit events are kept: less is no audit.
const SHORTEST_AUDIT: Duration = Duration::from_secs(86_400);
/// Chooses the administrator's token at a first start.
const ADMIN_TOKEN_VARIABLE: &str = "ROADSTEAD_ADMIN_TOKEN";

impl ServeFlags {
    /// Checks everything.
    pub fn check(self) -> Result<ServeSettings, Failure> {
        let listeners = [
            ("--listen", self.registry.listen),
            ("--control-listen", self.facts.control_listen),
            ("--metrics-listen", self.process.metrics_listen),
        ];
        apart(&listeners.into_iter().chain(self.registry.peer_listener()).collect::<Vec<_>>())?;
        let control_listen = self.facts.control_listen;
        let control_tls = self.facts.tls()?;
        let dataplane = self.registry.check(&self.process.data_dir)?;
        let control = self.facts.check(&self.process.data_dir)?;
        Ok(ServeSettings { process: self.process.check()?, control_listen, control_tls, control, dataplane })
    }
}

impl ControlFlags {
    /// Checks everything.
    pub fn check(self) -> Result<ControlSettings, Failure> {
        apart(&[("--control-listen", self.facts.control_listen), ("--metrics-listen", self.process.metrics_listen)])?;
        let control_listen = self.facts.control_listen;
        let control_tls = self.facts.tls()?;
        let control = self.facts.check(&self.process.data_dir)?;
        Ok(ControlSettings { process: self.process.check()?, control_listen, control_tls, control })
    }
}

impl DataplaneFlags {
    /// Checks everything.
    pub fn check(self) -> Result<DataplaneSettings, Failure> {
        let listeners = [("--listen", self.registry.listen), ("--metrics-listen", self.process.metrics_listen)];
        apart(&listeners.into_iter().chain(self.registry.peer_listener()).collect::<Vec<_>>())?;
        let token = self.node_token.expose_secret().trim();
        if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(Failure::usage(
                "--node-token: empty or not a token; make one with `roadstead token create --node --name NAME`",
            ));
        }
        let node_token = SecretString::from(token);
        let dataplane = self.registry.check(&self.process.data_dir)?;
        Ok(DataplaneSettings { process: self.process.check()?, dataplane, control_at: self.control, node_token })
    }
}

impl RegistryFlags {
    fn peer_listener(&self) -> Option<(&'static str, SocketAddr)> {
        Some(("--peer-listen", self.peers.peer_listen?))
    }

    fn check(self, data_dir: &Path) -> Result<DataplaneConfig, Failure> {
        let tls = match (self.tls_cert, self.tls_key) {
            (None, None) => None,
            (Some(cert), Some(key)) => Some(ServerTls::load(&cert, &key).map_err(Failure::usage)?),
            (Some(cert), None) => return Err(bad("--tls-cert", cert.display(), "needs --tls-key too")),
            (None, Some(key)) => return Err(bad("--tls-key", key.display(), "needs --tls-cert too")),
        };
        Ok(DataplaneConfig {
            listen: self.listen,
            peers: self.peers.check()?,
            tls,
            external_url: self.external_url.as_deref().map(external_url).transpose()?,
            trusted_proxies: self.trusted_proxy,
            mirrors: Mirrors::new(self.mirror_group, self.mirror_host),
            storage: storage(self.storage.as_deref(), self.s3_endpoint.as_deref(), self.redirect_blobs, data_dir)?,
            node_cache_bytes: self.node_cache,
            redirect_blobs: self.redirect_blobs,
            allow_anonymous_pulls: self.allow_anonymous_pulls.unwrap_or_else(|| self.listen.ip().is_loopback()),
            drain_timeout: within("--drain-timeout", self.drain_timeout, Duration::ZERO, LONGEST)?,
            max_control_outage: at_least_a_second("--max-control-outage", self.max_control_outage)?,
            revalidate_timeout: positive("--revalidate-timeout", self.revalidate_timeout)?,
            upstream: UpstreamTimeouts {
                connect: positive("--upstream-connect-timeout", self.upstream_connect_timeout)?,
                first_byte: positive("--upstream-first-byte-timeout", self.upstream_first_byte_timeout)?,
                body_idle: positive("--upstream-idle-timeout", self.upstream_idle_timeout)?,
                ..UpstreamTimeouts::default()
            },
            data_dir: data_dir.to_owned(),
            scrub_rate: self.scrub_rate,
            node_name: node_name(self.node_name)?,
            ..DataplaneConfig::default()
        })
    }
}

impl FactsFlags {
    fn tls(&self) -> Result<Option<Arc<ServerConfig>>, Failure> {
        match (&self.control_tls_cert, &self.control_tls_key, &self.control_client_ca) {
            (None, None, None) => Ok(None),
            (Some(cert), Some(key), client_ca) => control_tls::load(cert, key, client_ca.as_deref()).map(Some),
            (Some(cert), None, _) => Err(bad("--control-tls-cert", cert.display(), "needs --control-tls-key too")),
            (None, Some(key), _) => Err(bad("--control-tls-key", key.display(), "needs --control-tls-cert too")),
            (None, None, Some(ca)) => {
                Err(bad("--control-client-ca", ca.display(), "needs --control-tls-cert and --control-tls-key too"))
            }
        }
    }

    fn check(self, data_dir: &Path) -> Result<ControlConfig, Failure> {
        if let Some(url) = &self.database_url {
            database_url(url)?;
        }
        let lifetime = self.registry_token_lifetime;
        let admin_token = match std::env::var(ADMIN_TOKEN_VARIABLE) {
            Ok(token) if token.trim().is_empty() => None,
            Ok(token) => Some(SecretString::from(token.trim())),
            Err(std::env::VarError::NotPresent) => None,
            Err(error) => return Err(Failure::usage(format_args!("{ADMIN_TOKEN_VARIABLE}: {error}"))),
        };
        Ok(ControlConfig {
            data_dir: data_dir.to_owned(),
            database_url: self.database_url,
            database_pool_size: pool_size(self.database_pool_size)?,
            database_timeout: within(
                "--database-timeout",
                self.database_timeout,
                Duration::from_millis(100),
                LONGEST_WAIT,
            )?,
            secret_key: self.secret_key.into(),
            registry_token_lifetime: within(
                "--registry-token-lifetime",
                lifetime,
                Duration::from_secs(1),
                LONGEST_REGISTRY_TOKEN,
            )?,
            gc_grace: within("--gc-grace", self.gc_grace, Duration::ZERO, LONGEST)?,
            audit_retention: within("--audit-retention", self.audit_retention, SHORTEST_AUDIT, LONGEST)?,
            watermarks: watermarks(self.store_high_watermark, self.store_low_watermark, self.store_size)?,
            admin_token,
            bootstrap_node_token: self.bootstrap_node_token,
        })
    }
}

/// Between which fill levels the store is kept; the low one must not be above the high one.
fn watermarks(high: Option<Level>, low: Option<Level>, size: Option<i64>) -> Result<Option<Watermarks>, Failure> {
    let Some(high) = high else { return Ok(None) };
    let low = low.unwrap_or(match high {
        Level::Bytes(bytes) => Level::Bytes(bytes - bytes / 10),
        Level::Percent(percent) => Level::Percent(percent - percent / 10),
    });
    for (flag, level) in [("--store-high-watermark", high), ("--store-low-watermark", low)] {
        if level == Level::Bytes(0) {
            return Err(bad(flag, level, "would empty the store; leave it out for no bound"));
        }
    }
    let is_above = match (low, high) {
        (Level::Bytes(low), Level::Bytes(high)) => low > high,
        (Level::Percent(low), Level::Percent(high)) => low > high,
        _ => {
            let why = format!("must be a size if --store-high-watermark {high} is one, and a share if that is");
            return Err(bad("--store-low-watermark", low, why));
        }
    };
    if is_above {
        return Err(bad("--store-low-watermark", low, format!("must not be above --store-high-watermark {high}")));
    }
    if size == Some(0) {
        return Err(bad("--store-size", 0, "must be more than nothing"));
    }
    Ok(Some(Watermarks { high, low, store_bytes: size }))
}

impl ProcessFlags {
    fn check(self) -> Result<ProcessSettings, Failure> {
        let (flag, log) = match self.log {
            Some(log) => ("--log", log),
            None => {
                ("RUST_LOG", std::env::var("RUST_LOG").ok().filter(|log| !log.is_empty()).unwrap_or("info".to_owned()))
            }
        };
        EnvFilter::try_new(&log).map_err(|error| bad(flag, &log, error))?;
        Ok(ProcessSettings {
            metrics_listen: self.metrics_listen,
            data_dir: self.data_dir,
            log,
            log_format: self.log_format,
        })
    }
}

/// A flag, its value, and what is wrong with it.
pub(super) fn bad(flag: &str, value: impl std::fmt::Display, why: impl std::fmt::Display) -> Failure {
    Failure::usage(format_args!("{flag} {value}: {why}"))
}

/// No two listeners may ask for the same port of the same address.
fn apart(listeners: &[(&str, SocketAddr)]) -> Result<(), Failure> {
    for (index, (flag, address)) in listeners.iter().enumerate() {
        for (other_flag, other) in &listeners[..index] {
            let ip_taken = address.ip() == other.ip() || address.ip().is_unspecified() || other.ip().is_unspecified();
            if address.port() == other.port() && address.port() != 0 && ip_taken {
                return Err(bad(flag, address, format_args!("already taken by {other_flag} {other}")));
            }
        }
    }
    Ok(())
}

fn within(flag: &str, value: Duration, least: Duration, most: Duration) -> Result<Duration, Failure> {
    let show = humantime::format_duration;
    match value {
        _ if value < least => Err(bad(flag, show(value), format_args!("must be at least {}", show(least)))),
        _ if value > most => Err(bad(flag, show(value), format_args!("must be at most {}", show(most)))),
        _ => Ok(value),
    }
}

fn positive(flag: &str, value: Duration) -> Result<Duration, Failure> {
    within(flag, value, Duration::from_millis(1), LONGEST)
}

fn at_least_a_second(flag: &str, value: Duration) -> Result<Duration, Failure> {
    within(flag, value, Duration::from_secs(1), LONGEST)
}

fn external_url(text: &str) -> Result<Url, Failure> {
    let flag = "--external-url";
    let expected = "expected https://HOST[:PORT] or http://HOST[:PORT]";
    let url = Url::parse(text).map_err(|error| bad(flag, text, format_args!("{error}; {expected}")))?;
    let bare = url.path() == "/" && url.query().is_none() && url.fragment().is_none();
    let anonymous = url.username().is_empty() && url.password().is_none();
    if matches!(url.scheme(), "http" | "https") && url.has_host() && bare && anonymous {
        return Ok(url);
    }
    Err(bad(flag, if anonymous { text } else { "(with credentials)" }, expected))
}

fn storage(
    text: Option<&str>,
    s3_endpoint: Option<&str>,
    redirect_blobs: bool,
    data_dir: &Path,
) -> Result<StorageUrl, Failure> {
    let url = match text {
        Some(text) => storage_url("--storage", text, s3_endpoint)?,
        None => StorageUrl::Local(absolute("--data-dir", data_dir)?.join("blobs")),
    };
    match (&url, s3_endpoint) {
        (StorageUrl::Local(_), _) if redirect_blobs => {
            Err(bad("--redirect-blobs", true, "needs --storage s3://…, gs://… or az://…"))
        }
        (StorageUrl::Object(store), _) if store.url.scheme() == "s3" => Ok(url),
        (_, Some(endpoint)) => Err(bad("--s3-endpoint", endpoint, "needs --storage s3://BUCKET[/PREFIX]")),
        _ => Ok(url),
    }
}

/// The URL of a store, with the endpoint if it is an S3.
pub fn storage_url(flag: &str, text: &str, s3_endpoint: Option<&str>) -> Result<StorageUrl, Failure> {
    let mut storage = text.parse().map_err(|error| {
        // What is wrong with it may be that there is a password in it.
        bad(flag, if text.contains('@') { "(with credentials)" } else { text }, error)
    })?;
    if let (StorageUrl::Object(store), Some(endpoint)) = (&mut storage, s3_endpoint)
        && store.url.scheme() == "s3"
    {
        let expected = "expected http://HOST[:PORT] or https://HOST[:PORT]";
        let parsed = Url::parse(endpoint);
        let parsed = parsed.map_err(|error| bad("--s3-endpoint", endpoint, format_args!("{error}; {expected}")))?;
        let bare = parsed.query().is_none() && parsed.username().is_empty() && parsed.password().is_none();
        if !matches!(parsed.scheme(), "http" | "https") || !parsed.has_host() || !bare {
            return Err(bad("--s3-endpoint", if bare { endpoint } else { "(with credentials)" }, expected));
        }
        store.endpoint = Some(parsed);
    }
    Ok(storage)
}

fn database_url(url: &str) -> Result<(), Failure> {
    let scheme = url.split_once("://").map(|(scheme, _)| scheme);
    match scheme {
        Some("sqlite") if url.len() > "sqlite://".len() => Ok(()),
        // The rest of the URL holds a password more often than not; it is checked where the database is opened.
        Some("postgres" | "postgresql") => Ok(()),
        Some(scheme) => {
            Err(bad("--database-url", format_args!("{scheme}://…"), "expected sqlite://PATH or postgres://…"))
        }
        // Whatever it is, it may hold a password.
        None => Err(bad("--database-url", "(not a URL)", "expected sqlite://PATH or postgres://…")),
    }
}

fn pool_size(connections: u32) -> Result<u32, Failure> {
    if POOL_SIZES.contains(&connections) {
        return Ok(connections);
    }
    Err(bad("--database-pool-size", connections, "must be between 3 and 1000"))
}

fn absolute(flag: &str, path: &Path) -> Result<PathBuf, Failure> {
    path::absolute(path).map_err(|error| bad(flag, path.display(), error))
}

/// As protocol and log take it: 1 to 255 characters, none of them a control character.
fn node_name(given: Option<String>) -> Result<String, Failure> {
    let Some(name) = given else {
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        return Ok(if host.is_empty() { DataplaneConfig::default().node_name } else { host });
    };
    let good = (1..=255).contains(&name.chars().count()) && !name.contains(char::is_control);
    if good {
        Ok(name)
    } else {
        Err(bad("--node-name", name.escape_debug(), "must have 1 to 255 printable characters"))
    }
}

#[cfg(test)]
mod tests;
