//! A PostgreSQL server for one test program: made when first asked for, ended with the program, durable in nothing.
//!
//! It is the file that both the unit tests and `tests/control` include, so that both run on it.

use std::{
    collections::HashSet,
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Mutex, OnceLock, PoisonError},
    time::{Duration, Instant},
};

/// How long a start may take on a busy machine.
const START_TIMEOUT: Duration = Duration::from_secs(60);
/// Roles: one for whom everything is allowed, and one who needs a password.
const ROLE: &str = "roadstead";
/// The password of the role `guarded`.
#[allow(dead_code)]
pub const PASSWORD: &str = "hunter2";

/// Databases that sort as a language does, not by bytes: nothing may depend on the order that a database was made with.
const LOCALE: &str = "TEMPLATE template0 LOCALE_PROVIDER icu ICU_LOCALE 'en-US' LOCALE 'C.UTF-8'";

struct Server {
    folder: PathBuf,
    databases: Mutex<HashSet<String>>,
    /// Its end of input is the server's end; the system closes it with this program.
    _keeper: Child,
}

/// The URL of the database that belongs to a test's folder; it is made when first asked for.
pub fn url_for(folder: &Path) -> String {
    let name: String =
        folder.display().to_string().chars().map(|c| if c.is_alphanumeric() { c } else { '_' }).collect();
    // Longer names would be cut; case is kept by the quotes.
    let name = name.trim_start_matches("_tmp").chars().rev().take(40).collect::<String>();
    let server = server();
    if server.databases.lock().unwrap_or_else(PoisonError::into_inner).insert(name.clone()) {
        server.psql("postgres", &format!("CREATE DATABASE \"{name}\" {LOCALE}"));
    }
    server.url(&name, ROLE)
}

/// Removes the database of a folder, and the connections to it.
#[allow(dead_code)]
pub fn drop_for(url: &str) {
    let name = url.split_once(":///").and_then(|(_, rest)| rest.split_once('?')).unwrap().0;
    server().psql("postgres", &format!("DROP DATABASE IF EXISTS \"{name}\" WITH (FORCE)"));
}

/// Runs a statement as who may everything.
#[allow(dead_code)]
pub fn query(url: &str, statement: &str) -> String {
    server().psql(url, statement)
}

/// The socket that the server listens on.
#[allow(dead_code)]
pub fn socket() -> PathBuf {
    server().folder.join(".s.PGSQL.5432")
}

fn server() -> &'static Server {
    static SERVER: OnceLock<Server> = OnceLock::new();
    SERVER.get_or_init(Server::start)
}

impl Server {
    fn start() -> Self {
        let programs = programs();
        let folder = tempfile::Builder::new().prefix("roadstead-pg-").tempdir().unwrap().keep();
        // PostgreSQL refuses to run as root.
        let is_root = fs::metadata("/proc/self").map(|us| std::os::unix::fs::MetadataExt::uid(&us) == 0).unwrap();
        let runs_as = if is_root { "setpriv --reuid=postgres --regid=postgres --clear-groups --" } else { "" };
        if is_root {
            let owned = Command::new("chown").arg("postgres").arg(&folder).status().unwrap();
            assert!(owned.success());
        }
        let script = format!(
            "cd {folder} || exit 1
             {runs_as} {programs}/initdb -U {ROLE} -A trust -E UTF8 --locale=C --no-sync -D data >log 2>&1 || exit 1
             printf 'local all guarded scram-sha-256\\nlocal all all trust\\n' >data/pg_hba.conf
             {runs_as} {programs}/postgres -D data -k {folder} -c listen_addresses= -c fsync=off \
                 -c synchronous_commit=off -c full_page_writes=off -c autovacuum=off -c max_connections=800 \
                 -c shared_buffers=64MB >>log 2>&1 </dev/null &
             server=$!
             cat >/dev/null
             kill -QUIT $server; wait $server; rm -rf {folder}",
            folder = folder.display(),
            programs = programs.display(),
        );
        let keeper = Command::new("sh").args(["-c", &script]).stdin(Stdio::piped()).spawn().unwrap();
        let server = Self { folder, databases: Mutex::default(), _keeper: keeper };
        let started = Instant::now();
        while !server.try_psql("postgres", "SELECT 1").status.success() {
            let log = || fs::read_to_string(server.folder.join("log")).unwrap_or_default();
            assert!(started.elapsed() < START_TIMEOUT, "PostgreSQL is not there:\n{}", log());
            std::thread::sleep(Duration::from_millis(50));
        }
        server.psql("postgres", &format!("CREATE ROLE guarded LOGIN PASSWORD '{PASSWORD}'"));
        server
    }

    fn url(&self, database: &str, role: &str) -> String {
        format!("postgres:///{database}?host={}&user={role}", self.folder.display())
    }

    fn try_psql(&self, database: &str, statement: &str) -> std::process::Output {
        let url = if database.contains("://") { database.to_owned() } else { self.url(database, ROLE) };
        let mut psql = Command::new(programs().join("psql"));
        psql.args(["--no-psqlrc", "--quiet", "--tuples-only", "--no-align", "--command", statement]).arg(url);
        psql.output().unwrap()
    }

    fn psql(&self, database: &str, statement: &str) -> String {
        let done = self.try_psql(database, statement);
        assert!(done.status.success(), "{statement}: {}", String::from_utf8_lossy(&done.stderr));
        String::from_utf8_lossy(&done.stdout).trim().to_owned()
    }
}

/// Debian keeps the programs of each version in a folder of its own, outside the path.
fn programs() -> PathBuf {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let installed = versions.map(|version| version.path().join("bin")).filter(|bin| bin.join("initdb").exists());
    let in_path = || std::env::split_paths(&std::env::var_os("PATH")?).find(|folder| folder.join("initdb").exists());
    installed.max().or_else(in_path).expect("PostgreSQL is missing: ./tests/run installs it")
}
