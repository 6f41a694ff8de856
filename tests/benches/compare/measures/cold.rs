//! A large blob that nobody has pulled yet, for twenty clients at once, from an upstream that is slower than they are.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::Setting;
use crate::{
    fetch::{self, Transfer},
    origin::sending_time,
    report::{Report, Row},
};

const CLIENTS: usize = 20;

static GETS: Row = Row { name: "cold large blob × 20 clients, upstream GETs", digits: 0, goal: "1" };
static FIRST_BYTE: Row =
    Row { name: "… first byte after upstream's, median client, ms", digits: 1, goal: "≤ 20 ms" };
static LAST_FIRST_BYTE: Row =
    Row { name: "… first byte after upstream's, slowest client, ms", digits: 1, goal: "≤ 20 ms" };
static TIME: Row = Row { name: "… whole time ÷ upstream's own", digits: 3, goal: "≤ 1.05" };

/// Runs all rounds.
pub fn run(setting: &Setting, report: &mut Report) -> Result<()> {
    let origin = &setting.origin;
    let size = setting.options.large_blob_bytes();
    let rate = setting.options.upstream_bytes_per_second();
    let targets = setting.start_all()?;
    setting.rounds(&targets, report, |target, report| {
        let access = target.access()?;
        let digest = origin.add_large(size);
        origin.set_rate(rate);
        let started = Instant::now();
        let transfers = fetch::at_once(&access, &vec![access.blob(&digest); CLIENTS])?;
        let sent = origin.sent(&digest);
        origin.set_rate(0);
        fetch::verify(&access, &access.blob(&digest))?;

        let upstream = sent.first_byte.context("upstream was never asked")?;
        let mut waits: Vec<Duration> = transfers.iter().map(|transfer| wait(transfer, upstream)).collect();
        waits.sort();
        let finished = transfers.iter().map(|transfer| transfer.finished).max().unwrap_or(started);
        let milliseconds = |wait: Option<&Duration>| wait.map_or(0.0, Duration::as_secs_f64) * 1e3;
        report.add(&GETS, target.kind, sent.gets as f64);
        report.add(&FIRST_BYTE, target.kind, milliseconds(waits.get(CLIENTS / 2)));
        report.add(&LAST_FIRST_BYTE, target.kind, milliseconds(waits.last()));
        let ratio = (finished - started).as_secs_f64() / sending_time(size, rate).as_secs_f64();
        report.add(&TIME, target.kind, ratio);
        Ok(())
    });
    Ok(())
}

/// The delay of a client's first byte beyond the earliest possible moment: after upstream sent it and after the client
/// asked.
fn wait(transfer: &Transfer, upstream: Instant) -> Duration {
    transfer.first_byte.saturating_duration_since(upstream.max(transfer.asked))
}
