//! The requests of a whole `docker pull` of a cached image with five layers: the challenge and the sign-in where there are any, the tag
//! (by GET, because wrk cannot send Docker's HEAD), the manifest by digest, and the blobs.

use anyhow::Result;

use super::Setting;
use crate::{
    content::Content,
    fetch,
    report::{Report, Row},
    targets::Credentials,
    usage,
    wrk::{self, Ask},
};

const TAG: &str = "whole";
/// The config and five layers.
const BLOBS: u64 = 6;

static COST: Row = Row { name: "whole warm pull (6 blobs of 1 KiB), CPU µs", digits: 0, goal: "≤ 400" };

/// Runs all rounds.
pub fn run(setting: &Setting, report: &mut Report) -> Result<()> {
    let blobs: Vec<Content> = (0..BLOBS).map(|number| Content::layer(100 + number, 1024)).collect();
    let manifest = setting.origin.add(Content::manifest_of(&blobs));
    setting.origin.tag(TAG, &manifest);
    let blobs: Vec<String> = blobs.into_iter().map(|blob| setting.origin.add(blob)).collect();
    let (targets, time) = (setting.start_all()?, setting.options.load_time());
    setting.rounds(&targets, report, |target, report| {
        let (access, pid) = (target.access()?, target.pid()?);
        fetch::discard(&access, &access.manifest(TAG))?;
        fetch::verify(&access, &access.manifest(&manifest))?;
        blobs.iter().try_for_each(|blob| fetch::verify(&access, &access.blob(blob)))?;

        let sign_in = target.sign_in(Credentials::DeployToken);
        let is_challenged = sign_in.is_some();
        let mut asks = vec![Ask { path: "/v2/".to_owned(), authorization: None }];
        asks.extend(sign_in);
        asks.push(Ask::get(&access, access.manifest(TAG)));
        asks.push(Ask::get(&access, access.manifest(&manifest)));
        asks.extend(blobs.iter().map(|blob| Ask::get(&access, access.blob(blob))));
        let before = usage::cpu_seconds(pid)?;
        let per_second = wrk::sequence_per_second(&access, &asks, is_challenged, time)?;
        let cpu = usage::cpu_seconds(pid)? - before;
        report.add(&COST, target.kind, cpu * 1e6 * asks.len() as f64 / (per_second * time.as_secs_f64()));
        Ok(())
    });
    Ok(())
}
