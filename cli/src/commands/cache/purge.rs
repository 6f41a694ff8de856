//! `roadstead cache purge`: removes cached content from a group, or from all groups.

use std::time::{Duration, SystemTime};

use clap::Args;
use roadstead_proto::v1::{GetStatsRequest, PurgeCacheRequest, PurgeFilter, cache_service_client::CacheServiceClient};

use super::content::{purged, removal, unreached};
use crate::{
    commands::confirm,
    connect::{CallError, Session},
    failure::Failure,
    output::Progress,
    value_parsers::{ImageRef, duration, image_ref, to_proto},
};

/// Time after which the progress of a purge is shown.
const QUIET_FOR: Duration = Duration::from_secs(2);
/// Interval of the looks at what is left.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Remove cached content from a group, or from all groups: content that matches every given filter, or all of it
///
/// Without a filter the command asks first. When it returns, no node serves the removed content. The answer names nodes that could
/// not be reached: they refuse the content once they are back, and refuse everything after --max-control-outage.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  roadstead cache purge acme --older-than 30d --dry-run
  roadstead cache purge acme --image alpine:3.20
  roadstead cache purge acme --upstream ghcr.io
  roadstead cache purge acme --yes
  roadstead cache purge --all-groups --older-than 90d")]
pub struct Purge {
    /// Path of the group
    #[arg(required_unless_present = "all_groups", conflicts_with = "all_groups")]
    path: Option<String>,
    /// Purge all groups; for administrators and service tokens of all groups
    #[arg(long)]
    all_groups: bool,
    #[command(flatten)]
    filters: Filters,
    /// Count the content, and remove nothing
    #[arg(long)]
    dry_run: bool,
    /// Remove everything without asking
    #[arg(long, short)]
    yes: bool,
}

#[derive(Debug, Args)]
struct Filters {
    /// Only this image: alpine, or with a tag or a digest alpine:3.20
    #[arg(long, value_parser = image_ref)]
    image: Option<ImageRef>,
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
}

impl Filters {
    fn are_empty(&self) -> bool {
        let Self { image, upstream, tag, digest, older_than } = self;
        image.is_none() && upstream.is_none() && tag.is_none() && digest.is_none() && older_than.is_none()
    }
}

impl Purge {
    /// Fails on contradicting flags, and on a purge of everything that nobody can confirm.
    pub fn check(&self) -> Result<(), Failure> {
        let Filters { image, tag, digest, .. } = &self.filters;
        let has = |part: fn(&ImageRef) -> &Option<String>| image.as_ref().is_some_and(|image| part(image).is_some());
        if tag.is_some() && has(|image| &image.tag) {
            return Err(Failure::usage("--image has a tag already; leave out --tag"));
        }
        if digest.is_some() && has(|image| &image.digest) {
            return Err(Failure::usage("--image has a digest already; leave out --digest"));
        }
        if self.needs_confirmation() {
            confirm::require_terminal(&format!("this removes everything from {}", self.scope()))?;
        }
        Ok(())
    }

    /// Purges, after a question if everything would go.
    pub async fn run(self, session: &Session) -> Result<(), CallError> {
        let mut cache = CacheServiceClient::new(session.slow_channel());
        let (needs_confirmation, scope) = (self.needs_confirmation(), self.scope());
        let (dry_run, all_groups) = (self.dry_run, self.all_groups);
        let request = PurgeCacheRequest::from(self);
        if needs_confirmation {
            let found = cache.purge_cache(request.clone().dry_run(true)).await?.into_inner();
            confirm::ask(false, &format!("Remove everything from {scope} ({})?", removal(&found, all_groups)))?;
        }
        let group = group_of(&request);
        let purging = cache.purge_cache(request);
        let answer = watched(session, group, purging).await?.into_inner();
        session.output.answer(&answer, || purged(&answer, dry_run, all_groups))?;
        if let Some(warning) = unreached(&answer.unreached_nodes, SystemTime::now()) {
            eprintln!("{warning}");
        }
        Ok(())
    }

    fn needs_confirmation(&self) -> bool {
        self.filters.are_empty() && !self.dry_run && !self.yes
    }

    fn scope(&self) -> String {
        self.path.as_ref().map_or_else(|| "all groups".to_owned(), |path| format!("group {path}"))
    }
}

/// The group that a purge is of; `None` for all groups.
fn group_of(request: &PurgeCacheRequest) -> Option<String> {
    use roadstead_proto::v1::purge_cache_request::Scope;
    match &request.scope {
        Some(Scope::WholeGroup(path)) => Some(path.clone()),
        Some(Scope::Filter(filter)) if !filter.all_groups => Some(filter.group_path.clone()),
        _ => None,
    }
}

/// Waits for a purge. If it takes long, shows what is left of the group's content; the purge goes on on the server even if this
/// command is ended.
async fn watched<T>(session: &Session, group: Option<String>, purging: impl Future<Output = T>) -> T {
    let progress = async {
        tokio::time::sleep(QUIET_FOR).await;
        let (mut cache, shown) = (CacheServiceClient::new(session.channel()), Progress::of_items("purging"));
        let mut total = 0;
        loop {
            if let Some(group_path) = group.clone()
                && let Ok(stats) = cache.get_stats(GetStatsRequest { group_path }).await
            {
                let stats = stats.into_inner();
                let left = u64::try_from(stats.manifests + stats.blobs).unwrap_or_default();
                total = total.max(left);
                shown
                    .show(total - left, total, || format!("purging: {left} manifests and blobs are left in the group"));
            } else {
                shown.show(0, 0, || "still purging".to_owned());
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    };
    tokio::select! {
        answer = purging => answer,
        never = progress => never,
    }
}

impl From<Purge> for PurgeCacheRequest {
    /// Asks for everything only where no filter is given.
    fn from(Purge { path, all_groups, filters, dry_run, .. }: Purge) -> Self {
        let group_path = path.unwrap_or_default();
        if filters.are_empty() {
            let everything = if all_groups { Self::all_groups() } else { Self::whole_group(group_path) };
            return everything.dry_run(dry_run);
        }
        let ImageRef { image, tag, digest } = filters.image.unwrap_or_default();
        let filter = PurgeFilter {
            group_path,
            all_groups,
            upstream: filters.upstream.unwrap_or_default(),
            image,
            tag: filters.tag.or(tag).unwrap_or_default(),
            digest: filters.digest.or(digest).unwrap_or_default(),
            older_than: filters.older_than.map(to_proto),
        };
        Self::selected(filter).dry_run(dry_run)
    }
}

#[cfg(test)]
mod tests;
