//! The command line.

use std::{env, thread, time::Duration};

use anyhow::{Result, bail};
use clap::Parser;

use crate::{content::MIB, machine, measures::Measure, targets::Kind};

/// Compares Roadstead with nginx and docker-registry
#[derive(Debug, Parser)]
pub struct Options {
    /// Handed over by `cargo bench`; without it (`cargo test --all-targets`) nothing is run
    #[arg(long, hide = true)]
    pub bench: bool,
    /// A short run to see that everything works: one round, short and small
    #[arg(long)]
    quick: bool,
    /// Measure only this; repeat for more
    #[arg(long, value_enum)]
    only: Vec<Measure>,
    /// Measure only this server; repeat for more
    #[arg(long = "target", value_enum)]
    targets: Vec<Kind>,
    /// Rounds of each measure; medians are shown [default: 3]
    #[arg(long)]
    rounds: Option<usize>,
    /// Seconds that each run of wrk takes [default: 5]
    #[arg(long)]
    seconds: Option<u64>,
    /// Size of the large blobs in MiB [default: 300]
    #[arg(long)]
    blob_mib: Option<u64>,
    /// Clients of the memory measures [default: 200]
    #[arg(long)]
    clients: Option<usize>,
    /// Rate at which upstream sends in the cold measures, in MiB per second and connection
    #[arg(long, default_value_t = 60)]
    upstream_mib: u64,
}

impl Options {
    /// True if a measure is to run.
    pub fn wants(&self, measure: Measure) -> bool {
        self.only.is_empty() || self.only.contains(&measure)
    }

    /// The servers to measure, Roadstead first.
    pub fn targets(&self) -> Vec<Kind> {
        Kind::ALL.into_iter().filter(|kind| self.targets.is_empty() || self.targets.contains(kind)).collect()
    }

    /// Rounds of each measure.
    pub fn rounds(&self) -> usize {
        self.rounds.unwrap_or(if self.quick { 1 } else { 3 })
    }

    /// Duration of each run of wrk.
    pub fn load_time(&self) -> Duration {
        Duration::from_secs(self.seconds.unwrap_or(if self.quick { 2 } else { 5 }))
    }

    /// Size of the large blobs, in bytes.
    pub fn large_blob_bytes(&self) -> u64 {
        self.blob_mib.unwrap_or(if self.quick { 30 } else { 300 }) * MIB
    }

    /// Clients of the memory measures.
    pub fn memory_clients(&self) -> usize {
        self.clients.unwrap_or(if self.quick { 50 } else { 200 })
    }

    /// Rate at which upstream sends in the cold measures, per second and connection.
    pub fn upstream_bytes_per_second(&self) -> u64 {
        self.upstream_mib.max(1) * MIB
    }

    /// The sizes of this run, in a sentence.
    pub fn describe(&self) -> String {
        let cores = thread::available_parallelism().map_or(0, usize::from);
        format!(
            "{}; {cores} cores; Roadstead of the build profile `{}`; medians (least to most) of {} rounds (memory: one); large blobs of {} MiB; {} clients in the memory measures; \
             upstream sends {} MiB/s in the cold measures.",
            machine::describe(),
            machine::profile(),
            self.rounds(),
            self.large_blob_bytes() / MIB,
            self.memory_clients(),
            self.upstream_mib,
        )
    }

    /// Says what to install if a program is missing.
    pub fn check_programs(&self) -> Result<()> {
        let mut wanted = vec!["wrk"];
        wanted.extend(self.targets().into_iter().filter_map(Kind::program));
        let missing: Vec<&str> = wanted.into_iter().filter(|program| !installed(program)).collect();
        if !missing.is_empty() {
            // On Debian all of them come in packages of their own names.
            bail!("missing programs; on Debian: apt-get install {}", missing.join(" "));
        }
        Ok(())
    }
}

fn installed(program: &str) -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    // nginx lives in /usr/sbin, which is not on everybody's path.
    env::split_paths(&path).chain(["/usr/sbin".into()]).any(|folder| folder.join(program).is_file())
}
