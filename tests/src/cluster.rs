//! The product's processes: `roadstead serve`, or `control` and `dataplane`, on ports and in a folder of their own.

use std::{
    env,
    ffi::OsString,
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use serde_json::Value;
use tempfile::TempDir;

use crate::{
    client::{self, Answer, Client},
    hub::Hub,
    ports::free_address,
    process::{Daemon, Finished, run_command},
};

/// Longest that a start may take on a busy machine.
const START_TIMEOUT: Duration = Duration::from_secs(30);

/// The executable under test: `ROADSTEAD_BIN`, or the one in the target folder that this test was built into.
pub fn executable() -> PathBuf {
    if let Some(path) = env::var_os("ROADSTEAD_BIN") {
        return path.into();
    }
    let test = env::current_exe().unwrap();
    let path = test.ancestors().nth(2).unwrap().join("roadstead");
    assert!(path.exists(), "{} is missing: run `cargo build` first, or ./tests/run for everything", path.display());
    path
}

/// Options of a cluster.
#[derive(Clone, Debug, Default)]
pub struct ClusterOptions {
    /// `control` and `dataplane` as two processes instead of `serve`.
    pub split: bool,
    /// More arguments for `serve` or `dataplane`.
    pub arguments: Vec<String>,
    /// More environment variables for every process.
    pub environment: Vec<(String, String)>,
    /// Data folder, instead of a temporary one.
    pub data_dir: Option<PathBuf>,
    /// The registry port speaks https.
    pub tls: bool,
    /// The server's own `/etc/resolv.conf` ([`crate::dns`]); only without `split`. Takes root.
    pub resolv_conf: Option<PathBuf>,
}

/// A deploy token: what clients sign in with.
#[derive(Clone, Debug)]
pub struct DeployToken {
    /// Names it in `token revoke`.
    pub id: String,
    /// The user name.
    pub username: String,
    /// The secret.
    pub token: String,
}

/// A running product. Dropping it ends the processes and removes the folder.
pub struct Cluster {
    options: ClusterOptions,
    folder: TempDir,
    /// The registry port.
    pub registry: SocketAddr,
    /// The control port.
    pub control: SocketAddr,
    /// The metrics port (the data plane's, where there are two).
    pub metrics: SocketAddr,
    control_metrics: SocketAddr,
    daemons: Mutex<Vec<Daemon>>,
    failpoints: Mutex<String>,
}

impl Cluster {
    /// `roadstead serve` with Docker Hub meaning `hub`, ready to serve.
    pub async fn start(hub: &Hub) -> Self {
        Self::start_with(hub, ClusterOptions::default()).await
    }

    /// Does the same with options.
    pub async fn start_with(hub: &Hub, options: ClusterOptions) -> Self {
        let cluster = Self::start_bare(options).await;
        cluster.set_upstream(&hub.url(), &hub.listed()).await;
        cluster
    }

    /// Makes Docker Hub mean what is at `url`, with more arguments for `upstream set`.
    pub async fn set_upstream(&self, url: &str, arguments: &[String]) {
        let arguments = arguments.iter().map(String::as_str);
        let set: Vec<_> = ["upstream", "set", "docker.io", "--url", url].into_iter().chain(arguments).collect();
        self.cli(&set).await.ok();
    }

    /// Without setting any upstream.
    pub async fn start_bare(options: ClusterOptions) -> Self {
        let cluster = Self::prepare(options);
        cluster.run_processes().await;
        cluster
    }

    /// Chooses ports and a folder and starts nothing.
    pub fn prepare(options: ClusterOptions) -> Self {
        let folder = tempfile::Builder::new().prefix("roadstead-test-").tempdir().unwrap();
        Self {
            options,
            folder,
            registry: free_address(),
            control: free_address(),
            metrics: free_address(),
            control_metrics: free_address(),
            daemons: Mutex::default(),
            failpoints: Mutex::default(),
        }
    }

    /// Starts the processes (again) on the same folder and ports and waits until they are ready.
    pub async fn run_processes(&self) {
        let data_dir = self.data_dir();
        let [registry, control, metrics] = [self.registry, self.control, self.metrics].map(|a| a.to_string());
        if self.options.split {
            let control_metrics = self.control_metrics.to_string();
            let mut command =
                self.command(&["control", "--control-listen", &control, "--metrics-listen", &control_metrics]);
            command.arg("--data-dir").arg(&data_dir);
            let daemon = Daemon::spawn(&mut command, &self.folder.path().join("control.log"));
            self.daemons().push(daemon);
            self.wait_until_ready(0, self.control_metrics).await;
            let node = self.cli_json(&["token", "create", "--node", "--name", "node-1"]).await;
            let mut command = self.command(&["dataplane", "--listen", &registry, "--metrics-listen", &metrics]);
            command.args(["--control", &format!("http://{control}"), "--node-token", node["token"].as_str().unwrap()]);
            command.arg("--data-dir").arg(data_dir.join("node")).args(&self.options.arguments);
            let daemon = Daemon::spawn(&mut command, &self.folder.path().join("dataplane.log"));
            self.daemons().push(daemon);
            self.wait_until_ready(1, self.metrics).await;
        } else {
            let arguments =
                ["serve", "--listen", &registry, "--control-listen", &control, "--metrics-listen", &metrics];
            let mut command = self.command(&arguments);
            command.arg("--data-dir").arg(&data_dir).args(&self.options.arguments);
            command.env("FAILPOINTS", &*self.failpoints.lock().unwrap());
            if let Some(file) = &self.options.resolv_conf {
                command = with_resolv_conf(&command, file);
            }
            let daemon = Daemon::spawn(&mut command, &self.folder.path().join("serve.log"));
            self.daemons().push(daemon);
            self.wait_until_ready(0, self.metrics).await;
        }
    }

    async fn wait_until_ready(&self, index: usize, metrics: SocketAddr) {
        let url = format!("http://{metrics}/readyz");
        let http = client::http();
        // The list is locked only for moments: taking the daemon out keeps the guard from living across an await.
        let mut daemon = self.daemons().remove(index);
        let ready = async || http.get(&url).send().await.ok().filter(|answer| answer.status().is_success());
        daemon.wait_for(START_TIMEOUT, ready).await;
        self.daemons().insert(index, daemon);
    }

    /// `roadstead` with these arguments and this cluster's environment.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(executable());
        command.args(arguments).current_dir(self.folder.path());
        forget_environment(&mut command);
        // The login of the person who runs the tests is kept elsewhere.
        command.env("XDG_CONFIG_HOME", self.folder.path().join("config"));
        command.envs(self.options.environment.iter().map(|(name, value)| (name, value)));
        command
    }

    fn daemons(&self) -> MutexGuard<'_, Vec<Daemon>> {
        self.daemons.lock().unwrap()
    }

    /// Returns the data folder.
    pub fn data_dir(&self) -> PathBuf {
        self.options.data_dir.clone().unwrap_or_else(|| self.folder.path().join("data"))
    }

    /// A folder for the test's own files.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Sets failpoints of `serve` from its next start on: `fill_committed=return` ends it there. Only an executable that was
    /// built with the feature `failpoints` takes notice.
    pub fn set_failpoints(&self, failpoints: &str) {
        failpoints.clone_into(&mut self.failpoints.lock().unwrap());
    }

    /// Ends every process at once, as `kill -9` does.
    pub fn kill(&self) {
        self.daemons().drain(..).for_each(|mut daemon| daemon.kill());
    }

    /// Sends SIGTERM to every process; they may take their time.
    pub fn terminate(&self) {
        self.daemons().iter().for_each(Daemon::terminate);
    }

    /// Ends one process (0: `serve` or `control`, 1: `dataplane`) at once.
    pub fn kill_one(&self, index: usize) {
        self.daemons()[index].kill();
    }

    /// Waits until every process has ended; answers their exit codes.
    pub async fn exit_codes(&self, at_most: Duration) -> Vec<i32> {
        let daemons: Vec<Daemon> = self.daemons().drain(..).collect();
        let mut codes = Vec::new();
        for mut daemon in daemons {
            codes.push(daemon.wait(at_most).await);
        }
        codes
    }

    /// Everything the processes have written, also before restarts.
    pub fn log(&self) -> String {
        let read = |name| fs::read_to_string(self.folder.path().join(name)).unwrap_or_default();
        read("serve.log") + &read("control.log") + &read("dataplane.log")
    }

    /// The process ids.
    pub fn pids(&self) -> Vec<u32> {
        self.daemons().iter().map(Daemon::pid).collect()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // At once: nobody needs the data, and the folder is removed next. A failed test may have poisoned the lock.
        let mut daemons = self.daemons.lock().unwrap_or_else(PoisonError::into_inner);
        daemons.drain(..).for_each(|mut daemon| daemon.kill());
    }
}

