//! `roadstead cache history|pin|unpin`: the digests that a tag resolved to, and pinning it to one.

use std::time::SystemTime;

use clap::Args;
use roadstead_proto::{
    Digest,
    v1::{
        ListTagHistoryRequest, PinTagRequest, TagObservation, UnpinTagRequest, cache_service_client::CacheServiceClient,
    },
};

use super::content::short_digest;
use crate::{
    connect::{AdminChannel, CallError},
    failure::Failure,
    output::{Format, Table, human},
    value_parsers::{ImageTag, image_tag},
};

/// List the digests that a tag has resolved to, newest first
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  roadstead cache history acme alpine:3.20
  roadstead cache history acme ghcr.io/org/app:latest --no-trunc")]
pub struct History {
    /// Path of the group
    path: String,
    /// Image and tag: alpine:3.20, ghcr.io/org/app:latest
    #[arg(value_name = "IMAGE:TAG", value_parser = image_tag)]
    tag: ImageTag,
    /// Show digests in full
    #[arg(long)]
    no_trunc: bool,
}

/// Pin a tag to a digest: the tag resolves to it without a request to upstream
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  roadstead cache history acme alpine:3.20 --no-trunc
  roadstead cache pin acme alpine:3.20 sha256:…
  roadstead cache pin acme alpine:3.20 --previous        # roll back")]
pub struct Pin {
    /// Path of the group
    path: String,
    /// Image and tag
    #[arg(value_name = "IMAGE:TAG", value_parser = image_tag)]
    tag: ImageTag,
    /// Digest to pin the tag to
    #[arg(required_unless_present = "previous", conflicts_with = "previous")]
    digest: Option<Digest>,
    /// Pin the tag to the digest before the one that is served now
    #[arg(long)]
    previous: bool,
}

/// Unpin a tag: it follows upstream again
#[derive(Debug, Args)]
#[command(after_help = "Example:
  roadstead cache unpin acme alpine:3.20")]
pub struct Unpin {
    /// Path of the group
    path: String,
    /// Image and tag
    #[arg(value_name = "IMAGE:TAG", value_parser = image_tag)]
    tag: ImageTag,
}

impl History {
    pub async fn run(self, mut cache: CacheServiceClient<AdminChannel>, output: Format) -> Result<(), CallError> {
        let observations = observations(&mut cache, &self.path, &self.tag).await?;
        let none = format!("Group {} has no history of {}.", self.path, self.tag);
        Ok(output.list(&observations, &none, |observations| table(observations, self.no_trunc, SystemTime::now()))?)
    }
}

impl Pin {
    pub async fn run(self, mut cache: CacheServiceClient<AdminChannel>, output: Format) -> Result<(), CallError> {
        let Self { path, tag, digest, .. } = self;
        let digest = match digest {
            Some(digest) => digest.to_string(),
            None => previous(&observations(&mut cache, &path, &tag).await?).map(str::to_owned).ok_or_else(|| {
                Failure::failed(format_args!(
                    "{tag} has no earlier digest in group {path}; see `roadstead cache history {path} {tag}`"
                ))
            })?,
        };
        let ImageTag { image, tag: name } = tag.clone();
        let request = PinTagRequest { group_path: path.clone(), image, tag: name, digest: digest.clone() };
        let answer = cache.pin_tag(request).await?.into_inner();
        Ok(output.done(&answer, format_args!("Pinned {tag} to {digest} in group {path}."))?)
    }
}

impl Unpin {
    pub async fn run(self, mut cache: CacheServiceClient<AdminChannel>, output: Format) -> Result<(), CallError> {
        let Self { path, tag } = self;
        let ImageTag { image, tag: name } = tag.clone();
        let request = UnpinTagRequest { group_path: path.clone(), image, tag: name };
        let answer = cache.unpin_tag(request).await?.into_inner();
        Ok(output.done(&answer, format_args!("Unpinned {tag} in group {path}; it follows upstream again."))?)
    }
}

async fn observations(
    cache: &mut CacheServiceClient<AdminChannel>,
    path: &str,
    tag: &ImageTag,
) -> Result<Vec<TagObservation>, CallError> {
    let ImageTag { image, tag } = tag.clone();
    let request = ListTagHistoryRequest { group_path: path.to_owned(), image, tag };
    Ok(cache.list_tag_history(request).await?.into_inner().observations)
}

/// Returns the digest before the one that is served now, or the newest if none is served.
fn previous(newest_first: &[TagObservation]) -> Option<&str> {
    let older = newest_first.iter().position(|observation| observation.served).map_or(0, |served| served + 1);
    newest_first.get(older).map(|observation| observation.digest.as_str())
}

fn table(observations: &[TagObservation], full_digests: bool, now: SystemTime) -> Table {
    Table::new(["DIGEST", "FIRST SEEN", "LAST SEEN", "CACHED", "STATE"], observations, |observation| {
        let state = match (observation.pinned, observation.served) {
            (true, _) => "pinned",
            (false, true) => "served",
            (false, false) => "-",
        };
        [
            if full_digests { observation.digest.clone() } else { short_digest(&observation.digest) },
            human::relative(observation.first_seen_at.as_ref(), now, "-"),
            human::relative(observation.last_seen_at.as_ref(), now, "-"),
            human::yes_no(observation.cached).to_owned(),
            state.to_owned(),
        ]
    })
}

#[cfg(test)]
mod tests;
