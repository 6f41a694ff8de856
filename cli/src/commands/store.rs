//! `roadstead store`: operations on a whole blob store.

use std::{
    fs,
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _},
    path::PathBuf,
    time::Duration,
};

use clap::{Args, Subcommand};
use roadstead_dataplane::{CopyProgress, Count, StoreCopy};
use rustix::process::geteuid;
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    time::interval,
};

use crate::{
    failure::Failure,
    output::{self, Progress, human},
    settings::storage_url,
};

/// Interval at which the progress bar is redrawn.
const REDRAW: Duration = Duration::from_millis(200);

/// Copy the blob store
#[derive(Debug, Args)]
pub struct StoreCommand {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    Copy(CopyFlags),
}

/// Copy all blobs of one store to another
///
/// The copy can be interrupted and run again: it skips blobs that the target has. It hashes every blob, and names and skips corrupt
/// ones. Copy while the nodes run, stop them, copy once more (which is quick), and start them with the new --storage.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  roadstead store copy --from file:///srv/blobs --to s3://bucket/roadstead
  roadstead store copy --from s3://bucket/x --to file:///srv/blobs --jobs 8

Credentials for object stores come from the environment (AWS_ACCESS_KEY_ID, …). \
The exit code is 1 if a blob was skipped as corrupt.")]
struct CopyFlags {
    /// Store to read: file:///ABSOLUTE/PATH, s3://BUCKET[/PREFIX], gs://… or az://…
    #[arg(long, value_name = "URL")]
    from: String,
    /// Store to write; a folder must not be in use by a node
    #[arg(long, value_name = "URL")]
    to: String,
    /// Endpoint of an S3 store other than Amazon's
    #[arg(long, env = "ROADSTEAD_S3_ENDPOINT", value_name = "URL")]
    s3_endpoint: Option<String>,
    /// Number of blobs copied at a time
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=256), value_name = "N")]
    jobs: u16,
    /// Folder with room for that many blobs on their way to an object store [default: the system's folder for temporary files]
    #[arg(long, value_name = "DIR")]
    staging: Option<PathBuf>,
}

impl StoreCommand {
    /// Runs the command.
    pub async fn run(self) -> Result<(), Failure> {
        match self.action {
            Action::Copy(flags) => flags.run().await,
        }
    }
}

impl CopyFlags {
    async fn run(self) -> Result<(), Failure> {
        let endpoint = self.s3_endpoint.as_deref();
        let (from, to) = (storage_url("--from", &self.from, endpoint)?, storage_url("--to", &self.to, endpoint)?);
        if from == to {
            return Err(Failure::usage(format_args!("--from and --to are both {}", self.from)));
        }
        let staging = staging_for(self.staging.unwrap_or_else(std::env::temp_dir), &self.to)?;
        let copy = StoreCopy { from, to, staging, jobs: self.jobs.into() };
        let mut stop = Stop::listen()?;
        let progress = CopyProgress::default();
        let bar = Progress::of_bytes("");
        let left_out = |digest: &roadstead_proto::Digest, why: &str| bar.message(&format!("skipped {digest}: {why}"));
        let done = {
            let work = copy.run(&progress, &left_out);
            let mut work = std::pin::pin!(work);
            let mut ticks = interval(REDRAW);
            loop {
                tokio::select! {
                    done = &mut work => break Some(done),
                    () = stop.asked() => break None,
                    _ = ticks.tick() => show(&bar, &progress),
                }
            }
        };
        drop(bar);
        copy.settle().await;
        let summary = format!(
            "copied {}, already present {}, skipped as corrupt {}",
            describe(&progress.copied),
            describe(&progress.skipped),
            describe(&progress.damaged)
        );
        match done {
            None => Err(Failure::failed(format_args!("interrupted; {summary}; run it again to continue"))),
            Some(Err(error)) => Err(Failure::failed(format_args!("{error}; {summary}; run it again to continue"))),
            Some(Ok(())) if progress.damaged.get().0 > 0 => Err(Failure::failed(format_args!("incomplete: {summary}"))),
            Some(Ok(())) => output::print(&format!("{summary}\n")),
        }
    }
}

/// Returns the folder in which blobs for `to` are staged. Each run uses the same one and cleans up after the last; it fails if
/// others can write there.
fn staging_for(base: PathBuf, to: &str) -> Result<PathBuf, Failure> {
    let name = roadstead_proto::Digest::of(roadstead_proto::Algorithm::Sha256, to.as_bytes()).hex();
    let folder = base.join(format!("roadstead-copy-{}", &name[..16]));
    let refused = |why: &dyn std::fmt::Display| Failure::usage(format_args!("--staging {}: {why}", folder.display()));
    fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder).map_err(|error| refused(&error))?;
    let found = fs::symlink_metadata(&folder).map_err(|error| refused(&error))?;
    if !found.is_dir() || found.uid() != geteuid().as_raw() || found.mode() & 0o022 != 0 {
        return Err(refused(&"others can write to it; name another folder with --staging"));
    }
    Ok(folder)
}

/// The signals that interrupt a copy.
struct Stop {
    interrupt: Signal,
    terminate: Signal,
}

impl Stop {
    fn listen() -> Result<Self, Failure> {
        let listen = |kind| signal(kind).map_err(|error| Failure::failed(format_args!("cannot start: {error}")));
        Ok(Self { interrupt: listen(SignalKind::interrupt())?, terminate: listen(SignalKind::terminate())? })
    }

    async fn asked(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

fn show(bar: &Progress, progress: &CopyProgress) {
    let done = progress.copied.get().1 + progress.skipped.get().1 + progress.damaged.get().1;
    let line = || format!("copied {} of {}", describe(&progress.copied), describe(&progress.total));
    bar.show(done, progress.total.get().1, line);
}

fn describe(count: &Count) -> String {
    let (blobs, bytes) = count.get();
    let number = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
    format!("{} ({})", human::count(number(blobs), "blob"), human::size(number(bytes)))
}
