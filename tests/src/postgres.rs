//! A PostgreSQL server of a test's own: made, started and thrown away in seconds, durable in nothing.

use std::{
    env,
    ffi::OsStr,
    fs,
    net::SocketAddr,
    os::unix::fs::chown,
    path::{Path, PathBuf},
    process::Command,
    sync::Mutex,
    time::Duration,
};

use rustix::process::{Signal, geteuid};
use tempfile::TempDir;

use crate::{
    ports::free_address,
    process::{Daemon, Finished, run_command},
};

/// Longest that a start may take on a busy machine.
const START_TIMEOUT: Duration = Duration::from_secs(60);

/// The role that owns everything. No password: the server listens on loopback only.
const ROLE: &str = "roadstead";

/// Settings that make it quick and small. Nothing survives the test, so nothing need be on disk.
const SETTINGS: [&str; 8] = [
    "fsync=off",
    "synchronous_commit=off",
    "full_page_writes=off",
    "autovacuum=off",
    "shared_buffers=32MB",
    "max_connections=200",
    "listen_addresses=127.0.0.1",
    "unix_socket_directories=",
];

/// A running server. Dropping it ends it and removes its folder.
pub struct Postgres {
    address: SocketAddr,
    daemon: Mutex<Daemon>,
    folder: TempDir,
    programs: PathBuf,
    user: Option<&'static str>,
}

impl Postgres {
    /// Makes and starts an empty server with the database `roadstead`.
    pub async fn start() -> Self {
        let programs = programs();
        // PostgreSQL refuses to run as root.
        let user = geteuid().is_root().then(|| if ids_of("postgres").is_some() { "postgres" } else { "nobody" });
        let folder = tempfile::Builder::new().prefix("roadstead-postgres-").tempdir().unwrap();
        if let Some(user) = user {
            let (id, group) = ids_of(user).unwrap();
            chown(folder.path(), Some(id), Some(group)).unwrap();
        }
        let data = folder.path().join("data");
        let mut initdb = command(user, &programs.join("initdb"), folder.path());
        initdb.args(["--username", ROLE, "--auth", "trust", "--encoding", "UTF8", "--locale", "C", "--no-sync"]);
        initdb.arg("--pgdata").arg(&data);
        run_command(initdb.into(), "").await.ok();

        let address = free_address();
        let daemon = Mutex::new(spawn(user, &programs, folder.path(), address));
        let server = Self { address, daemon, folder, programs, user };
        server.wait_until_ready().await;
        server.create_database(ROLE).await;
        server
    }

    /// The folder of its socket.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The URL of the database that is there from the start.
    pub fn url(&self) -> String {
        url_at(self.address, ROLE)
    }

    /// Makes another empty database; answers its URL.
    pub async fn create_database(&self, name: &str) -> String {
        let create = format!("CREATE DATABASE {name} TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'");
        self.psql("postgres", &create).await.ok();
        url_at(self.address, name)
    }

    /// Runs a statement and returns one line per row, with columns separated by `|`.
    pub async fn query(&self, statement: &str) -> String {
        self.psql(ROLE, statement).await.ok()
    }

    /// The id of its first process; the others descend from it.
    pub fn pid(&self) -> u32 {
        self.daemon.lock().unwrap().pid()
    }

    /// Has it log every statement from now on.
    pub async fn log_statements(&self) {
        self.psql("postgres", "ALTER SYSTEM SET log_statement = 'all'").await.ok();
        self.psql("postgres", "SELECT pg_reload_conf()").await.ok();
    }

    /// All that it has logged.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap()
    }

    /// Ends it at once, as a crash does.
    pub fn kill(&self) {
        self.daemon.lock().unwrap().kill();
    }

    /// Starts it again on the same data and port.
    pub async fn restart(&self) {
        // A crash leaves the lock file; the process that it names is gone.
        let _ = fs::remove_file(self.folder.path().join("data/postmaster.pid"));
        *self.daemon.lock().unwrap() = spawn(self.user, &self.programs, self.folder.path(), self.address);
        self.wait_until_ready().await;
    }

    async fn wait_until_ready(&self) {
        let started = std::time::Instant::now();
        while self.psql("postgres", "SELECT 1").await.code != 0 {
            let ended = self.daemon.lock().unwrap().ended();
            assert!(ended.is_none(), "PostgreSQL ended with {ended:?}:\n{}", self.log());
            assert!(started.elapsed() < START_TIMEOUT, "PostgreSQL is not there:\n{}", self.log());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    async fn psql(&self, database: &str, statement: &str) -> Finished {
        let mut command = Command::new(self.programs.join("psql"));
        command.args(["--no-psqlrc", "--quiet", "--tuples-only", "--no-align", "--command", statement]);
        command.arg(url_at(self.address, database)).env("PGCONNECT_TIMEOUT", "10");
        run_command(command.into(), "").await
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // SIGTERM would wait for clients to go; this ends them.
        self.daemon.lock().unwrap_or_else(std::sync::PoisonError::into_inner).signal(Signal::QUIT);
    }
}

/// The URL of a database at another address: at a link ([`crate::link`]) in front of the server, for one.
pub fn url_at(address: SocketAddr, database: &str) -> String {
    format!("postgres://{ROLE}@{address}/{database}")
}

/// Debian keeps the programs of each version in a folder of its own, outside the path.
fn programs() -> PathBuf {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let found = versions.map(|version| version.path().join("bin")).filter(|bin| bin.join("initdb").exists());
    let newest = found.max_by_key(|bin| {
        let version = bin.parent().and_then(Path::file_name).and_then(OsStr::to_str);
        version.and_then(|version| version.parse::<u32>().ok())
    });
    let in_path = || {
        let folders = env::var_os("PATH").map(|path| env::split_paths(&path).collect::<Vec<_>>()).unwrap_or_default();
        folders.into_iter().find(|folder| folder.join("initdb").exists())
    };
    newest.or_else(in_path).expect("PostgreSQL is missing: ./tests/run installs it")
}

fn spawn(user: Option<&str>, programs: &Path, folder: &Path, address: SocketAddr) -> Daemon {
    let mut postgres = command(user, &programs.join("postgres"), folder);
    postgres.arg("-D").arg(folder.join("data")).args(["-p", &address.port().to_string()]);
    for setting in SETTINGS {
        postgres.args(["-c", setting]);
    }
    Daemon::spawn(&mut postgres, &folder.join("log"))
}

/// The program as an unprivileged user, where we are root.
fn command(user: Option<&str>, program: &Path, folder: &Path) -> Command {
    let mut command = match user {
        None => Command::new(program),
        Some(user) => {
            let (id, group) = ids_of(user).map(|(id, group)| (id.to_string(), group.to_string())).unwrap();
            let mut command = Command::new("setpriv");
            command.args(["--reuid", &id, "--regid", &group, "--clear-groups", "--"]).arg(program);
            command
        }
    };
    command.current_dir(folder);
    command
}

/// User and group.
fn ids_of(user: &str) -> Option<(u32, u32)> {
    let passwd = fs::read_to_string("/etc/passwd").ok()?;
    let mut entries = passwd.lines().map(|line| line.split(':').collect::<Vec<_>>());
    let entry = entries.find(|entry| entry[0] == user)?;
    Some((entry.get(2)?.parse().ok()?, entry.get(3)?.parse().ok()?))
}