/// Requests of tests to a running cluster.
impl Cluster {
    /// The administrator's token, as admin commands find it.
    pub fn admin_token(&self) -> String {
        fs::read_to_string(self.data_dir().join("admin-token")).unwrap().trim().to_owned()
    }

    /// An admin command, as the administrator.
    pub async fn cli(&self, arguments: &[&str]) -> Finished {
        self.cli_with_input(arguments, "").await
    }

    /// An admin command with something on stdin.
    pub async fn cli_with_input(&self, arguments: &[&str], input: &str) -> Finished {
        let mut command = self.command(arguments);
        command.args(["--control", &format!("http://{}", self.control)]);
        command.env("ROADSTEAD_TOKEN", self.admin_token());
        run_command(command.into(), input).await
    }

    /// The JSON answer of an admin command that has to succeed.
    pub async fn cli_json(&self, arguments: &[&str]) -> Value {
        let output = self.cli(&[arguments, &["--output", "json"]].concat()).await.ok();
        serde_json::from_str(&output).unwrap_or_else(|error| panic!("{error}: {output}"))
    }

    /// A new private group.
    pub async fn create_group(&self, path: &str) {
        self.cli(&["group", "create", path]).await.ok();
    }

    /// A new deploy token that can pull.
    pub async fn create_token(&self, group: &str) -> DeployToken {
        let arguments = ["token", "create", "--group", group, "--name", "test"];
        let made =
            self.cli_json(&[&arguments[..], &["--scope", "read_registry", "--scope", "write_registry"]].concat()).await;
        let text = |name: &str| made[name].as_str().unwrap().to_owned();
        DeployToken { id: text("id"), username: text("username"), token: text("token") }
    }

