//! Debian's `docker-registry`: a real upstream.

use std::{fs, path::Path, process::Command, time::Duration};

use tempfile::TempDir;

use crate::{client, ports::free_address, process::Daemon};

/// The user of a private registry.
pub const PRIVATE_USER: &str = "ci";
/// That user's password.
pub const PRIVATE_PASSWORD: &str = "registry-password";
/// The two as `htpasswd -B` writes them.
const PRIVATE_LINE: &str = "ci:$2b$05$abcdefghijklmnopqrstuux7DVfxfgfXTmp/9Tsk6HzX2QQGjxePG\n";

/// A running registry with a folder of its own.
pub struct DebianRegistry {
    _daemon: Daemon,
    address: String,
    _folder: TempDir,
}

impl DebianRegistry {
    /// Starts an empty registry without authentication.
    pub async fn start() -> Self {
        Self::start_with(false).await
    }

    /// Starts an empty registry that wants [`PRIVATE_USER`] and [`PRIVATE_PASSWORD`] from everybody.
    pub async fn start_private() -> Self {
        Self::start_with(true).await
    }

    async fn start_with(private: bool) -> Self {
        let folder = tempfile::Builder::new().prefix("roadstead-registry-").tempdir().unwrap();
        let address = free_address().to_string();
        let config = folder.path().join("config.yml");
        fs::write(folder.path().join("htpasswd"), PRIVATE_LINE).unwrap();
        fs::write(&config, settings(&address, folder.path(), private)).unwrap();
        let mut command = Command::new("docker-registry");
        command.arg("serve").arg(&config);
        let mut daemon = Daemon::spawn(&mut command, &folder.path().join("log"));
        let (http, url) = (client::http(), format!("http://{address}/v2/"));
        let answers = async || http.get(&url).send().await.ok();
        daemon.wait_for(Duration::from_secs(20), answers).await;
        Self { _daemon: daemon, address, _folder: folder }
    }

    /// `127.0.0.1:PORT`.
    pub fn address(&self) -> &str {
        &self.address
    }
}

fn settings(address: &str, folder: &Path, private: bool) -> String {
    let (root, passwords) = (folder.join("data"), folder.join("htpasswd"));
    let auth = match private {
        true => format!("auth: {{htpasswd: {{realm: private, path: {}}}}}\n", passwords.display()),
        false => String::new(),
    };
    format!(
        "{auth}version: 0.1\nlog: {{level: warn}}\nstorage: {{filesystem: {{rootdirectory: {}}}}}\nhttp: {{addr: \"{address}\"}}\n",
        root.display()
    )
}
