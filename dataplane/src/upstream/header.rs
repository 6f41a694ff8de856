//! Reading the headers of upstream answers.

use std::time::{Duration, SystemTime};

use http::{HeaderMap, header};
use roadstead_proto::Digest;

/// Longest wait that is believed. Docker Hub's longest window is a day.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(24 * 60 * 60);
/// Numbers from here on are times in seconds since 1970, not delays: this one is in September 2001.
const FIRST_EPOCH_SECONDS: f64 = 1e9;
/// Numbers from here on are times in milliseconds since 1970.
const FIRST_EPOCH_MILLIS: f64 = 1e12;
/// Longest name of a source that an upstream counts pulls for: an address or an account's id.
const MAX_SOURCE_CHARS: usize = 255;

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok().map(str::trim)
}

/// The time that to wait, by `Retry-After` or Docker Hub's `X-Retry-After`: a delay in seconds or a date (RFC 9110, section
/// 10.2.3), or the time in seconds or milliseconds since 1970, as some send it. A time that has passed, or is more than a
/// day away, is not believed.
pub(crate) fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let names = [header::RETRY_AFTER.as_str(), "x-retry-after"];
    names.into_iter().find_map(|name| wait_of(text(headers, name)?, now))
}

fn wait_of(value: &str, now: SystemTime) -> Option<Duration> {
    let wait = match value.parse::<f64>() {
        Ok(number) if number >= FIRST_EPOCH_MILLIS => since_epoch(number / 1000.0)?.duration_since(now).ok()?,
        Ok(number) if number >= FIRST_EPOCH_SECONDS => since_epoch(number)?.duration_since(now).ok()?,
        Ok(number) => Duration::try_from_secs_f64(number.ceil()).ok()?,
        Err(_) => httpdate::parse_http_date(value).ok()?.duration_since(now).ok()?,
    };
    (wait <= MAX_RETRY_AFTER).then_some(wait)
}

fn since_epoch(seconds: f64) -> Option<SystemTime> {
    SystemTime::UNIX_EPOCH.checked_add(Duration::try_from_secs_f64(seconds).ok()?)
}

/// A pull limit, as an answer tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ToldLimit {
    pub(crate) limit: u64,
    pub(crate) remaining: u64,
    pub(crate) window: Option<Duration>,
    pub(crate) source: String,
}

/// `RateLimit-Limit: 100;w=21600` and `RateLimit-Remaining: 99;w=21600`, for `Docker-RateLimit-Source`.
pub(crate) fn pull_limit(headers: &HeaderMap) -> Option<ToldLimit> {
    let (limit, window) = quota(text(headers, "ratelimit-limit")?)?;
    let (remaining, other_window) = quota(text(headers, "ratelimit-remaining")?)?;
    let source = text(headers, "docker-ratelimit-source").unwrap_or_default();
    let source = source.chars().take(MAX_SOURCE_CHARS).collect();
    (limit > 0).then_some(ToldLimit { limit, remaining: remaining.min(limit), window: window.or(other_window), source })
}

/// A number of pulls, and the window they are counted in.
fn quota(value: &str) -> Option<(u64, Option<Duration>)> {
    let mut parts = value.split(',').next()?.split(';').map(str::trim);
    // What does not fit the contract's numbers is no limit.
    let pulls = parts.next()?.parse::<u32>().ok()?;
    let window = parts.find_map(|part| part.strip_prefix("w=")?.parse::<u32>().ok());
    Some((pulls.into(), window.filter(|seconds| *seconds > 0).map(|seconds| Duration::from_secs(seconds.into()))))
}

/// `Docker-Content-Digest`, if it is there and can be verified.
pub(crate) fn content_digest(headers: &HeaderMap) -> Option<Digest> {
    text(headers, "docker-content-digest")?.parse().ok()
}

/// `Content-Type`, as it was sent.
pub(crate) fn media_type(headers: &HeaderMap) -> Option<String> {
    text(headers, header::CONTENT_TYPE.as_str()).filter(|text| !text.is_empty()).map(str::to_owned)
}

/// `Content-Length`, which no body tells after a HEAD. That of something encoded says nothing of what it means.
pub fn content_length(headers: &HeaderMap) -> Option<u64> {
    if headers.contains_key(header::CONTENT_ENCODING) {
        return None;
    }
    text(headers, header::CONTENT_LENGTH.as_str())?.parse().ok()
}

/// Start and total of a `Content-Range: bytes 5-9/10`; the total may be unknown (`*`).
pub fn content_range(headers: &HeaderMap) -> Option<(u64, Option<u64>)> {
    let (range, total) = text(headers, header::CONTENT_RANGE.as_str())?.strip_prefix("bytes ")?.split_once('/')?;
    let (start, end) = range.trim().split_once('-')?;
    let (start, end): (u64, u64) = (start.parse().ok()?, end.parse().ok()?);
    let total = match total.trim() {
        "*" => None,
        total => Some(total.parse().ok()?),
    };
    (start <= end && total.is_none_or(|total| end < total)).then_some((start, total))
}

/// The size that a `Content-Range: bytes */10` tells, with which a range is refused.
pub(crate) fn unsatisfied_range(headers: &HeaderMap) -> Option<u64> {
    text(headers, header::CONTENT_RANGE.as_str())?.strip_prefix("bytes */")?.trim().parse().ok()
}

/// The next page's address, as it was sent: from `Link: </v2/…?n=2&last=b>; rel="next"`.
pub(crate) fn next_page(headers: &HeaderMap) -> Option<String> {
    let lines = headers.get_all(header::LINK).iter().filter_map(|line| line.to_str().ok());
    lines.filter_map(next_of_line).next()
}

fn next_of_line(line: &str) -> Option<String> {
    let mut rest = line;
    loop {
        let (_, after) = rest.split_once('<')?;
        let (address, after) = after.split_once('>')?;
        let (parameters, next) = match after.find('<') {
            Some(at) => after.split_at(at),
            None => (after, ""),
        };
        let is_next = parameters.split([';', ',']).any(|parameter| {
            let (name, value) = parameter.split_once('=').unwrap_or_default();
            let mut relations = value.trim().trim_matches(['"', '\'']).split_ascii_whitespace();
            name.trim().eq_ignore_ascii_case("rel") && relations.any(|relation| relation.eq_ignore_ascii_case("next"))
        });
        if is_next {
            return Some(address.trim().to_owned());
        }
        rest = next;
    }
}

#[cfg(test)]
mod tests;