    /// `http://127.0.0.1:PORT` of the registry port.
    pub fn url(&self) -> String {
        let scheme = if self.options.tls { "https" } else { "http" };
        format!("{scheme}://{}", self.registry)
    }

    /// Somebody without credentials, in the ready-made group.
    pub fn anonymous(&self) -> Client {
        Client::new(&self.url(), "default", None)
    }

    /// Somebody with a deploy token.
    pub fn client(&self, group: &str, token: &DeployToken) -> Client {
        Client::new(&self.url(), group, Some((token.username.clone(), token.token.clone())))
    }

    /// Somebody with a new deploy token in a new private group.
    pub async fn client_of_new_group(&self, group: &str) -> Client {
        self.create_group(group).await;
        let token = self.create_token(group).await;
        self.client(group, &token)
    }

    /// `HOST:PORT/default/dependency_proxy/containers/IMAGE`, as people write it.
    pub fn image(&self, image: &str) -> String {
        format!("{}/default/dependency_proxy/containers/{image}", self.registry)
    }

    /// Something of the metrics port.
    pub async fn metrics_port(&self, path: &str) -> Answer {
        client::read(client::http().get(format!("http://{}{path}", self.metrics)).send().await).await.unwrap()
    }

    /// The sum of all samples of a metric whose labels hold all of `labels` (`route="blob"`).
    pub async fn metric(&self, name: &str, labels: &[&str]) -> f64 {
        client::metric(self.metrics, name, labels).await
    }
}

/// Returns the command with `file` as its `/etc/resolv.conf`.
fn with_resolv_conf(command: &Command, file: &Path) -> Command {
    let mut wrapped = Command::new("unshare");
    wrapped.args(["--mount", "sh", "-c", "mount --bind \"$0\" /etc/resolv.conf && exec \"$@\""]).arg(file);
    wrapped.arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => wrapped.env(name, value),
            None => wrapped.env_remove(name),
        };
    }
    if let Some(folder) = command.get_current_dir() {
        wrapped.current_dir(folder);
    }
    wrapped
}

/// Hides this process's environment from the product.
pub fn forget_environment(command: &mut Command) {
    command.env_remove("RUST_LOG");
    for (name, _) in env::vars_os().filter(|(name, _)| is_ours(name)) {
        command.env_remove(name);
    }
}

fn is_ours(name: &OsString) -> bool {
    name.to_str().is_some_and(|name| ["ROADSTEAD_", "OTEL_", "AWS_"].iter().any(|prefix| name.starts_with(prefix)))
}
