//! `roadstead cache list|images|tags|blobs`: lists a group's cached content, filtered and sorted.

use std::time::{Duration, SystemTime};

use clap::{Args, ValueEnum};
use roadstead_proto::v1::{
    Blob, CacheSort, CachedImage, CachedTag, ListBlobsRequest, ListImagesRequest, ListManifestsRequest,
    ListTagsRequest, Manifest,
};

use super::content::short_digest;
use crate::{
    connect::{CallError, Session},
    output::{Table, human},
    value_parsers::{duration, to_proto},
};

/// Message for an empty list.
const NOTHING: &str = "Nothing cached.";

/// The order of a list.
#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum Sort {
    /// By name
    #[default]
    Name,
    /// Largest first
    Size,
    /// Last pulled first, and content that was never pulled at the end
    LastPulled,
    /// Most often pulled first
    Pulls,
}

impl From<Sort> for i32 {
    fn from(sort: Sort) -> Self {
        let sort = match sort {
            Sort::Name => CacheSort::Name,
            Sort::Size => CacheSort::Size,
            Sort::LastPulled => CacheSort::LastPulled,
            Sort::Pulls => CacheSort::Pulls,
        };
        sort.into()
    }
}

/// List a group's cached manifests
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  roadstead cache list acme --image alpine
  roadstead cache list acme --sort size
  roadstead cache list acme --older-than 30d --sort last-pulled
  roadstead cache list acme --platform linux/arm64 -o json")]
pub struct List {
    /// Path of the group
    path: String,
    /// Only this image: alpine, docker.io/library/alpine
    #[arg(long)]
    image: Option<String>,
    /// Only content from this upstream
    #[arg(long, value_name = "HOST")]
    upstream: Option<String>,
    /// Only content for this platform: linux/amd64
    #[arg(long)]
    platform: Option<String>,
    /// Only content whose last pull is longer ago than this, for example 30d
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    older_than: Option<Duration>,
    /// Order of the list
    #[arg(long, value_enum, default_value_t)]
    sort: Sort,
    /// Show digests in full
    #[arg(long)]
    no_trunc: bool,
}

/// List a group's cached images
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  roadstead cache images acme --sort size
  roadstead cache images acme --name team/ --upstream ghcr.io")]
pub struct Images {
    /// Path of the group
    path: String,
    /// Only images with this text in their names
    #[arg(long, value_name = "TEXT")]
    name: Option<String>,
    /// Only content from this upstream
    #[arg(long, value_name = "HOST")]
    upstream: Option<String>,
    /// Order of the list
    #[arg(long, value_enum, default_value_t)]
    sort: Sort,
}

/// List a group's cached tags
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  roadstead cache tags acme --image alpine
  roadstead cache tags acme --tag 'release-*' --sort last-pulled")]
pub struct Tags {
    /// Path of the group
    path: String,
    /// Only this image
    #[arg(long)]
    image: Option<String>,
    /// Only tags that match this pattern; * stands for any characters
    #[arg(long, value_name = "PATTERN")]
    tag: Option<String>,
    /// Order of the list; by size means the size of the image
    #[arg(long, value_enum, default_value_t)]
    sort: Sort,
    /// Show digests in full
    #[arg(long)]
    no_trunc: bool,
}

/// List a group's cached blobs: configs and layers
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  roadstead cache blobs acme --sort size
  roadstead cache blobs acme --image alpine --no-trunc")]
pub struct Blobs {
    /// Path of the group
    path: String,
    /// Only this image
    #[arg(long)]
    image: Option<String>,
    /// Only content from this upstream
    #[arg(long, value_name = "HOST")]
    upstream: Option<String>,
    /// Only content whose last pull is longer ago than this, for example 30d
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    older_than: Option<Duration>,
    /// Order of the list
    #[arg(long, value_enum, default_value_t)]
    sort: Sort,
    /// Show digests in full
    #[arg(long)]
    no_trunc: bool,
}

impl List {
    /// Prints the list.
    pub async fn run(self, session: &Session) -> Result<(), CallError> {
        let request = ListManifestsRequest {
            group_path: self.path,
            image: self.image.unwrap_or_default(),
            upstream: self.upstream.unwrap_or_default(),
            platform: self.platform.unwrap_or_default(),
            older_than: self.older_than.map(to_proto),
            sort: self.sort.into(),
            ..Default::default()
        };
        session.print_list(request, NOTHING, |items, now| manifests(items, self.no_trunc, now)).await
    }
}

impl Images {
    /// Prints the list.
    pub async fn run(self, session: &Session) -> Result<(), CallError> {
        let request = ListImagesRequest {
            group_path: self.path,
            name_contains: self.name.unwrap_or_default(),
            upstream: self.upstream.unwrap_or_default(),
            sort: self.sort.into(),
            ..Default::default()
        };
        session.print_list(request, NOTHING, images).await
    }
}

