//! `roadstead cache`: what a group has cached, and purging it.

use std::time::{Duration, SystemTime};

use clap::{Args, Subcommand};
use roadstead_proto::v1::{
    GetStatsRequest, GetStatsResponse, ListManifestsRequest, Manifest, PurgeCacheRequest, PurgeCacheResponse,
    cache_service_client::CacheServiceClient,
};

use super::{duration, to_proto};
use crate::{
    connect::{AdminChannel, AdminFlags, CallError, PAGE_SIZE, all_pages},
    failure::Failure,
    output::{Details, Format, Table, human},
};

/// Characters of a digest's hash that lists show, as Docker does.
const SHORT_HASH: usize = 12;

/// Look into a group's cache, and purge it
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  roadstead cache list acme --image alpine
  roadstead cache stats acme -o json
  roadstead cache purge acme --older-than 30d --dry-run
  roadstead cache purge acme --image alpine --tag 3.20")]
pub struct CacheCommand {
    #[command(subcommand)]
    action: Action,
    #[command(flatten)]
    admin: AdminFlags,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List a group's cached manifests
    List {
        /// Path of the group
        path: String,
        /// Only this image: alpine, docker.io/library/alpine
        #[arg(long)]
        image: Option<String>,
        /// Show digests in full
        #[arg(long)]
        no_trunc: bool,
    },
    /// Show a group's figures
    Stats {
        /// Path of the group
        path: String,
    },
    /// Remove cached content from a group: all of it, or what fits every filter given
    Purge(Purge),
}

#[derive(Debug, Args)]
struct Purge {
    /// Path of the group
    path: String,
    /// Only this image
    #[arg(long)]
    image: Option<String>,
    /// Only what this tag of the image means now
    #[arg(long, requires = "image")]
    tag: Option<String>,
    /// Only the manifest or blob with this digest
    #[arg(long)]
    digest: Option<String>,
    /// Only what was last pulled longer ago than this, for example 30d
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    older_than: Option<Duration>,
    /// Count, and remove nothing
    #[arg(long)]
    dry_run: bool,
}

impl CacheCommand {
    /// Calls the control plane and prints its answer.
    pub async fn run(self) -> Result<(), Failure> {
        let session = self.admin.connect()?;
        let cache = CacheServiceClient::new(session.channel());
        session.settle(self.action.run(cache, self.admin.output).await)
    }
}

impl Action {
    async fn run(self, mut cache: CacheServiceClient<AdminChannel>, output: Format) -> Result<(), CallError> {
        match self {
            Self::List { path, image, no_trunc } => {
                let image = image.unwrap_or_default();
                let items = all_pages(|page_token| {
                    let mut cache = cache.clone();
                    let (group_path, image) = (path.clone(), image.clone());
                    async move {
                        let request = ListManifestsRequest { group_path, image, page_size: PAGE_SIZE, page_token };
                        let page = cache.list_manifests(request).await?.into_inner();
                        Ok((page.manifests, page.next_page_token))
                    }
                })
                .await?;
                output.list(&items, "Nothing cached.", |items| table(items, no_trunc, SystemTime::now()))?;
            }
            Self::Stats { path } => {
                let answer = cache.get_stats(GetStatsRequest { group_path: path }).await?.into_inner();
                output.answer(&answer, || stats(&answer))?;
            }
            Self::Purge(purge) => {
                let dry_run = purge.dry_run;
                let answer = cache.purge_cache(PurgeCacheRequest::from(purge)).await?.into_inner();
                output.answer(&answer, || purged(&answer, dry_run))?;
            }
        }
        Ok(())
    }
}

impl From<Purge> for PurgeCacheRequest {
    fn from(purge: Purge) -> Self {
        Self {
            group_path: purge.path,
            image: purge.image.unwrap_or_default(),
            tag: purge.tag.unwrap_or_default(),
            digest: purge.digest.unwrap_or_default(),
            older_than: purge.older_than.map(to_proto),
            dry_run: purge.dry_run,
        }
    }
}

fn short_digest(digest: &str) -> String {
    match digest.split_once(':') {
        Some((algorithm, hash)) => format!("{algorithm}:{}", hash.chars().take(SHORT_HASH).collect::<String>()),
        None => digest.to_owned(),
    }
}

