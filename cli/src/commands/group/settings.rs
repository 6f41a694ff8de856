//! The flags that set a group's settings, and the requests they make.

use std::time::Duration;

use clap::{Args, ValueEnum};
use roadstead_proto::v1::{
    CreateGroupRequest, ImagePatterns, MissingTag as ProtoMissingTag, UpdateGroupRequest, UpstreamList,
    Visibility as ProtoVisibility,
};

use crate::{
    failure::Failure,
    value_parsers::{duration, duration_or_off, retention, size_or_off, to_proto},
};

/// Create a group
#[derive(Debug, Args)]
#[command(after_help = "Example:
  roadstead group create acme --visibility internal --upstream docker.io --upstream ghcr.io --max-age 10m")]
pub struct Create {
    /// Path of the group: acme, acme/backend
    path: String,
    /// Who may pull
    #[arg(long, value_enum, default_value = "private")]
    visibility: Visibility,
    /// Pulls without signing in; needs --visibility public
    #[arg(long)]
    anonymous_pull: bool,
    /// Upstream that the group may use; repeat for more, the first is the default [default: docker.io]
    #[arg(long = "upstream", value_name = "HOST")]
    upstreams: Vec<String>,
    /// How long a tag is served without asking upstream whether it moved, for example 10m [default: ask every time]
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    max_age: Option<Duration>,
    #[command(flatten)]
    rules: Rules,
}

/// Change a group's settings; what is not given stays
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  roadstead group update acme --frozen true
  roadstead group update acme --retention 90d --max-stale 14d
  roadstead group update acme --quota 50GiB --keep 'release-*'
  roadstead group update acme --allow 'docker.io/library/*' --allow 'ghcr.io/acme/*'
  roadstead group update acme --no-allow --deny 'docker.io/*miner*'")]
pub struct Update {
    /// Path of the group
    path: String,
    /// Refuse the update unless the group still has this etag (see `group get`)
    #[arg(long)]
    etag: Option<String>,
    /// The path that the group gets; see `group rename`
    #[arg(long, value_name = "PATH")]
    new_path: Option<String>,
    /// Whether pulls are served at all
    #[arg(long, value_name = "true|false")]
    enabled: Option<bool>,
    /// Whether only what is cached is served and upstream is left alone
    #[arg(long, value_name = "true|false")]
    frozen: Option<bool>,
    /// Who may pull
    #[arg(long, value_enum)]
    visibility: Option<Visibility>,
    /// Whether pulls need no sign-in
    #[arg(long, value_name = "true|false")]
    anonymous_pull: Option<bool>,
    /// Upstream that the group may use; replaces the whole list: repeat for more, the first is the default
    #[arg(long = "upstream", value_name = "HOST")]
    upstreams: Vec<String>,
    /// How long a tag is served without asking upstream whether it moved; 0s asks every time
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    max_age: Option<Duration>,
    #[command(flatten)]
    rules: Rules,
    /// Let every image be pulled that --deny does not name
    #[arg(long, conflicts_with = "allow", help_heading = "Rules")]
    no_allow: bool,
    /// Deny no image
    #[arg(long, conflicts_with = "deny", help_heading = "Rules")]
    no_deny: bool,
    /// Keep no tag from --retention and --quota
    #[arg(long, conflicts_with = "keep", help_heading = "Rules")]
    no_keep: bool,
}

/// What both take.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Rules")]
pub struct Rules {
    /// Remove from the cache what nobody has pulled for so long; on is 90d, off keeps it
    #[arg(long, value_name = "DURATION|on|off", value_parser = retention)]
    retention: Option<Duration>,
    /// Hold so many bytes at most, for example 50GiB: beyond that the least recently pulled images go; off sets no bound
    #[arg(long, value_name = "SIZE|off", value_parser = size_or_off)]
    quota: Option<i64>,
    /// Keep what such tags mean from --retention and --quota, for example 'release-*' or 'alpine:3*'; the whole list: repeat for more
    #[arg(long, value_name = "PATTERN")]
    keep: Vec<String>,
    /// How long a cached tag may be served while upstream cannot be asked [at first: 7d]
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    max_stale: Option<Duration>,
    /// How long a tag that moved upstream keeps its old meaning here; off follows at once
    #[arg(long, value_name = "DURATION|off", value_parser = duration_or_off)]
    cooldown: Option<Duration>,
    /// What it means for a cached tag that upstream has it no more [at first: gone]
    #[arg(long, value_enum)]
    missing_tag: Option<MissingTag>,
    /// Let only images be pulled that such a pattern fits, for example 'docker.io/library/*'; the whole list: repeat for more
    #[arg(long, value_name = "PATTERN")]
    allow: Vec<String>,
    /// Let no image be pulled that such a pattern fits, for example 'docker.io/*miner*'; the whole list: repeat for more
    #[arg(long, value_name = "PATTERN")]
    deny: Vec<String>,
}

/// Who may pull.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Visibility {
    /// Members and the group's own tokens
    Private,
    /// Anybody who is signed in
    Internal,
    /// Anybody who is signed in; others too with --anonymous-pull
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

/// What it means for a cached tag that upstream has it no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum MissingTag {
    /// It is gone here too
    Gone,
    /// It stays as it was
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
    /// The request.
    pub fn request(self) -> CreateGroupRequest {
        let rules = self.rules.onto(UpdateGroupRequest::default());
        CreateGroupRequest {
            path: self.path,
            visibility: ProtoVisibility::from(self.visibility).into(),
            anonymous_pull: self.anonymous_pull,
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
        }
    }
}

impl Update {
    /// The request; usage that changes nothing is refused.
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
                "nothing to change of group {}: give a setting, for example --frozen true (see `group update --help`)",
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