impl Tags {
    /// Prints the list.
    pub async fn run(self, session: &Session) -> Result<(), CallError> {
        let request = ListTagsRequest {
            group_path: self.path,
            image: self.image.unwrap_or_default(),
            tag_pattern: self.tag.unwrap_or_default(),
            sort: self.sort.into(),
            ..Default::default()
        };
        session.print_list(request, NOTHING, |items, now| tags(items, self.no_trunc, now)).await
    }
}

impl Blobs {
    /// Prints the list.
    pub async fn run(self, session: &Session) -> Result<(), CallError> {
        let request = ListBlobsRequest {
            group_path: self.path,
            image: self.image.unwrap_or_default(),
            upstream: self.upstream.unwrap_or_default(),
            older_than: self.older_than.map(to_proto),
            sort: self.sort.into(),
            ..Default::default()
        };
        session.print_list(request, NOTHING, |items, now| blobs(items, self.no_trunc, now)).await
    }
}

/// Returns the common name of a media type; unknown ones stay as they are.
fn kind(media_type: &str) -> &str {
    match media_type {
        "application/vnd.oci.image.index.v1+json" => "OCI index",
        "application/vnd.oci.image.manifest.v1+json" => "OCI manifest",
        "application/vnd.docker.distribution.manifest.list.v2+json" => "Docker list",
        "application/vnd.docker.distribution.manifest.v2+json" => "Docker manifest",
        other => other,
    }
}

fn shown(digest: &str, in_full: bool) -> String {
    if in_full { digest.to_owned() } else { short_digest(digest) }
}

fn manifests(manifests: &[Manifest], full_digests: bool, now: SystemTime) -> Table {
    let columns =
        ["IMAGE", "TAGS", "DIGEST", "+TYPE", "+PLATFORMS", "SIZE", "+UNIQUE", "+CACHED", "LAST PULLED", "+PULLS"];
    Table::new(columns, manifests, |manifest| {
        [
            manifest.image.clone(),
            human::or_dash(&manifest.tags.join(",")),
            shown(&manifest.digest, full_digests),
            kind(&manifest.media_type).to_owned(),
            human::or_dash(&manifest.platforms.join(",")),
            human::size(manifest.size_bytes),
            human::size(manifest.unique_bytes),
            human::relative(manifest.cached_at.as_ref(), now, "-"),
            human::relative(manifest.last_pulled_at.as_ref(), now, "never"),
            manifest.pulls.to_string(),
        ]
    })
}

fn images(images: &[CachedImage], now: SystemTime) -> Table {
    let columns = ["IMAGE", "TAGS", "MANIFESTS", "+BLOBS", "SIZE", "+CACHED", "LAST PULLED", "PULLS"];
    Table::new(columns, images, |image| {
        [
            image.image.clone(),
            image.tags.to_string(),
            image.manifests.to_string(),
            image.blobs.to_string(),
            human::size(image.size_bytes),
            human::relative(image.cached_at.as_ref(), now, "-"),
            human::relative(image.last_pulled_at.as_ref(), now, "never"),
            image.pulls.to_string(),
        ]
    })
}

fn tags(tags: &[CachedTag], full_digests: bool, now: SystemTime) -> Table {
    let columns = ["IMAGE", "TAG", "DIGEST", "+PREVIOUS", "+CACHED", "+CHECKED", "LAST PULLED", "+PULLS", "PINNED"];
    Table::new(columns, tags, |tag| {
        [
            tag.image.clone(),
            tag.tag.clone(),
            shown(&tag.digest, full_digests),
            human::or_dash(&shown(&tag.previous_digest, full_digests)),
            human::relative(tag.cached_at.as_ref(), now, "-"),
            human::relative(tag.checked_at.as_ref(), now, "-"),
            human::relative(tag.last_pulled_at.as_ref(), now, "never"),
            tag.pulls.to_string(),
            human::yes_no(tag.pinned).to_owned(),
        ]
    })
}

fn blobs(blobs: &[Blob], full_digests: bool, now: SystemTime) -> Table {
    let columns = ["IMAGE", "DIGEST", "SIZE", "+LINKS", "+CACHED", "LAST PULLED", "PULLS"];
    Table::new(columns, blobs, |blob| {
        [
            blob.image.clone(),
            shown(&blob.digest, full_digests),
            human::size(blob.size_bytes),
            blob.links.to_string(),
            human::relative(blob.cached_at.as_ref(), now, "-"),
            human::relative(blob.last_pulled_at.as_ref(), now, "never"),
            blob.pulls.to_string(),
        ]
    })
}

#[cfg(test)]
mod tests;
