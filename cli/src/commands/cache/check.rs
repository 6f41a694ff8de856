//! `roadstead cache check`: whether what a group links is in the blob store. Progress goes to stderr: a bar on a terminal,
//! otherwise a line now and then. What was found wrong is the answer; finding it is no failure, since the next pull heals it.

use std::{
    io::IsTerminal,
    time::{Duration, Instant, SystemTime},
};

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use roadstead_proto::v1::{
    CheckCacheRequest, CheckCacheResponse, Damage, DamageKind, cache_service_client::CacheServiceClient,
};

use crate::{
    connect::{AdminChannel, CallError},
    failure::Failure,
    output::{Format, Table, human},
};

/// How often to say a line where there is no terminal.
const LINE_EVERY: Duration = Duration::from_secs(5);

/// Look whether everything a group has cached is in the blob store, and list what is missing or damaged
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  roadstead cache check acme
  roadstead cache check acme --deep -o json

What is damaged is put aside, and the next pull fetches it again. The exit code is 0 whether or not damage was found.")]
pub struct Check {
    /// Path of the group
    path: String,
    /// Read and hash all bytes, instead of looking at presence and size only
    #[arg(long)]
    deep: bool,
}

impl Check {
    /// Follows the check to its end and lists what it found.
    pub async fn run(self, mut cache: CacheServiceClient<AdminChannel>, output: Format) -> Result<(), CallError> {
        let Self { path: group_path, deep } = self;
        let mut steps =
            cache.check_cache(CheckCacheRequest { group_path: group_path.clone(), deep }).await?.into_inner();
        let mut progress = Progress::new(&group_path);
        let mut damages: Vec<Damage> = Vec::new();
        while let Some(mut step) = steps.message().await? {
            damages.append(&mut step.damages);
            progress.show(&step);
            if step.done {
                drop(progress);
                let checked = human::count(step.checked, "object");
                eprintln!("{}: {checked} checked, {}", crate::output::plain(&group_path), found(damages.len()));
                return Ok(output.list(&damages, "No damage found.", |damages| table(damages, SystemTime::now()))?);
            }
        }
        Err(Failure::failed(format_args!("the check of {group_path} ended before it was through; try again")).into())
    }
}

fn found(damages: usize) -> String {
    match damages {
        0 => "all there".to_owned(),
        damages => format!("{damages} missing or damaged; the next pull fetches them again"),
    }
}

/// Shows how far it is. The bar goes when this is dropped.
struct Progress<'a> {
    group_path: &'a str,
    bar: Option<ProgressBar>,
    next_line: Instant,
}

impl<'a> Progress<'a> {
    fn new(group_path: &'a str) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::new(0);
            let style = ProgressStyle::with_template("{msg} [{bar:30}] {pos}/{len} {eta}");
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("=> "));
            bar.set_message(crate::output::plain(group_path).into_owned());
            bar
        });
        Self { group_path, bar, next_line: Instant::now() + LINE_EVERY }
    }

    fn show(&mut self, step: &CheckCacheResponse) {
        if let Some(bar) = &self.bar {
            bar.set_length(u64::try_from(step.total).unwrap_or_default());
            bar.set_position(u64::try_from(step.checked).unwrap_or_default());
        } else if Instant::now() >= self.next_line {
            self.next_line = Instant::now() + LINE_EVERY;
            eprintln!("{}", line(self.group_path, step));
        }
    }
}

impl Drop for Progress<'_> {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

fn line(group_path: &str, step: &CheckCacheResponse) -> String {
    let read = if step.read_bytes > 0 { format!(", {} read", human::size(step.read_bytes)) } else { String::new() };
    format!("{}: {} of {} checked{read}", crate::output::plain(group_path), step.checked, step.total)
}

fn table(damages: &[Damage], now: SystemTime) -> Table {
    Table::new(["IMAGE", "DIGEST", "DAMAGE", "SIZE", "FOUND", "NOTICED", "FETCHED AGAIN"], damages, |damage| {
        [
            damage.images.join(","),
            damage.digest.clone(),
            kind(damage.kind()).to_owned(),
            human::size(damage.size_bytes),
            if damage.kind() == DamageKind::Missing { "-".to_owned() } else { human::size(damage.found_bytes) },
            human::relative(damage.noticed_at.as_ref(), now, "-"),
            human::relative(damage.healed_at.as_ref(), now, "no"),
        ]
    })
}

fn kind(kind: DamageKind) -> &'static str {
    match kind {
        DamageKind::Missing => "missing",
        DamageKind::Size => "wrong size",
        DamageKind::Digest => "wrong bytes",
        DamageKind::Unspecified => "-",
    }
}

#[cfg(test)]
mod tests;
