//! Settings of the ports that clients reach: the registry port, the control port, and that for other nodes. The metrics port
//! has bounds of its own.

use std::{fmt::Display, time::Duration};

use clap::Args;
use ipnet::IpNet;
use roadstead_dataplane::listener::{Limits, PortSettings, Timeouts};

use super::refuse::bad;
use crate::{
    failure::Failure,
    value_parsers::{LONGEST, duration_between, network},
};

const A_SECOND: Duration = Duration::from_secs(1);

/// Flags of the ports.
#[derive(Debug, Args)]
#[command(next_help_heading = "Connections")]
pub(super) struct PortFlags {
    /// Reverse proxy (address or CIDR network) whose X-Forwarded-* headers are trusted; may be repeated
    #[arg(long, env = "ROADSTEAD_TRUSTED_PROXY", value_name = "CIDR", value_delimiter = ',', value_parser = network)]
    trusted_proxy: Vec<IpNet>,
    /// Maximum connections to a port; at the bound, connections without a request are closed for new ones
    #[arg(long, env = "ROADSTEAD_MAX_CONNECTIONS", default_value = "10000", value_name = "NUMBER")]
    max_connections: usize,
    /// Maximum connections of one client (an IPv4 address, or an IPv6 network of 64 bits) to a port, at most half of
    /// --max-connections; trusted proxies are exempt
    #[arg(long, env = "ROADSTEAD_MAX_CONNECTIONS_PER_CLIENT", default_value = "1000", value_name = "NUMBER")]
    max_connections_per_client: usize,
    /// Maximum connections to a port that wait to be accepted; net.core.somaxconn may lower it
    #[arg(long, env = "ROADSTEAD_LISTEN_BACKLOG", default_value = "4096", value_name = "NUMBER")]
    listen_backlog: u32,
    /// Timeout for a TLS handshake, for the first request of a connection, and for a request's head
    #[arg(long, env = "ROADSTEAD_HEAD_TIMEOUT", default_value = "10s", value_name = "DURATION")]
    #[arg(value_parser = duration_between(A_SECOND, LONGEST))]
    head_timeout: Duration,
    /// Timeout for a request's whole body
    #[arg(long, env = "ROADSTEAD_BODY_TIMEOUT", default_value = "30s", value_name = "DURATION")]
    #[arg(value_parser = duration_between(A_SECOND, LONGEST))]
    body_timeout: Duration,
    /// Timeout for a connection without a request, and for an answer that the client does not read
    #[arg(long, env = "ROADSTEAD_IDLE_TIMEOUT", default_value = "60s", value_name = "DURATION")]
    #[arg(value_parser = duration_between(A_SECOND, LONGEST))]
    idle_timeout: Duration,
}

impl PortFlags {
    pub(super) fn check(self) -> Result<PortSettings, Failure> {
        let connections = at_least_one("--max-connections", self.max_connections)?;
        let per_client = at_least_one("--max-connections-per-client", self.max_connections_per_client)?;
        let limits = Limits {
            connections,
            // No client shuts the port to all others.
            per_client: per_client.min((connections / 2).max(1)),
            backlog: at_least_one("--listen-backlog", self.listen_backlog)?,
            ..Limits::default()
        };
        let timeouts = Timeouts {
            head: self.head_timeout,
            body: self.body_timeout,
            idle: self.idle_timeout,
            ..Timeouts::default()
        };
        Ok(PortSettings { limits, timeouts, trusted_proxies: self.trusted_proxy.into() })
    }
}

/// Fails unless the number is 1 at least.
pub(super) fn at_least_one<N: PartialOrd + From<u8> + Display>(flag: &str, value: N) -> Result<N, Failure> {
    if value < N::from(1) { Err(bad(flag, value, "must be at least 1")) } else { Ok(value) }
}
