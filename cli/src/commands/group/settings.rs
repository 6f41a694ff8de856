//! Flags of a group's settings, and the requests they become.

use std::time::Duration;

use clap::{Args, ValueEnum};
use roadstead_proto::v1::{
    CreateGroupRequest, ImagePatterns, MissingTag as ProtoMissingTag, UpdateGroupRequest, UpstreamList,
    Visibility as ProtoVisibility,
};

use crate::commands::request_id::RequestId;
use crate::{
    failure::Failure,
    value_parsers::{duration, duration_or_off, retention, size_or_off, to_proto},
};

/// Create a group
#[derive(Debug, Args)]
#[command(after_help = "Example:
  roadstead group create acme --visibility internal \\
      --upstream docker.io --upstream ghcr.io --max-age 10m")]
pub struct Create {
    /// Path of the group: acme, acme/backend
    path: String,
    /// Clients that may pull
    #[arg(long, value_enum, default_value = "private")]
    visibility: Visibility,
    /// Serve pulls without sign-in; needs --visibility public
    #[arg(long, value_name = "true|false", num_args = 0..=1, default_missing_value = "true")]
    anonymous_pull: Option<bool>,
    /// Upstream that the group may use; may be repeated, the first is the default [default: docker.io]
    #[arg(long = "upstream", value_name = "HOST")]
    upstreams: Vec<String>,
    /// Time for which a checked tag is served without another check upstream, for example 10m [default: check at every pull]
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    max_age: Option<Duration>,
    #[command(flatten)]
    rules: Rules,
    #[command(flatten)]
    request: RequestId,
}

/// Change a group's settings; settings that are not given stay
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  roadstead group update acme --frozen true
  roadstead group update acme --retention 90d --max-stale 14d
  roadstead group update acme --quota 50GiB --keep 'release-*'
  roadstead group update acme \\
      --allow 'docker.io/library/*' --allow 'ghcr.io/acme/*'
  roadstead group update acme --no-allow --deny 'docker.io/*miner*'")]
pub struct Update {
    /// Path of the group
    path: String,
    /// Fail unless the group still has this etag (see `group get`)
    #[arg(long)]
    etag: Option<String>,
    /// New path of the group; see `group rename`
    #[arg(long, value_name = "PATH")]
    new_path: Option<String>,
    /// Serve pulls, or refuse them all
    #[arg(long, value_name = "true|false")]
    enabled: Option<bool>,
    /// Serve only cached content, without requests to upstream
    #[arg(long, value_name = "true|false")]
    frozen: Option<bool>,
    /// Clients that may pull
    #[arg(long, value_enum)]
    visibility: Option<Visibility>,
    /// Serve pulls without sign-in
    #[arg(long, value_name = "true|false")]
    anonymous_pull: Option<bool>,
    /// Upstream that the group may use; may be repeated and replaces the whole list, the first is the default
    #[arg(long = "upstream", value_name = "HOST")]
    upstreams: Vec<String>,
    /// Time for which a checked tag is served without another check upstream; 0s checks at every pull
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    max_age: Option<Duration>,
    #[command(flatten)]
    rules: Rules,
    /// Clear the list of --allow: allow all images that --deny does not match
    #[arg(long, conflicts_with = "allow", help_heading = "Rules")]
    no_allow: bool,
    /// Clear the list of --deny
    #[arg(long, conflicts_with = "deny", help_heading = "Rules")]
    no_deny: bool,
    /// Clear the list of --keep
    #[arg(long, conflicts_with = "keep", help_heading = "Rules")]
    no_keep: bool,
}

/// Flags of both commands.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Rules")]
pub struct Rules {
    /// Evict images that nobody has pulled for this time; on is 90d, off disables it
    #[arg(long, value_name = "DURATION|on|off", value_parser = retention)]
    retention: Option<Duration>,
    /// Maximum size of the group's cached content, for example 50GiB: beyond it the least recently pulled images are evicted; off
    /// sets no limit
    #[arg(long, value_name = "SIZE|off", value_parser = size_or_off)]
    quota: Option<i64>,
    /// Protect tags that match this pattern from --retention and --quota, for example 'release-*' or 'alpine:3*'; may be repeated and
    /// replaces the whole list
    #[arg(long, value_name = "PATTERN")]
    keep: Vec<String>,
    /// Time for which a cached tag is served while upstream is unavailable [initially: 7d]
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    max_stale: Option<Duration>,
    /// Delay before a tag that moved upstream moves here too; off follows at once
    #[arg(long, value_name = "DURATION|off", value_parser = duration_or_off)]
    cooldown: Option<Duration>,
    /// Treatment of a cached tag that upstream has deleted [initially: gone]
    #[arg(long, value_enum)]
    missing_tag: Option<MissingTag>,
    /// Only allow images that match this pattern, for example 'docker.io/library/*'; may be repeated and replaces the whole list
    #[arg(long, value_name = "PATTERN")]
    allow: Vec<String>,
    /// Deny images that match this pattern, for example 'docker.io/*miner*'; may be repeated and replaces the whole list
    #[arg(long, value_name = "PATTERN")]
    deny: Vec<String>,
}

