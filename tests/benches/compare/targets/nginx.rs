//! nginx as people who care set it up in front of a registry: sendfile, files kept open (a third more small answers
//! per second), no access log, connections that stay open.

use std::{env, fs, path::Path, process::Command};

use anyhow::Result;
use roadstead_tests::{ports::free_address, process::Daemon};
use tempfile::TempDir;
use tokio::runtime::Handle;

use super::{Server, start_peer};
use crate::{fetch::Access, origin::Origin};

/// A running nginx. Fields are dropped in order: the process ends before its folder goes.
pub struct Nginx {
    daemon: Daemon,
    access: Access,
    _folder: TempDir,
}

impl Nginx {
    /// Starts it with an empty cache.
    pub fn start(origin: &Origin, runtime: &Handle) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("roadstead-bench-nginx-").tempdir()?;
        let access = Access { address: free_address(), repository: "/v2/library/bench".into(), authorization: None };
        let config = folder.path().join("nginx.conf");
        fs::write(&config, settings(&access, folder.path(), &origin.url()))?;
        let mut command = Command::new("nginx");
        command.env("PATH", format!("{}:/usr/sbin", env::var("PATH").unwrap_or_default()));
        command.arg("-p").arg(folder.path()).arg("-c").arg(&config);
        let daemon = start_peer(&mut command, folder.path(), &access, runtime);
        Ok(Self { daemon, access, _folder: folder })
    }
}

impl Server for Nginx {
    fn pid(&self) -> Result<u32> {
        Ok(self.daemon.pid())
    }

    fn access(&self) -> Result<Access> {
        Ok(self.access.clone())
    }
}

/// Workers run as whoever runs this: the folder is theirs alone. The lock waits as long as it takes; left at five
/// seconds, waiting clients would go upstream themselves.
fn settings(access: &Access, folder: &Path, origin: &str) -> String {
    let user = if rustix::process::geteuid().is_root() { "user root;" } else { "" };
    let (folder, address) = (folder.display(), access.address);
    format!(
        "{user}
daemon off;
worker_processes auto;
pid {folder}/pid;
error_log {folder}/error.log;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    sendfile on;
    tcp_nopush on;
    keepalive_requests 100000000;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    proxy_cache_path {folder}/cache levels=1:2 keys_zone=bench:10m max_size=100g inactive=1d use_temp_path=off;
    open_file_cache max=1000;
    server {{
        listen {address} backlog=4096;
        location /v2/ {{
            proxy_pass {origin};
            proxy_http_version 1.1;
            proxy_set_header Connection \"\";
            proxy_cache bench;
            proxy_cache_valid 200 1d;
            proxy_cache_lock on;
            proxy_cache_lock_timeout 10m;
            proxy_cache_lock_age 10m;
        }}
    }}
}}
"
    )
}
