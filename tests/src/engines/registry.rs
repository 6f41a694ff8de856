//! Debian's `docker-registry`: a real upstream.

use std::{fs, path::Path, process::Command, time::Duration};

use tempfile::TempDir;

use crate::{client, ports::free_address, process::Daemon};

/// A running registry with a folder of its own.
pub struct DebianRegistry {
    _daemon: Daemon,
    address: String,
    _folder: TempDir,
}

impl DebianRegistry {
    /// Starts an empty registry without authentication.
    pub async fn start() -> Self {
        let folder = tempfile::Builder::new().prefix("roadstead-registry-").tempdir().unwrap();
        let address = free_address().to_string();
        let config = folder.path().join("config.yml");
        fs::write(&config, settings(&address, folder.path())).unwrap();
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

fn settings(address: &str, folder: &Path) -> String {
    let root = folder.join("data");
    format!(
        "version: 0.1\nlog: {{level: warn}}\nstorage: {{filesystem: {{rootdirectory: {}}}}}\nhttp: {{addr: \"{address}\"}}\n",
        root.display()
    )
}
