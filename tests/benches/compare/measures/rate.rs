//! Small answers from the cache: how many per second, and what each costs.

use anyhow::Result;

use super::Setting;
use crate::{
    content::Content,
    fetch::{self, Access},
    report::{Report, Row},
    usage, wrk,
};

/// The requests, and the rows that their results fill.
pub struct Rate {
    path: fn(&Access, &str) -> String,
    rate: Row,
    cost: Row,
}

/// A manifest by its digest.
pub static MANIFEST: Rate = Rate {
    path: Access::manifest,
    rate: Row { name: "manifest by digest, requests/s", digits: 0, goal: "≥ 1.0 × nginx" },
    cost: Row { name: "manifest by digest, CPU µs/request", digits: 1, goal: "" },
};

/// A blob of 1 KiB.
pub static SMALL: Rate = Rate {
    path: Access::blob,
    rate: Row { name: "1 KiB blob, requests/s", digits: 0, goal: "≥ 1.0 × nginx" },
    cost: Row { name: "1 KiB blob, CPU µs/request", digits: 1, goal: "" },
};

/// Runs all rounds.
pub fn run(rate: &'static Rate, content: &Content, setting: &Setting, report: &mut Report) -> Result<()> {
    let digest = setting.origin.add(content.clone());
    let targets = setting.start_all()?;
    let time = setting.options.load_time();
    setting.rounds(&targets, report, |target, report| {
        let (access, pid) = (target.access()?, target.pid()?);
        let path = (rate.path)(&access, &digest);
        fetch::verify(&access, &path)?;
        let before = usage::cpu_seconds(pid)?;
        let per_second = wrk::requests_per_second(&access, &path, time)?;
        let cpu = usage::cpu_seconds(pid)? - before;
        report.add(&rate.rate, target.kind, per_second);
        report.add(&rate.cost, target.kind, cpu * 1e6 / (per_second * time.as_secs_f64()));
        Ok(())
    });
    Ok(())
}
