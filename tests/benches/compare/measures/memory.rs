//! Peak anonymous memory while many clients pull large blobs that nobody has pulled yet, from an upstream as fast as it
//! goes. One round, a new server for each.

use anyhow::Result;

use super::Setting;
use crate::{
    content::MIB,
    fetch,
    report::{Report, Row},
    targets::Kind,
    usage::PeakMemory,
};

static ONE_BLOB: Row = Row { name: "peak RssAnon, many clients on one cold blob, MiB", digits: 1, goal: "≤ 64 MiB" };
static MANY_BLOBS: Row =
    Row { name: "peak RssAnon, many clients on 20 cold blobs, MiB", digits: 1, goal: "≤ 64 MiB" };

/// Runs both: all clients on one blob, and spread over twenty.
pub fn run(setting: &Setting, report: &mut Report) -> Result<()> {
    setting.origin.set_rate(0);
    for (row, blobs) in [(&ONE_BLOB, 1), (&MANY_BLOBS, 20)] {
        for kind in setting.options.targets() {
            rustix::fs::sync();
            if let Err(error) = measure(row, blobs, kind, setting, report) {
                report.note(format!("{kind}: {error:#}"));
            }
        }
    }
    Ok(())
}

fn measure(row: &'static Row, blobs: usize, kind: Kind, setting: &Setting, report: &mut Report) -> Result<()> {
    let size = setting.options.large_blob_bytes();
    let digests: Vec<String> = (0..blobs).map(|_| setting.origin.add_large(size)).collect();
    let target = setting.start(kind)?;
    let access = target.access()?;
    let clients = setting.options.memory_clients();
    let paths: Vec<String> = digests.iter().cycle().take(clients).map(|digest| access.blob(digest)).collect();
    let memory = PeakMemory::watch(target.pid()?);
    let transfers = fetch::at_once(&access, &paths);
    let peak = memory.peak();
    transfers?;
    report.add(row, kind, peak as f64 / MIB as f64);
    Ok(())
}
