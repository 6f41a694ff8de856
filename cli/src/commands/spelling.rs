//! How values are spelled on the command line: durations, shares, claims, times, images with tags, roles.

use std::time::{Duration, SystemTime};

use roadstead_control::rules::cache::watermark;
use roadstead_proto::v1::{ClaimRule, Role as ProtoRole};

/// What a member may do
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

/// What people call a role.
pub fn role(role: ProtoRole) -> &'static str {
    match role {
        ProtoRole::Guest => "guest",
        ProtoRole::Maintainer => "maintainer",
        ProtoRole::Owner => "owner",
        ProtoRole::Unspecified => "-",
    }
}

/// Reads a duration such as "30d", "15m", "1h 30m".
pub fn duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text).map_err(|error| format!("{error}; expected for example 30d, 15m or 1h30m"))
}

/// Reads a duration, or "off", which is zero.
pub fn duration_or_off(text: &str) -> Result<Duration, String> {
    if text == "off" { Ok(Duration::ZERO) } else { duration(text).map_err(|error| format!("{error}, or off")) }
}

/// What "on" means for how long is kept what nobody pulls: 90 days, as GitLab has it.
const DEFAULT_RETENTION: Duration = Duration::from_secs(90 * 24 * 3600);

/// Reads a duration, "off", which is zero, or "on", which is 90 days.
pub fn retention(text: &str) -> Result<Duration, String> {
    if text == "on" {
        return Ok(DEFAULT_RETENTION);
    }
    duration_or_off(text).map_err(|error| format!("{error}, or on"))
}

/// Reads a size such as "50GiB", or "off", which is 0. No size is 0: nothing could be held.
pub fn size_or_off(text: &str) -> Result<i64, String> {
    match if text == "off" { Ok(0) } else { watermark::bytes_of(text) } {
        Ok(0) if text != "off" => Err("nothing could be held; off sets no bound".to_owned()),
        Ok(bytes) => Ok(bytes),
        Err(error) => Err(format!("{error}, or off")),
    }
}

/// The duration for a request; longer than 10,000 years (protobuf's limit) is refused by the control plane.
pub fn to_proto(duration: Duration) -> prost_types::Duration {
    prost_types::Duration {
        seconds: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
        nanos: i32::try_from(duration.subsec_nanos()).unwrap_or_default(),
    }
}

/// Reads a number of bytes such as "512", "20MiB", "10 GiB" or "1.5GB".
pub fn bytes(text: &str) -> Result<u64, String> {
    let text = text.trim();
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len()));
    let unit = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "kib" | "k" => 1 << 10,
        "mib" | "m" => 1 << 20,
        "gib" | "g" => 1 << 30,
        "tib" | "t" => 1_u64 << 40,
        "kb" => 1_000,
        "mb" => 1_000_000,
        "gb" => 1_000_000_000,
        "tb" => 1_000_000_000_000,
        _ => return Err(format!("{unit:?} is no unit; expected for example 512, 20MiB or 10GiB")),
    };
    if let Ok(whole) = number.parse::<u64>() {
        return whole.checked_mul(unit).ok_or_else(|| "too large".to_owned());
    }
    match number.parse::<f64>() {
        Ok(part) if part.is_finite() && part * (unit as f64) < u64::MAX as f64 => Ok((part * unit as f64) as u64),
        _ => Err("expected for example 512, 20MiB or 10GiB".to_owned()),
    }
}

/// Reads a share such as "10%".
pub fn percent(text: &str) -> Result<i32, String> {
    let number = text.strip_suffix('%').unwrap_or(text);
    match number.parse() {
        Ok(percent @ 0..=90) if number.bytes().all(|byte| byte.is_ascii_digit()) => Ok(percent),
        _ => Err("expected 0% to 90%, for example 10%".to_owned()),
    }
}

/// Reads `CLAIM=PATTERN`.
pub fn claim(text: &str) -> Result<ClaimRule, String> {
    match text.split_once('=') {
        Some((claim, pattern)) if !claim.is_empty() && !pattern.is_empty() => {
            Ok(ClaimRule { claim: claim.to_owned(), pattern: pattern.to_owned() })
        }
        _ => Err("expected CLAIM=PATTERN, for example project_path=acme/*".to_owned()),
    }
}

/// Reads a time: how long ago ("24h"), or a date and time of UTC, as RFC 3339 has it.
pub fn moment(text: &str) -> Result<SystemTime, String> {
    at(text, SystemTime::now())
}

fn at(text: &str, now: SystemTime) -> Result<SystemTime, String> {
    let expected = || "expected how long ago (24h, 7d) or a time in UTC (2026-11-22T21:30:00Z, 2026-11-22)".to_owned();
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

/// Reads `IMAGE:TAG`. What comes before the tag is for the control plane to judge.
pub fn image_tag(text: &str) -> Result<ImageTag, String> {
    let expected = "expected IMAGE:TAG, for example alpine:3.20 or ghcr.io/org/app:v1";
    if text.contains('@') {
        return Err(format!("a digest has no place here; {expected}"));
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

#[cfg(test)]
mod tests;
