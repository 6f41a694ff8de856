//! One process of a fleet: started, killed, paused, stopped and started again, always on the same folder and ports.

use std::{
    net::SocketAddr,
    path::PathBuf,
    process::Command,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use crate::{
    client::{self, Client},
    cluster::{executable, forget_environment},
    link::{Link, Mode},
    process::Daemon,
};

/// Longest that a start may take on a busy machine.
const START_TIMEOUT: Duration = Duration::from_secs(60);
/// Longest that an orderly stop may take: the drain, and some.
const STOP_TIMEOUT: Duration = Duration::from_secs(45);

/// A control replica or a node.
pub struct Member {
    /// `control-1`, `node-2`.
    pub name: String,
    /// The control port, or the registry port.
    pub address: SocketAddr,
    /// The address of `/readyz` and `/metrics`.
    pub metrics: SocketAddr,
    /// The links to its dependencies, and for a node also the one by which other nodes reach it.
    pub links: Vec<(Purpose, Link)>,
    pub(super) folder: PathBuf,
    pub(super) arguments: Vec<String>,
    pub(super) environment: Vec<(String, String)>,
    pub(super) daemon: Mutex<Option<Daemon>>,
}

/// The purpose of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// From a node to one of the control replicas.
    Control,
    /// From a node to S3.
    Store,
    /// From other nodes to this one.
    Peer,
    /// From a control replica to PostgreSQL.
    Database,
}

impl Member {
    /// The data folder.
    pub fn data_dir(&self) -> PathBuf {
        self.folder.join(&self.name)
    }

    /// Starts it, without waiting.
    pub fn start(&self) {
        let mut command = Command::new(executable());
        forget_environment(&mut command);
        command.args(&self.arguments).arg("--data-dir").arg(self.data_dir()).current_dir(&self.folder);
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        *self.daemon() = Some(Daemon::spawn(&mut command, &self.log_file()));
    }

    /// The id of its process, which must be running.
    pub fn pid(&self) -> u32 {
        self.daemon().as_ref().unwrap().pid()
    }

    /// Waits until it is ready to serve.
    pub async fn ready(&self) {
        let (http, url, started) = (client::http(), format!("http://{}/readyz", self.metrics), Instant::now());
        loop {
            let answer = http.get(&url).timeout(Duration::from_secs(5)).send().await;
            if answer.is_ok_and(|answer| answer.status().is_success()) {
                return;
            }
            let ended = self.daemon().as_mut().map(Daemon::ended);
            assert_eq!(ended, Some(None), "{} ended:\n{}", self.name, self.log());
            assert!(started.elapsed() < START_TIMEOUT, "{} is not ready:\n{}", self.name, self.log());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Returns the answer of `/readyz`: status and text.
    pub async fn readiness(&self) -> (u16, String) {
        let answer = client::http().get(format!("http://{}/readyz", self.metrics)).send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    }

    /// Ends it at once, as `kill -9` does.
    pub fn kill(&self) {
        if let Some(mut daemon) = self.daemon().take() {
            daemon.kill();
        }
    }

    /// Stops its clock until [`Member::resume`]: its connections stay, nothing is answered.
    pub fn pause(&self) {
        self.daemon().as_ref().unwrap().pause();
    }

    /// Resumes it.
    pub fn resume(&self) {
        self.daemon().as_ref().unwrap().resume();
    }

    /// Asks it to stop and waits until it has; it has to end well.
    pub async fn stop(&self) {
        let mut daemon = self.daemon().take().unwrap();
        daemon.terminate();
        assert_eq!(daemon.wait(STOP_TIMEOUT).await, 0, "{}:\n{}", self.name, self.log());
    }

    /// The links of this purpose.
    pub fn links(&self, purpose: Purpose) -> impl Iterator<Item = &Link> {
        self.links.iter().filter(move |(of, _)| *of == purpose).map(|(_, link)| link)
    }

    /// Makes all links of this purpose behave like this.
    pub async fn set_links(&self, purpose: Purpose, mode: Mode) {
        for link in self.links(purpose) {
            link.set(mode.clone()).await;
        }
    }

    /// Makes all its links behave like this, whatever they are for: [`Mode::Refuse`] cuts it off.
    pub async fn set_all_links(&self, mode: Mode) {
        for (_, link) in &self.links {
            link.set(mode.clone()).await;
        }
    }

    /// Somebody without credentials, in the ready-made group, who pulls from this node.
    pub fn anonymous(&self) -> Client {
        Client::new(&format!("http://{}", self.address), "default", None)
    }

    /// The sum of all samples of a metric whose labels hold all of `labels` (`route="blob"`).
    pub async fn metric(&self, name: &str, labels: &[&str]) -> f64 {
        client::metric(self.metrics, name, labels).await
    }

    /// The number of files and connections that it has open.
    pub fn open_files(&self) -> usize {
        let pid = self.daemon().as_ref().unwrap().pid();
        std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count()
    }

    /// Bytes of its memory that are in use.
    pub fn memory_bytes(&self) -> u64 {
        let pid = self.daemon().as_ref().unwrap().pid();
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        resident.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
    }

    /// Everything it has written, also before it was started again.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.log_file()).unwrap_or_default()
    }

    fn log_file(&self) -> PathBuf {
        self.folder.join(format!("{}.log", self.name))
    }

    pub(super) fn daemon(&self) -> MutexGuard<'_, Option<Daemon>> {
        // A failed test may have poisoned it.
        self.daemon.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        // At once: nobody needs the data. A paused process ends by that, too.
        self.kill();
    }
}
