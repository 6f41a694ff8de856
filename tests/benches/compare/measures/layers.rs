//! An image of forty small layers that nobody has pulled yet, three layers at a time as Docker pulls them.

use std::time::Instant;

use anyhow::Result;

use super::Setting;
use crate::{
    content::Content,
    fetch,
    report::{Report, Row},
    usage,
};

const LAYERS: u64 = 40;
const LAYER_BYTES: usize = 256 << 10;
/// Layers that Docker pulls at a time.
const AT_ONCE: usize = 3;

static TIME: Row = Row { name: "cold pull of 40 layers of 256 KiB, ms", digits: 0, goal: "" };
static CPU: Row = Row { name: "cold pull of 40 layers of 256 KiB, CPU ms", digits: 0, goal: "" };
static CALLS: Row = Row { name: "cold pull of 40 layers, calls to the control plane", digits: 0, goal: "≤ 6" };

/// Runs all rounds, each with an image of its own.
pub fn run(setting: &Setting, report: &mut Report) -> Result<()> {
    setting.origin.set_rate(0);
    let targets = setting.start_all()?;
    let mut images = 0;
    setting.rounds(&targets, report, |target, report| {
        images += 1;
        let layer = |number| Content::layer(images * 1000 + number, LAYER_BYTES);
        let blobs: Vec<Content> = (0..=LAYERS).map(layer).collect();
        let manifest = setting.origin.add(Content::manifest_of(&blobs));
        let blobs: Vec<String> = blobs.into_iter().map(|blob| setting.origin.add(blob)).collect();
        let (access, pid) = (target.access()?, target.pid()?);
        let paths: Vec<String> = blobs.iter().map(|blob| access.blob(blob)).collect();

        let (before, calls, started) = (usage::cpu_seconds(pid)?, target.calls(), Instant::now());
        fetch::verify(&access, &access.manifest(&manifest))?;
        for paths in paths.chunks(AT_ONCE) {
            fetch::at_once(&access, paths)?;
        }
        let time = started.elapsed();
        // What is recorded a moment after the last byte is part of the pull.
        std::thread::sleep(std::time::Duration::from_millis(1500));
        report.add(&TIME, target.kind, time.as_secs_f64() * 1e3);
        report.add(&CPU, target.kind, (usage::cpu_seconds(pid)? - before) * 1e3);
        if let (Some(before), Some(now)) = (calls, target.calls()) {
            report.add(&CALLS, target.kind, now - before);
        }
        Ok(())
    });
    Ok(())
}
