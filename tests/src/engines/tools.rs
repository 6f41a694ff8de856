//! Clients without a daemon.

use std::{
    fs,
    path::{Path, PathBuf},
};

use tempfile::TempDir;

use crate::process::{Finished, run, run_command};

/// podman with storage of its own.
pub struct Podman {
    folder: TempDir,
}

impl Podman {
    /// With nothing in it.
    pub fn new() -> Self {
        let folder = tempfile::Builder::new().prefix("roadstead-podman-").tempdir().unwrap();
        // podman insists that the file it is told of exists.
        fs::write(folder.path().join("auth.json"), "{}").unwrap();
        Self { folder }
    }

    /// `podman …`.
    pub async fn podman(&self, arguments: &[&str]) -> Finished {
        self.podman_with_input(arguments, "").await
    }

    /// Does the same with something on stdin.
    pub async fn podman_with_input(&self, arguments: &[&str], input: &str) -> Finished {
        let mut command = tokio::process::Command::new("podman");
        command.arg("--root").arg(self.folder.path().join("root"));
        command.arg("--runroot").arg(self.folder.path().join("run"));
        command.args(["--storage-driver", "vfs"]).args(arguments);
        // Credentials of `podman login` stay here.
        command.env("REGISTRY_AUTH_FILE", self.folder.path().join("auth.json"));
        // Mirrors, where the test has set some.
        if self.registries_conf().exists() {
            command.env("CONTAINERS_REGISTRIES_CONF", self.registries_conf());
        }
        run_command(command, input).await
    }

    /// Its `registries.conf`, which the test may write.
    pub fn registries_conf(&self) -> PathBuf {
        self.folder.path().join("registries.conf")
    }
}

impl Default for Podman {
    fn default() -> Self {
        Self::new()
    }
}

/// `skopeo …` without trust policy.
pub async fn skopeo(arguments: &[&str]) -> Finished {
    run("skopeo", &[&["--insecure-policy"], arguments].concat()).await
}

/// The same, with credentials kept in `home`.
pub async fn skopeo_with_home(home: &Path, arguments: &[&str]) -> Finished {
    let mut command = tokio::process::Command::new("skopeo");
    command.arg("--insecure-policy").args(arguments).env("REGISTRY_AUTH_FILE", home.join("auth.json"));
    run_command(command, "").await
}

/// `grpcurl -plaintext … ADDRESS METHOD`, with a token unless it is empty, and `request` as JSON.
pub async fn grpcurl(address: &str, token: &str, method: &str, request: &str) -> Finished {
    let authorization = format!("authorization: Bearer {token}");
    let mut arguments = vec!["-plaintext", "-format-error"];
    if !token.is_empty() {
        arguments.extend(["-H", &authorization]);
    }
    if !request.is_empty() {
        arguments.extend(["-d", request]);
    }
    arguments.push(address);
    arguments.extend(method.split(' '));
    run("grpcurl", &arguments).await
}
