//! Load by `wrk`: as many requests as a server answers on 64 connections.

use std::{process::Command, time::Duration};

use anyhow::{Context, Result, ensure};

use crate::fetch::Access;

/// Asks for `path` again and again; answers how many requests were answered per second.
pub fn requests_per_second(access: &Access, path: &str, time: Duration) -> Result<f64> {
    let mut command = Command::new("wrk");
    command.args(["-t2", "-c64", &format!("-d{}s", time.as_secs())]);
    if let Some(authorization) = &access.authorization {
        command.args(["-H", &format!("Authorization: {authorization}")]);
    }
    let output = command.arg(format!("http://{}{path}", access.address)).output().context("wrk")?;
    let text = String::from_utf8_lossy(&output.stdout);
    ensure!(output.status.success(), "wrk: {}", String::from_utf8_lossy(&output.stderr));
    ensure!(!text.contains("Non-2xx"), "wrk got errors:\n{text}");
    let line = text.lines().find_map(|line| line.trim().strip_prefix("Requests/sec:"));
    Ok(line.with_context(|| format!("no rate from wrk:\n{text}"))?.trim().parse()?)
}
