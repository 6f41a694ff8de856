//! `roadstead cache`: lists a group's cached content, purges it, pins tags and prefetches images.

mod check;
mod content;
mod list;
mod prefetch;
mod purge;
mod retention;
mod schedule;
mod stats;
mod tag;

use std::time::SystemTime;

use clap::{Args, Subcommand};
use roadstead_proto::v1::{ApplyRetentionRequest, cache_service_client::CacheServiceClient};

use self::{
    check::Check,
    list::{Blobs, Images, List, Tags},
    prefetch::Prefetch,
    purge::Purge,
    schedule::ScheduleCommand,
    stats::Stats,
    tag::{History, Pin, Unpin},
};
use crate::{
    connect::{AdminFlags, CallError, Session},
    failure::Failure,
};

/// List a group's cached content, purge it, pin tags, prefetch images
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  roadstead cache images acme --sort size
  roadstead cache list acme --image alpine
  roadstead cache stats acme --days 30
  roadstead cache purge acme --older-than 30d --dry-run
  roadstead cache purge acme --image alpine:3.20
  roadstead cache retention acme --dry-run
  roadstead cache history acme alpine:3.20
  roadstead cache pin acme alpine:3.20 --previous
  roadstead cache check acme --deep
  roadstead cache prefetch acme alpine:3.20 --platform linux/amd64
  roadstead cache prefetch acme alpine:3.20 --every 6h")]
pub struct CacheCommand {
    #[command(subcommand)]
    action: Action,
    #[command(flatten)]
    admin: AdminFlags,
}

#[derive(Debug, Subcommand)]
enum Action {
    List(List),
    Images(Images),
    Tags(Tags),
    Blobs(Blobs),
    Stats(Stats),
    Purge(Purge),
    /// Apply the group's retention and quota now, or list what they would remove
    #[command(after_help = "Example:\n  roadstead cache retention acme --dry-run")]
    Retention {
        /// Path of the group
        path: String,
        /// List what would be removed, and remove nothing
        #[arg(long)]
        dry_run: bool,
    },
    History(History),
    Pin(Pin),
    Unpin(Unpin),
    Prefetch(Prefetch),
    Check(Check),
    Schedule(ScheduleCommand),
}

impl CacheCommand {
    /// Calls the control plane and prints its answer.
    pub async fn run(self) -> Result<(), Failure> {
        if let Action::Purge(purge) = &self.action {
            purge.check()?;
        }
        self.admin.call(async |session| self.action.run(session).await).await
    }
}

impl Action {
    async fn run(self, session: &Session) -> Result<(), CallError> {
        let mut cache = CacheServiceClient::new(session.channel());
        let output = session.output;
        match self {
            Self::List(list) => list.run(session).await?,
            Self::Images(images) => images.run(session).await?,
            Self::Tags(tags) => tags.run(session).await?,
            Self::Blobs(blobs) => blobs.run(session).await?,
            Self::Stats(stats) => stats.run(cache, output).await?,
            Self::Purge(purge) => purge.run(session).await?,
            Self::Retention { path, dry_run } => {
                let request = ApplyRetentionRequest { group_path: path, dry_run };
                let answer = cache.apply_retention(request).await?.into_inner();
                output.answer(&answer, || retention::summary(&answer, dry_run))?;
                if output.is_for_people() && !answer.evictions.is_empty() {
                    output.list(&answer.evictions, "", |gone| retention::table(gone, SystemTime::now()))?;
                }
            }
            Self::History(history) => history.run(cache, output).await?,
            Self::Pin(pin) => pin.run(cache, output).await?,
            Self::Unpin(unpin) => unpin.run(cache, output).await?,
            Self::Check(check) => check.run(cache, output).await?,
            Self::Prefetch(prefetch) => prefetch.run(cache, output).await?,
            Self::Schedule(schedule) => schedule.run(session).await?,
        }
        Ok(())
    }
}
