//! Parsers of values on the command line: durations, sizes, URLs, addresses, times, images with tags, roles.

mod network;
mod size;

pub use network::{address, base_url, http_url, mirror_host, network};
pub use size::{level, size, size_i64, size_or_off};

use std::time::{Duration, SystemTime};

use roadstead_proto::v1::{ClaimRule, Role as ProtoRole};

/// Rights of a member
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Role {
    /// Pull, and read the group
    Guest,
    /// Change settings, credentials and tokens, and purge
    Maintainer,
    /// Change members, rename and delete the group, create subgroups
    Owner,
}

impl From<Role> for ProtoRole {
    fn from(role: Role) -> Self {
        match role {
            Role::Guest => Self::Guest,
            Role::Maintainer => Self::Maintainer,
            Role::Owner => Self::Owner,
        }
    }
}

/// Returns the name of a role.
pub fn role_name(role: ProtoRole) -> &'static str {
    match role {
        ProtoRole::Guest => "guest",
        ProtoRole::Maintainer => "maintainer",
        ProtoRole::Owner => "owner",
        ProtoRole::Unspecified => "-",
    }
}

/// Parses a duration such as "30d", "15m", "1h 30m".
pub fn duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text).map_err(|error| format!("{error}; expected for example 30d, 15m or 1h30m"))
}

/// Longest duration of any setting: sums with the clock stay in range.
pub const LONGEST: Duration = Duration::from_secs(10 * 365 * 86_400);

/// Returns a parser of durations between two bounds.
pub fn duration_between(
    least: Duration,
    most: Duration,
) -> impl Fn(&str) -> Result<Duration, String> + Clone + Send + Sync + 'static {
    let show = humantime::format_duration;
    move |text| match duration(text)? {
        value if value < least => Err(format!("must be at least {}", show(least))),
        value if value > most => Err(format!("must be at most {}", show(most))),
        value => Ok(value),
    }
}

/// Parses a duration, or "off", which is zero.
pub fn duration_or_off(text: &str) -> Result<Duration, String> {
    if text == "off" { Ok(Duration::ZERO) } else { duration(text).map_err(|error| format!("{error}, or off")) }
}

/// The retention that "on" stands for: 90 days, as in GitLab.
const DEFAULT_RETENTION: Duration = Duration::from_secs(90 * 24 * 3600);

/// Parses a duration, "off", which is zero, or "on", which is 90 days.
pub fn retention(text: &str) -> Result<Duration, String> {
    if text == "on" {
        return Ok(DEFAULT_RETENTION);
    }
    duration_or_off(text).map_err(|error| format!("{error}, or on"))
}

/// Converts a duration for a request; the control plane refuses one beyond protobuf's limit of 10,000 years.
pub fn to_proto(duration: Duration) -> prost_types::Duration {
    prost_types::Duration {
        seconds: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
        nanos: i32::try_from(duration.subsec_nanos()).unwrap_or_default(),
    }
}

/// Parses a percentage from 0 to 90, such as "10%".
pub fn percent(text: &str) -> Result<i32, String> {
    let number = text.strip_suffix('%').unwrap_or(text);
    match number.parse() {
        Ok(percent @ 0..=90) if number.bytes().all(|byte| byte.is_ascii_digit()) => Ok(percent),
        _ => Err("expected 0% to 90%, for example 10%".to_owned()),
    }
}

/// Parses `CLAIM=PATTERN`.
pub fn claim(text: &str) -> Result<ClaimRule, String> {
    match text.split_once('=') {
        Some((claim, pattern)) if !claim.is_empty() && !pattern.is_empty() => {
            Ok(ClaimRule { claim: claim.to_owned(), pattern: pattern.to_owned() })
        }
        _ => Err("expected CLAIM=PATTERN, for example project_path=acme/*".to_owned()),
    }
}

/// Parses a time: a time span before now ("24h"), or a date and time in UTC as in RFC 3339.
pub fn time(text: &str) -> Result<SystemTime, String> {
    time_at(text, SystemTime::now())
}

fn time_at(text: &str, now: SystemTime) -> Result<SystemTime, String> {
    let expected = || "expected a time span (24h, 7d) or a time in UTC (2026-11-22T21:30:00Z, 2026-11-22)".to_owned();
    if let Ok(ago) = humantime::parse_duration(text) {
        return now.checked_sub(ago).ok_or_else(expected);
    }
    let midnight = if text.len() == "2026-11-22".len() { "T00:00:00Z" } else { "" };
    humantime::parse_rfc3339_weak(&format!("{text}{midnight}")).map_err(|_| expected())
}

/// An image and one of its tags: "alpine:3.20".
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageTag {
    pub image: String,
    pub tag: String,
}

impl std::fmt::Display for ImageTag {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.image, self.tag)
    }
}

/// Parses `IMAGE:TAG`. The control plane checks the image's name.
pub fn image_tag(text: &str) -> Result<ImageTag, String> {
    let expected = "expected IMAGE:TAG, for example alpine:3.20 or ghcr.io/org/app:v1";
    if text.contains('@') {
        return Err(format!("a digest is not allowed here; {expected}"));
    }
    // A colon before a slash belongs to a host's port.
    match text.rsplit_once(':') {
        Some((image, tag)) if !image.is_empty() && !tag.contains('/') => match tag.parse::<roadstead_proto::Tag>() {
            Ok(tag) => Ok(ImageTag { image: image.to_owned(), tag: tag.as_str().to_owned() }),
            Err(error) => Err(format!("{tag:?}: {error}; {expected}")),
        },
        _ => Err(format!("the tag is missing; {expected}")),
    }
}

/// An image, with a tag or a digest if the text has one: "alpine", "alpine:3.20", "alpine@sha256:…".
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImageRef {
    pub image: String,
    pub tag: Option<String>,
    pub digest: Option<String>,
}

/// Parses `IMAGE[:TAG][@DIGEST]`. The control plane checks the parts.
pub fn image_ref(text: &str) -> Result<ImageRef, String> {
    let (name, digest) = match text.split_once('@') {
        Some((name, digest)) => (name, Some(digest.to_owned())),
        None => (text, None),
    };
    // A colon before a slash belongs to a host's port.
    let (image, tag) = match name.rsplit_once(':') {
        Some((image, tag)) if !tag.contains('/') => (image, Some(tag.to_owned())),
        _ => (name, None),
    };
    if image.is_empty() || tag.as_deref() == Some("") {
        return Err("expected IMAGE[:TAG], for example alpine or alpine:3.20".to_owned());
    }
    Ok(ImageRef { image: image.to_owned(), tag, digest })
}

#[cfg(test)]
mod tests;
