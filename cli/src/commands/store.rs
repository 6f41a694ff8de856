//! `roadstead store`: the blob store as a whole.

use std::{
    fs,
    io::IsTerminal as _,
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _},
    path::PathBuf,
    time::{Duration, Instant},
};

use clap::{Args, Subcommand};
use indicatif::{ProgressBar, ProgressStyle};
use roadstead_dataplane::{CopyProgress, Count, StoreCopy};
use rustix::process::geteuid;
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    time::interval,
};

use crate::{
    failure::Failure,
    output::{self, human},
    settings::storage_url,
};

/// How often the bar moves.
const REDRAW: Duration = Duration::from_millis(200);
/// How often a line is written where there is no terminal for a bar.
const LINE_EVERY: Duration = Duration::from_secs(10);

/// Move the blob store
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
/// Can be broken off and run again: what is there already is left alone. Every blob is hashed on its way; damaged ones are named and
/// left out. Copy while the nodes run, stop them, copy once more (which is quick), and start them with the new --storage.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  roadstead store copy --from file:///var/lib/roadstead/blobs --to s3://bucket/roadstead
  roadstead store copy --from s3://bucket/roadstead --to file:///srv/blobs --jobs 8

Credentials for object stores come from the environment (AWS_ACCESS_KEY_ID, …). Exit code 1 if a blob was left out.")]
struct CopyFlags {
    /// The store to read: file:///ABSOLUTE/PATH, s3://BUCKET[/PREFIX], gs://… or az://…
    #[arg(long, value_name = "URL")]
    from: String,
    /// The store to write; a folder must not be in use by a node
    #[arg(long, value_name = "URL")]
    to: String,
    /// Where S3 is, if it is not Amazon's
    #[arg(long, env = "ROADSTEAD_S3_ENDPOINT", value_name = "URL")]
    s3_endpoint: Option<String>,
    /// Blobs copied at a time
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=256), value_name = "N")]
    jobs: u16,
    /// A folder with room for that many blobs on their way to an object store [default: the system's for temporary files]
    #[arg(long, value_name = "DIR")]
    staging: Option<PathBuf>,
}

impl StoreCommand {
    /// Does it.
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
        let bar = Bar::new();
        let left_out = |digest: &roadstead_proto::Digest, why: &str| bar.say(&format!("left out {digest}: {why}"));
        let done = {
            let work = copy.run(&progress, &left_out);
            let mut work = std::pin::pin!(work);
            let mut ticks = interval(REDRAW);
            loop {
                tokio::select! {
                    done = &mut work => break Some(done),
                    () = stop.asked() => break None,
                    _ = ticks.tick() => bar.show(&progress),
                }
            }
        };
        bar.finish();
        copy.settle().await;
        let summary = format!(
            "copied {}, there already {}, left out {}",
            told(&progress.copied),
            told(&progress.skipped),
            told(&progress.damaged)
        );
        match done {
            None => Err(Failure::failed(format_args!("broken off; {summary}; run it again to go on"))),
            Some(Err(error)) => Err(Failure::failed(format_args!("{error}; {summary}; run it again to go on"))),
            Some(Ok(())) if progress.damaged.get().0 > 0 => {
                Err(Failure::failed(format_args!("not all was copied: {summary}")))
            }
            Some(Ok(())) => output::print(&format!("{summary}\n")),
        }
    }
}

/// The folder in which blobs for `to` are staged: the same one for each run, so that a run cleans up after the last, and
/// nobody else's, whoever may write beside it.
fn staging_for(base: PathBuf, to: &str) -> Result<PathBuf, Failure> {
    let name = roadstead_proto::Digest::of(roadstead_proto::Algorithm::Sha256, to.as_bytes()).hex();
    let folder = base.join(format!("roadstead-copy-{}", &name[..16]));
    let refused = |why: &dyn std::fmt::Display| Failure::usage(format_args!("--staging {}: {why}", folder.display()));
    fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder).map_err(|error| refused(&error))?;
    let found = fs::symlink_metadata(&folder).map_err(|error| refused(&error))?;
    if !found.is_dir() || found.uid() != geteuid().as_raw() || found.mode() & 0o022 != 0 {
        return Err(refused(&"others can write there; name another folder with --staging"));
    }
    Ok(folder)
}

/// The signals that break a copy off.
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

fn told(count: &Count) -> String {
    let (blobs, bytes) = count.get();
    let number = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
    format!("{} ({})", human::count(number(blobs), "blob"), human::size(number(bytes)))
}

/// A progress bar on a terminal, a line now and then elsewhere.
struct Bar {
    bar: Option<ProgressBar>,
    next_line: std::cell::Cell<Instant>,
}

impl Bar {
    fn new() -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::new(0);
            let style = ProgressStyle::with_template("[{bar:30}] {bytes}/{total_bytes} {bytes_per_sec} {eta}");
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("=> "));
            bar
        });
        Self { bar, next_line: std::cell::Cell::new(Instant::now() + LINE_EVERY) }
    }

    fn show(&self, progress: &CopyProgress) {
        let done = progress.copied.get().1 + progress.skipped.get().1 + progress.damaged.get().1;
        if let Some(bar) = &self.bar {
            bar.set_length(progress.total.get().1);
            bar.set_position(done);
        } else if Instant::now() >= self.next_line.get() {
            self.next_line.set(Instant::now() + LINE_EVERY);
            eprintln!("copied {} of {}", told(&progress.copied), told(&progress.total));
        }
    }

    fn say(&self, line: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| eprintln!("{line}")),
            None => eprintln!("{line}"),
        }
    }

    fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
