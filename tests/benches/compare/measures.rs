//! The measures. Each measure starts servers with empty caches, so that none inherits what another left.

mod cold;
mod layers;
mod memory;
mod pull;
mod rate;
mod sign_in;
mod tag;
mod warm;

use anyhow::Result;
use clap::ValueEnum;
use tokio::runtime::Handle;

use crate::{
    content::Content,
    options::Options,
    origin::Origin,
    report::Report,
    targets::{Kind, Target},
};

/// A part of the run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Measure {
    /// Manifest by digest, requests per second
    Manifest,
    /// Blob of 1 KiB, requests per second
    Small,
    /// Manifest by tag, requests per second
    Tag,
    /// Sign-in by deploy token and by password, requests per second
    SignIn,
    /// Whole pull of a cached image, as Docker makes it: CPU
    Pull,
    /// Pull of an image of 40 layers that is not cached yet: time, CPU and calls to the control plane
    Layers,
    /// Large blob from the cache, eight clients: CPU and speed
    Warm,
    /// Large blob not yet cached, twenty clients: upstream requests and waiting
    Cold,
    /// Peak memory with many clients on large blobs not yet cached
    Memory,
}

/// The inputs of every measure.
pub struct Setting {
    /// The upstream.
    pub origin: Origin,
    /// The command line.
    pub options: Options,
    /// For what only asynchronous code does.
    pub runtime: Handle,
}

impl Measure {
    /// All, in the order in which they run.
    pub const ALL: [Self; 9] = [
        Self::Manifest,
        Self::Small,
        Self::Tag,
        Self::SignIn,
        Self::Pull,
        Self::Layers,
        Self::Warm,
        Self::Cold,
        Self::Memory,
    ];

    /// Runs all rounds.
    pub fn run(self, setting: &Setting, report: &mut Report) -> Result<()> {
        println!("\n{self:?}");
        match self {
            Self::Manifest => rate::run(&rate::MANIFEST, &Content::manifest(), setting, report),
            Self::Small => rate::run(&rate::SMALL, &Content::small(), setting, report),
            Self::Tag => tag::run(setting, report),
            Self::SignIn => sign_in::run(setting, report),
            Self::Pull => pull::run(setting, report),
            Self::Layers => layers::run(setting, report),
            Self::Warm => warm::run(setting, report),
            Self::Cold => cold::run(setting, report),
            Self::Memory => memory::run(setting, report),
        }
    }
}

impl Setting {
    /// Starts every server that is to be measured.
    fn start_all(&self) -> Result<Vec<Target>> {
        self.options.targets().into_iter().map(|kind| self.start(kind)).collect()
    }

    fn start(&self, kind: Kind) -> Result<Target> {
        kind.start(&self.origin, &self.runtime)
    }

    /// Runs `measure` for each server in turn, as often as there are rounds. A failing measure is noted, and the others
    /// continue.
    fn rounds(
        &self,
        targets: &[Target],
        report: &mut Report,
        mut measure: impl FnMut(&Target, &mut Report) -> Result<()>,
    ) {
        for _ in 0..self.options.rounds() {
            for target in targets {
                // What was written before is not to be written out now.
                rustix::fs::sync();
                if let Err(error) = measure(target, report) {
                    report.note(format!("{}: {error:#}", target.kind));
                }
            }
        }
    }
}
