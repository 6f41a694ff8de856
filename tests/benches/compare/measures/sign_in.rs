//! Signing in for a registry token, as clients do before each pull: the same credentials again and again.

use anyhow::Result;

use super::Setting;
use crate::{
    report::{Report, Row},
    targets::Credentials,
    usage, wrk,
};

static TOKEN_RATE: Row = Row { name: "sign-in by deploy token, requests/s", digits: 0, goal: "≥ 10000" };
static TOKEN_COST: Row = Row { name: "sign-in by deploy token, CPU µs/request", digits: 1, goal: "≤ 100" };
static PASSWORD_RATE: Row = Row { name: "sign-in by password, repeated, requests/s", digits: 0, goal: "" };
static PASSWORD_COST: Row = Row { name: "sign-in by password, repeated, CPU µs/request", digits: 1, goal: "≤ 200" };

/// Runs all rounds.
pub fn run(setting: &Setting, report: &mut Report) -> Result<()> {
    let (targets, time) = (setting.start_all()?, setting.options.load_time());
    for (credentials, rate, cost) in
        [(Credentials::DeployToken, &TOKEN_RATE, &TOKEN_COST), (Credentials::Password, &PASSWORD_RATE, &PASSWORD_COST)]
    {
        setting.rounds(&targets, report, |target, report| {
            let Some(ask) = target.sign_in(credentials) else { return Ok(()) };
            let (access, pid) = (target.access()?, target.pid()?);
            let before = usage::cpu_seconds(pid)?;
            let per_second = wrk::sequence_per_second(&access, &[ask], false, time)?;
            let cpu = usage::cpu_seconds(pid)? - before;
            report.add(rate, target.kind, per_second);
            report.add(cost, target.kind, cpu * 1e6 / (per_second * time.as_secs_f64()));
            Ok(())
        });
    }
    Ok(())
}
