//! Load by `wrk`: as many requests as a server answers on 64 connections.

use std::{fmt::Write as _, fs, process::Command, time::Duration};

use anyhow::{Context, Result, ensure};

use crate::fetch::Access;

/// One GET of a sequence.
#[derive(Clone, Debug)]
pub struct Ask {
    /// Path and query.
    pub path: String,
    /// The `Authorization` header, if it has one.
    pub authorization: Option<String>,
}

impl Ask {
    /// A GET as `access` says.
    pub fn get(access: &Access, path: String) -> Self {
        Self { path, authorization: access.authorization.clone() }
    }
}

/// Asks for `path` again and again; answers how many requests were answered per second.
pub fn requests_per_second(access: &Access, path: &str, time: Duration) -> Result<f64> {
    let mut command = wrk(time);
    if let Some(authorization) = &access.authorization {
        command.args(["-H", &format!("Authorization: {authorization}")]);
    }
    command.arg(format!("http://{}{path}", access.address));
    rate(&mut command, false)
}

/// Sends a sequence of requests again and again, spread over the connections; answers how many requests were answered per second. With
/// `challenged`, the sequence begins with one that is answered by 401.
pub fn sequence_per_second(access: &Access, asks: &[Ask], challenged: bool, time: Duration) -> Result<f64> {
    let mut script = String::from("local asks = {}\nlocal next = 0\nfunction init(args)\n");
    for ask in asks {
        let authorization = ask.authorization.as_ref().map(|value| format!("[\"Authorization\"] = {value:?}"));
        writeln!(
            script,
            "  table.insert(asks, wrk.format(\"GET\", {:?}, {{{}}}))",
            ask.path,
            authorization.unwrap_or_default()
        )?;
    }
    script.push_str("end\nfunction request()\n  next = next % #asks + 1\n  return asks[next]\nend\n");
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("sequence.lua");
    fs::write(&file, script)?;
    let mut command = wrk(time);
    command.arg("-s").arg(&file).arg(format!("http://{}/", access.address));
    rate(&mut command, challenged)
}

fn wrk(time: Duration) -> Command {
    let mut command = Command::new("wrk");
    command.args(["-t2", "-c64", &format!("-d{}s", time.as_secs())]);
    command
}

fn rate(command: &mut Command, challenged: bool) -> Result<f64> {
    let output = command.output().context("wrk")?;
    let text = String::from_utf8_lossy(&output.stdout);
    ensure!(output.status.success(), "wrk: {}", String::from_utf8_lossy(&output.stderr));
    ensure!(challenged || !text.contains("Non-2xx"), "wrk got errors:\n{text}");
    let line = text.lines().find_map(|line| line.trim().strip_prefix("Requests/sec:"));
    Ok(line.with_context(|| format!("no rate from wrk:\n{text}"))?.trim().parse()?)
}