/// Clients that may pull.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Visibility {
    /// Members and the group's own tokens
    Private,
    /// Every signed-in client
    Internal,
    /// Every signed-in client; with --anonymous-pull every client
    Public,
}

impl From<Visibility> for ProtoVisibility {
    fn from(visibility: Visibility) -> Self {
        match visibility {
            Visibility::Private => Self::Private,
            Visibility::Internal => Self::Internal,
            Visibility::Public => Self::Public,
        }
    }
}

/// Treatment of a cached tag that upstream has deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum MissingTag {
    /// Delete it here too
    Gone,
    /// Keep serving it
    Keep,
}

impl From<MissingTag> for ProtoMissingTag {
    fn from(missing: MissingTag) -> Self {
        match missing {
            MissingTag::Gone => Self::Gone,
            MissingTag::Keep => Self::Keep,
        }
    }
}

impl Create {
    /// Returns the request.
    pub fn request(self) -> CreateGroupRequest {
        let rules = self.rules.onto(UpdateGroupRequest::default());
        CreateGroupRequest {
            path: self.path,
            visibility: ProtoVisibility::from(self.visibility).into(),
            anonymous_pull: self.anonymous_pull.unwrap_or_default(),
            upstreams: self.upstreams,
            max_age: self.max_age.map(to_proto),
            retention: rules.retention,
            quota_bytes: rules.quota_bytes.unwrap_or_default(),
            protected_tags: rules.protected_tags,
            max_stale: rules.max_stale,
            cooldown: rules.cooldown,
            missing_tag: rules.missing_tag.unwrap_or_default(),
            tag_rules: None,
            allowed_images: rules.allowed_images,
            denied_images: rules.denied_images,
            request_id: self.request.id,
        }
    }
}

impl Update {
    /// Returns the request; fails if it would change nothing.
    pub fn request(self) -> Result<UpdateGroupRequest, Failure> {
        let none = |is: bool| is.then(ImagePatterns::default);
        let changes = self.rules.onto(UpdateGroupRequest {
            new_path: self.new_path,
            enabled: self.enabled,
            frozen: self.frozen,
            visibility: self.visibility.map(|visibility| ProtoVisibility::from(visibility).into()),
            anonymous_pull: self.anonymous_pull,
            upstreams: (!self.upstreams.is_empty()).then_some(UpstreamList { hosts: self.upstreams }),
            max_age: self.max_age.map(to_proto),
            allowed_images: none(self.no_allow),
            denied_images: none(self.no_deny),
            protected_tags: none(self.no_keep),
            ..Default::default()
        });
        if changes == UpdateGroupRequest::default() {
            return Err(Failure::usage(format_args!(
                "nothing to change in group {}: give a setting, for example --frozen true (see `group update --help`)",
                self.path
            )));
        }
        Ok(UpdateGroupRequest { path: self.path, etag: self.etag.unwrap_or_default(), ..changes })
    }
}

impl Rules {
    fn onto(self, request: UpdateGroupRequest) -> UpdateGroupRequest {
        let patterns = |patterns: Vec<String>| (!patterns.is_empty()).then_some(ImagePatterns { patterns });
        UpdateGroupRequest {
            retention: self.retention.map(to_proto),
            quota_bytes: self.quota,
            protected_tags: patterns(self.keep).or(request.protected_tags),
            max_stale: self.max_stale.map(to_proto),
            cooldown: self.cooldown.map(to_proto),
            missing_tag: self.missing_tag.map(|missing| ProtoMissingTag::from(missing).into()),
            allowed_images: patterns(self.allow).or(request.allowed_images),
            denied_images: patterns(self.deny).or(request.denied_images),
            ..request
        }
    }
}

#[cfg(test)]
mod tests;
