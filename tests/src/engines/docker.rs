//! Docker Engine with a data root of its own, and the containerd that it brings along.

use std::{path::PathBuf, process::Command, time::Duration};

use tempfile::TempDir;

use crate::process::{Daemon, Finished, run, run_command};

/// Docker Engine and its command line. Dropping it stops the daemon and removes everything.
pub struct DockerEngine {
    // Stopped before its folder goes.
    _daemon: Daemon,
    folder: TempDir,
}

impl DockerEngine {
    /// Starts `dockerd` and waits until it answers.
    pub async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// Does the same with more arguments, such as `--registry-mirror`.
    pub async fn start_with(arguments: &[&str]) -> Self {
        let folder = tempfile::Builder::new().prefix("roadstead-docker-").tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let mut command = Command::new("/usr/sbin/dockerd");
        command.arg("--data-root").arg(path("root")).arg("--exec-root").arg(path("exec"));
        command.arg("--pidfile").arg(path("pid")).arg("--host").arg(format!("unix://{}", path("d.sock").display()));
        command.args(["--iptables=false", "--ip6tables=false", "--bridge=none", "--storage-driver=vfs"]);
        command.args(arguments);
        let mut daemon = Daemon::spawn(&mut command, &path("dockerd.log"));
        let host = format!("unix://{}", path("d.sock").display());
        let answers = async || {
            let asked = run("docker", &["--host", &host, "version"]).await;
            (asked.code == 0).then_some(())
        };
        daemon.wait_for(Duration::from_secs(60), answers).await;
        Self { _daemon: daemon, folder }
    }

    /// `docker …` against this engine, with credentials of its own.
    pub async fn docker(&self, arguments: &[&str]) -> Finished {
        self.docker_with_input(arguments, "").await
    }

    /// Does the same with something on stdin.
    pub async fn docker_with_input(&self, arguments: &[&str], input: &str) -> Finished {
        let mut command = tokio::process::Command::new("docker");
        command.arg("--host").arg(format!("unix://{}", self.path("d.sock").display())).args(arguments);
        command.env("DOCKER_CONFIG", self.path("config")).env("DOCKER_BUILDKIT", "0");
        run_command(command, input).await
    }

    /// `ctr …` against the engine's containerd.
    pub async fn ctr(&self, arguments: &[&str]) -> Finished {
        let socket = self.path("exec/containerd/containerd.sock");
        run("ctr", &[&["--address", socket.to_str().unwrap()], arguments].concat()).await
    }

    /// A file or folder of this engine's, or for the test.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}
