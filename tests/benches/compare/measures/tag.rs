//! A cached manifest by its tag, 64 clients of one tag. nginx serves its copy for a day without asking; docker-registry asks
//! upstream each time, as Roadstead does unless a group has a `max_age`.

use anyhow::Result;

use super::Setting;
use crate::{
    content::Content,
    fetch,
    report::{Report, Row},
    targets::Target,
    usage, wrk,
};

const TAG: &str = "latest";

static RATE: Row = Row { name: "manifest by tag, requests/s", digits: 0, goal: "≥ 10000" };
static COST: Row = Row { name: "manifest by tag, CPU µs/request", digits: 1, goal: "" };
static AGED_RATE: Row =
    Row { name: "manifest by tag within max_age, requests/s", digits: 0, goal: "≥ 0.5 × by digest" };
static AGED_COST: Row = Row { name: "manifest by tag within max_age, CPU µs/request", digits: 1, goal: "" };

/// Runs all rounds: with the defaults, then with a `max_age` where that is to be set.
pub fn run(setting: &Setting, report: &mut Report) -> Result<()> {
    let digest = setting.origin.add(Content::manifest());
    setting.origin.tag(TAG, &digest);
    let mut targets = setting.start_all()?;
    setting.rounds(&targets, report, |target, report| measure(setting, report, target, &RATE, &COST));
    targets.retain(Target::set_max_age);
    setting.rounds(&targets, report, |target, report| measure(setting, report, target, &AGED_RATE, &AGED_COST));
    Ok(())
}

fn measure(
    setting: &Setting,
    report: &mut Report,
    target: &Target,
    rate: &'static Row,
    cost: &'static Row,
) -> Result<()> {
    let (access, pid, time) = (target.access()?, target.pid()?, setting.options.load_time());
    let path = access.manifest(TAG);
    fetch::discard(&access, &path)?;
    let before = usage::cpu_seconds(pid)?;
    let per_second = wrk::requests_per_second(&access, &path, time)?;
    let cpu = usage::cpu_seconds(pid)? - before;
    report.add(rate, target.kind, per_second);
    report.add(cost, target.kind, cpu * 1e6 / (per_second * time.as_secs_f64()));
    Ok(())
}
