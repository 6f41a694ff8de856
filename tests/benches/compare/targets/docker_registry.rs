//! Debian's docker-registry as a pull-through cache (`proxy.remoteurl`).

use std::{fs, path::Path, process::Command};

use anyhow::Result;
use roadstead_tests::{ports::free_address, process::Daemon};
use tempfile::TempDir;
use tokio::runtime::Handle;

use super::{Server, start_peer};
use crate::{fetch::Access, origin::Origin};

/// A running docker-registry. Fields are dropped in order: the process ends before its folder goes.
pub struct DockerRegistry {
    daemon: Daemon,
    access: Access,
    _folder: TempDir,
}

impl DockerRegistry {
    /// Starts it with an empty cache.
    pub fn start(origin: &Origin, runtime: &Handle) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("roadstead-bench-registry-").tempdir()?;
        let access = Access { address: free_address(), repository: "/v2/library/bench".into(), authorization: None };
        let config = folder.path().join("config.yml");
        fs::write(&config, settings(&access, folder.path(), &origin.url()))?;
        let mut command = Command::new("docker-registry");
        // It would look for a collector and say so for every request.
        command.arg("serve").arg(&config).env("OTEL_TRACES_EXPORTER", "none");
        let daemon = start_peer(&mut command, folder.path(), &access, runtime);
        Ok(Self { daemon, access, _folder: folder })
    }
}

impl Server for DockerRegistry {
    fn pid(&self) -> Result<u32> {
        Ok(self.daemon.pid())
    }

    fn access(&self) -> Result<Access> {
        Ok(self.access.clone())
    }
}

fn settings(access: &Access, folder: &Path, origin: &str) -> String {
    format!(
        "version: 0.1
log:
  level: error
  accesslog: {{disabled: true}}
storage:
  filesystem: {{rootdirectory: {}}}
  cache: {{blobdescriptor: inmemory}}
http:
  addr: \"{}\"
proxy:
  remoteurl: {origin}
",
        folder.join("data").display(),
        access.address
    )
}
