//! A large blob from the cache, for eight clients at once.

use std::time::Instant;

use anyhow::Result;

use super::Setting;
use crate::{
    fetch,
    report::{Report, Row},
    usage,
};

const CLIENTS: usize = 8;
/// Pulls of each client in a round; CPU time is counted in hundredths of a second.
const PULLS: usize = 2;
/// 2^30 bytes.
const GIB: f64 = 1_073_741_824.0;

static CPU: Row = Row { name: "large blob × 8 clients, CPU-s/GiB", digits: 3, goal: "≤ 1.0 × nginx" };
static SPEED: Row = Row { name: "large blob × 8 clients, GiB/s", digits: 2, goal: "" };

/// Runs all rounds.
pub fn run(setting: &Setting, report: &mut Report) -> Result<()> {
    let size = setting.options.large_blob_bytes();
    let digest = setting.origin.add_large(size);
    setting.origin.set_rate(0);
    let targets = setting.start_all()?;
    setting.rounds(&targets, report, |target, report| {
        let (access, pid) = (target.access()?, target.pid()?);
        let paths = vec![access.blob(&digest); CLIENTS];
        // Brings it into the cache (of files, too) and shows that it is the right one.
        fetch::verify(&access, &access.blob(&digest))?;
        let (before, started) = (usage::cpu_seconds(pid)?, Instant::now());
        for _ in 0..PULLS {
            fetch::at_once(&access, &paths)?;
        }
        let (cpu, time) = (usage::cpu_seconds(pid)? - before, started.elapsed());
        let gib = size as f64 * (CLIENTS * PULLS) as f64 / GIB;
        report.add(&CPU, target.kind, cpu / gib);
        report.add(&SPEED, target.kind, gib / time.as_secs_f64());
        Ok(())
    });
    Ok(())
}