/// What people call a media type; unknown ones stay as they are.
fn kind(media_type: &str) -> &str {
    match media_type {
        "application/vnd.oci.image.index.v1+json" => "OCI index",
        "application/vnd.oci.image.manifest.v1+json" => "OCI manifest",
        "application/vnd.docker.distribution.manifest.list.v2+json" => "Docker list",
        "application/vnd.docker.distribution.manifest.v2+json" => "Docker manifest",
        other => other,
    }
}

fn table(manifests: &[Manifest], full_digests: bool, now: SystemTime) -> Table {
    Table::new(["IMAGE", "TAGS", "DIGEST", "TYPE", "SIZE", "CACHED", "LAST PULLED"], manifests, |manifest| {
        [
            manifest.image.clone(),
            if manifest.tags.is_empty() { "-".to_owned() } else { manifest.tags.join(",") },
            if full_digests { manifest.digest.clone() } else { short_digest(&manifest.digest) },
            kind(&manifest.media_type).to_owned(),
            human::size(manifest.size_bytes),
            human::relative(manifest.cached_at.as_ref(), now, "-"),
            human::relative(manifest.last_pulled_at.as_ref(), now, "never"),
        ]
    })
}

fn stats(stats: &GetStatsResponse) -> Details {
    Details::default()
        .with("Images", stats.images)
        .with("Manifests", stats.manifests)
        .with("Blobs", stats.blobs)
        .with("Size", human::size(stats.bytes))
        .with("Hits", stats.hits)
        .with("Misses", stats.misses)
        .with("Hit rate", human::share(stats.hits, stats.misses))
}

fn purged(answer: &PurgeCacheResponse, dry_run: bool) -> Details {
    let what = format!(
        "{}, {}, {}: {}",
        human::count(answer.tags, "tag"),
        human::count(answer.manifests, "manifest"),
        human::count(answer.blobs, "blob"),
        human::size(answer.bytes)
    );
    Details::default().with(if dry_run { "Would remove" } else { "Removed" }, what)
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use prost_types::Timestamp;

    use super::*;

    #[test]
    fn a_list_of_manifests_reads_well() {
        let manifest = Manifest {
            image: "docker.io/library/alpine".into(),
            tags: vec!["3.20".into(), "latest".into()],
            digest: format!("sha256:{}", "0123456789abcdef".repeat(4)),
            media_type: "application/vnd.oci.image.index.v1+json".into(),
            size_bytes: 3_500_000,
            cached_at: Some(Timestamp { seconds: 0, nanos: 0 }),
            last_pulled_at: None,
        };
        let now = UNIX_EPOCH + Duration::from_secs(7200);
        assert_eq!(
            table(std::slice::from_ref(&manifest), false, now).to_string(),
            "IMAGE                      TAGS          DIGEST                TYPE        SIZE      CACHED        LAST PULLED\n\
             docker.io/library/alpine   3.20,latest   sha256:0123456789ab   OCI index   3.3 MiB   2 hours ago   never\n"
        );
        assert!(table(std::slice::from_ref(&manifest), true, now).to_string().contains(&manifest.digest));
    }

    #[test]
    fn a_dry_run_does_not_claim_to_have_removed_anything() {
        let answer = PurgeCacheResponse { tags: 1, manifests: 2, blobs: 0, bytes: 2048 };
        assert_eq!(purged(&answer, true).to_string(), "Would remove:   1 tag, 2 manifests, 0 blobs: 2.0 KiB\n");
        assert_eq!(purged(&answer, false).to_string(), "Removed:   1 tag, 2 manifests, 0 blobs: 2.0 KiB\n");
    }

    #[test]
    fn figures_read_well() {
        let answer = GetStatsResponse { images: 1, manifests: 2, blobs: 9, bytes: 1 << 20, hits: 3, misses: 1 };
        assert_eq!(
            stats(&answer).to_string(),
            "Images:      1\nManifests:   2\nBlobs:       9\nSize:        1.0 MiB\nHits:        3\nMisses:      1\n\
             Hit rate:    75%\n"
        );
    }
}
