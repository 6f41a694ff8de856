//! The servers that are compared, each on a port and in a folder of its own, in front of the same origin.

mod docker_registry;
mod nginx;
mod roadstead;

use std::{fmt, net::TcpStream, path::Path, process::Command, time::Duration};

use anyhow::Result;
use clap::ValueEnum;
use docker_registry::DockerRegistry;
use nginx::Nginx;
use roadstead::Roadstead;
use roadstead_tests::process::Daemon;
use tokio::runtime::Handle;

use crate::{fetch::Access, origin::Origin, wrk::Ask};

/// Longest that a server may take to start.
const START_TIMEOUT: Duration = Duration::from_secs(20);

/// Which server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, ValueEnum)]
pub enum Kind {
    /// `roadstead serve`, with tokens.
    Roadstead,
    /// nginx with `proxy_cache` and its lock, without any authentication.
    Nginx,
    /// Debian's docker-registry in pull-through mode, without any authentication.
    DockerRegistry,
}

impl Kind {
    /// All, in the order of the table's columns and of each round.
    pub const ALL: [Self; 3] = [Self::Roadstead, Self::Nginx, Self::DockerRegistry];

    /// The programs that must be installed for it.
    pub fn program(self) -> Option<&'static str> {
        match self {
            Self::Roadstead => None,
            Self::Nginx => Some("nginx"),
            Self::DockerRegistry => Some("docker-registry"),
        }
    }

    /// Starts it with an empty cache.
    pub fn start(self, origin: &Origin, runtime: &Handle) -> Result<Target> {
        let server: Box<dyn Server> = match self {
            Self::Roadstead => Box::new(Roadstead::start(origin, runtime)?),
            Self::Nginx => Box::new(Nginx::start(origin, runtime)?),
            Self::DockerRegistry => Box::new(DockerRegistry::start(origin, runtime)?),
        };
        Ok(Target { kind: self, server })
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Roadstead => "roadstead",
            Self::Nginx => "nginx",
            Self::DockerRegistry => "docker-registry",
        })
    }
}

/// A running server. Dropping it stops it and removes what it stored.
pub struct Target {
    /// Which one.
    pub kind: Kind,
    server: Box<dyn Server>,
}

impl Target {
    /// Its (first) process.
    pub fn pid(&self) -> Result<u32> {
        self.server.pid()
    }

    /// Returns the target of requests to it, with a new token if it requires one.
    pub fn access(&self) -> Result<Access> {
        self.server.access()
    }

    /// The request by which a client gets a token; `None` where it needs none.
    pub fn sign_in(&self, credentials: Credentials) -> Option<Ask> {
        self.server.sign_in(credentials)
    }

    /// Lets tags be served for an hour without asking upstream. False if that is not to be set.
    pub fn set_max_age(&self) -> bool {
        self.server.set_max_age()
    }

    /// The calls to its control plane so far; `None` if it has none.
    pub fn calls(&self) -> Option<f64> {
        self.server.calls()
    }
}

/// The properties of a running server that the measures need.
trait Server {
    /// Its (first) process.
    fn pid(&self) -> Result<u32>;
    /// Returns the target of requests to it, with a new token if it requires one.
    fn access(&self) -> Result<Access>;

    /// See [`Target::sign_in`].
    fn sign_in(&self, _credentials: Credentials) -> Option<Ask> {
        None
    }

    /// See [`Target::set_max_age`].
    fn set_max_age(&self) -> bool {
        false
    }

    /// See [`Target::calls`].
    fn calls(&self) -> Option<f64> {
        None
    }
}

/// The credentials of a sign-in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Credentials {
    /// A deploy token.
    DeployToken,
    /// A user's name and password.
    Password,
}

/// Starts a peer and waits until it accepts connections.
fn start_peer(command: &mut Command, folder: &Path, access: &Access, runtime: &Handle) -> Daemon {
    let mut daemon = Daemon::spawn(command, &folder.join("log"));
    runtime.block_on(daemon.wait_for(START_TIMEOUT, async || TcpStream::connect(access.address).ok()));
    daemon
}
