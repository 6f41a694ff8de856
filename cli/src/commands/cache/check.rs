//! `roadstead cache check`: verifies that a group's content is in the blob store. Corrupt content is an answer and not a
//! failure, since the next pull heals it.

use std::time::SystemTime;

use clap::Args;
use roadstead_proto::v1::{
    CheckCacheRequest, CheckCacheResponse, Corruption, CorruptionKind, cache_service_client::CacheServiceClient,
};

use super::content::short_digest;
use crate::{
    connect::{AdminChannel, CallError},
    failure::Failure,
    output::{Format, Progress, Table, human},
};

/// Check that a group's cached content is in the blob store, and list missing and corrupt content
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  roadstead cache check acme
  roadstead cache check acme --deep -o json

Corrupt content is quarantined, and the next pull fetches it again. The exit code is 0 even if there is some.")]
pub struct Check {
    /// Path of the group
    path: String,
    /// Read and hash all bytes, instead of checking only presence and size
    #[arg(long)]
    deep: bool,
    /// Show digests in full
    #[arg(long)]
    no_trunc: bool,
}

impl Check {
    /// Follows the check to its end and lists the corrupt content.
    pub async fn run(self, mut cache: CacheServiceClient<AdminChannel>, output: Format) -> Result<(), CallError> {
        let Self { path: group_path, deep, no_trunc } = self;
        let mut steps =
            cache.check_cache(CheckCacheRequest { group_path: group_path.clone(), deep }).await?.into_inner();
        let progress = Progress::of_items(&group_path);
        let mut corruptions: Vec<Corruption> = Vec::new();
        while let Some(mut step) = steps.message().await? {
            corruptions.append(&mut step.corruptions);
            let amount = |count| u64::try_from(count).unwrap_or_default();
            progress.show(amount(step.checked), amount(step.total), || line(&group_path, &step));
            if step.done {
                drop(progress);
                let checked = human::count(step.checked, "object");
                eprintln!("{}: {checked} checked, {}", crate::output::plain(&group_path), found(corruptions.len()));
                return Ok(output.list(&corruptions, "No corrupt content found.", |corruptions| {
                    table(corruptions, no_trunc, SystemTime::now())
                })?);
            }
        }
        Err(Failure::failed(format_args!("the check of group {group_path} ended early; try again")).into())
    }
}

fn found(corruptions: usize) -> String {
    match corruptions {
        0 => "all present".to_owned(),
        corruptions => format!("{corruptions} missing or corrupt; the next pull fetches them again"),
    }
}

fn line(group_path: &str, step: &CheckCacheResponse) -> String {
    let read = if step.read_bytes > 0 { format!(", {} read", human::size(step.read_bytes)) } else { String::new() };
    format!("{}: {} of {} checked{read}", crate::output::plain(group_path), step.checked, step.total)
}

fn table(corruptions: &[Corruption], full_digests: bool, now: SystemTime) -> Table {
    Table::new(
        ["IMAGE", "DIGEST", "CORRUPTION", "+SIZE", "+FOUND", "NOTICED", "FETCHED AGAIN"],
        corruptions,
        |corruption| {
            [
                corruption.images.join(","),
                if full_digests { corruption.digest.clone() } else { short_digest(&corruption.digest) },
                kind(corruption.kind()).to_owned(),
                human::size(corruption.size_bytes),
                if corruption.kind() == CorruptionKind::Missing {
                    "-".to_owned()
                } else {
                    human::size(corruption.found_bytes)
                },
                human::relative(corruption.noticed_at.as_ref(), now, "-"),
                human::relative(corruption.healed_at.as_ref(), now, "no"),
            ]
        },
    )
}

fn kind(kind: CorruptionKind) -> &'static str {
    match kind {
        CorruptionKind::Missing => "missing",
        CorruptionKind::Size => "wrong size",
        CorruptionKind::Digest => "wrong bytes",
        CorruptionKind::Unspecified => "-",
    }
}

#[cfg(test)]
mod tests;
