//! The control replica that is measured.

use std::{fs, net::SocketAddr, process::Command, time::Duration};

use clap::ValueEnum;
use roadstead_tests::{
    api::Api, client, cluster::executable, ports::free_address, postgres::Postgres, process::Daemon,
};
use tempfile::TempDir;

use crate::usage;

/// The database.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Database {
    /// A file.
    Sqlite,
    /// A server on the same machine.
    Postgres,
}

impl Database {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Sqlite, Self::Postgres];
}

/// `roadstead control` with a database of its own. Dropping it ends it.
pub struct Replica {
    daemon: Daemon,
    address: SocketAddr,
    token: String,
    postgres: Option<Postgres>,
    folder: TempDir,
}

impl Replica {
    /// Starts it; ready.
    pub async fn start(database: Database) -> Self {
        let folder = tempfile::Builder::new().prefix("roadstead-watch-").tempdir().unwrap();
        let (address, metrics) = (free_address(), free_address());
        let mut command = Command::new(executable());
        command.args(["control", "--control-listen", &address.to_string(), "--metrics-listen", &metrics.to_string()]);
        command.arg("--data-dir").arg(folder.path()).env("ROADSTEAD_LOG", "warn");
        let postgres = match database {
            Database::Sqlite => None,
            Database::Postgres => Some(Postgres::start().await),
        };
        if let Some(postgres) = &postgres {
            command.args(["--database-url", &postgres.url()]);
        }
        let mut daemon = Daemon::spawn(&mut command, &folder.path().join("log"));
        let (http, url) = (client::http(), format!("http://{metrics}/readyz"));
        let ready = async || http.get(&url).send().await.ok().filter(|answer| answer.status().is_success());
        daemon.wait_for(Duration::from_secs(60), ready).await;
        let token = fs::read_to_string(folder.path().join("admin-token")).unwrap().trim().to_owned();
        Self { daemon, address, token, postgres, folder }
    }

    /// Its control port.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its database.
    #[allow(dead_code, reason = "not all programs that share this ask for it")]
    pub fn database_url(&self) -> String {
        let file = || format!("sqlite://{}", self.folder.path().join("control.db").display());
        self.postgres.as_ref().map_or_else(file, Postgres::url)
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.daemon.pid()
    }

    /// The administrator's calls.
    pub fn admin(&self) -> Api {
        Api::at(self.address, &self.token)
    }

    /// The token of the nodes.
    pub async fn node_token(&self) -> String {
        self.admin().node().await.token
    }

    /// CPU seconds so far.
    pub fn cpu_seconds(&self) -> f64 {
        usage::cpu_seconds(self.pid()).unwrap()
    }

    /// Anonymous memory now.
    pub fn memory_mib(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
        line.trim().trim_end_matches("kB").trim().parse::<u64>().unwrap() / 1024
    }
}
