//! `roadstead cache`: lists a group's cached content, purges it, pins tags and prefetches images.

mod check;
mod content;
mod list;
mod prefetch;
mod retention;
mod schedule;
mod stats;
mod tag;

use std::time::{Duration, SystemTime};

use clap::{Args, Subcommand};
use roadstead_proto::v1::{ApplyRetentionRequest, PurgeCacheRequest, cache_service_client::CacheServiceClient};

use self::{
    check::Check,
    list::{Blobs, Images, List, Tags},
    prefetch::Prefetch,
    schedule::ScheduleCommand,
    stats::Stats,
    tag::{History, Pin, Unpin},
};
use crate::{
    connect::{AdminFlags, CallError, Session},
    failure::Failure,
    output::{Format, print},
    value_parsers::{duration, to_proto},
};

/// List a group's cached content, purge it, pin tags, prefetch images
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  roadstead cache images acme --sort size
  roadstead cache list acme --image alpine
  roadstead cache stats acme --days 30
  roadstead cache purge acme --older-than 30d --dry-run
  roadstead cache purge acme --image alpine --tag 3.20
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

/// Remove cached content from a group, or from all groups: content that matches every given filter, or all of it
///
/// When the command returns, no node serves the removed content. The answer names nodes that could not be reached: they refuse
/// the content once they are back, and refuse everything after --max-control-outage.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  roadstead cache purge acme --older-than 30d --dry-run
  roadstead cache purge acme --image alpine --tag 3.20
  roadstead cache purge acme --upstream ghcr.io
  roadstead cache purge --all-groups --older-than 90d")]
struct Purge {
    /// Path of the group
    #[arg(required_unless_present = "all_groups", conflicts_with = "all_groups")]
    path: Option<String>,
    /// Purge all groups; for administrators and service tokens of all groups
    #[arg(long)]
    all_groups: bool,
    /// Only this image
    #[arg(long)]
    image: Option<String>,
    /// Only content from this upstream
    #[arg(long, value_name = "HOST")]
    upstream: Option<String>,
    /// Only the manifest that this tag of the image resolves to now
    #[arg(long, requires = "image")]
    tag: Option<String>,
    /// Only the manifest or blob with this digest
    #[arg(long)]
    digest: Option<String>,
    /// Only content whose last pull is longer ago than this, for example 30d
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    older_than: Option<Duration>,
    /// Count the content, and remove nothing
    #[arg(long)]
    dry_run: bool,
}

impl CacheCommand {
    /// Calls the control plane and prints its answer.
    pub async fn run(self) -> Result<(), Failure> {
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
            Self::Purge(purge) => {
                let request = PurgeCacheRequest::from(purge);
                let (dry_run, all_groups) = (request.dry_run, request.all_groups);
                let answer = cache.purge_cache(request).await?.into_inner();
                output.answer(&answer, || content::purged(&answer, dry_run, all_groups))?;
                if let Some(warning) = content::unreached(&answer.unreached_nodes, SystemTime::now()) {
                    eprintln!("{warning}");
                }
            }
            Self::Retention { path, dry_run } => {
                let request = ApplyRetentionRequest { group_path: path, dry_run };
                let answer = cache.apply_retention(request).await?.into_inner();
                output.answer(&answer, || retention::summary(&answer, dry_run))?;
                if output == Format::Table && !answer.evictions.is_empty() {
                    print(&retention::table(&answer.evictions, SystemTime::now()).to_string())?;
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

impl From<Purge> for PurgeCacheRequest {
    fn from(purge: Purge) -> Self {
        Self {
            group_path: purge.path.unwrap_or_default(),
            all_groups: purge.all_groups,
            upstream: purge.upstream.unwrap_or_default(),
            image: purge.image.unwrap_or_default(),
            tag: purge.tag.unwrap_or_default(),
            digest: purge.digest.unwrap_or_default(),
            older_than: purge.older_than.map(to_proto),
            dry_run: purge.dry_run,
        }
    }
}
