//! Sizes, times and durations for people. The clock is an argument, so tests are tables.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use prost_types::Timestamp;

const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];

/// Formats a size with at most three digits above bytes: "1023 B", "1.5 KiB", "12 GiB".
pub fn size(bytes: i64) -> String {
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut value = bytes as f64 / 1024.0;
    let mut unit = UNITS[0];
    for next in &UNITS[1..] {
        if value < 1023.5 {
            break;
        }
        value /= 1024.0;
        unit = next;
    }
    if value < 9.95 { format!("{value:.1} {unit}") } else { format!("{value:.0} {unit}") }
}

/// Formats a time relative to now: "just now", "5 minutes ago", "in 30 days"; returns `absent` without a time.
pub fn relative(time: Option<&Timestamp>, now: SystemTime, absent: &str) -> String {
    let Some(seconds) = time.map(|time| time.seconds) else { return absent.to_owned() };
    let now = now.duration_since(UNIX_EPOCH).map_or(0, |since| i64::try_from(since.as_secs()).unwrap_or(i64::MAX));
    let away = seconds.abs_diff(now);
    let (count, unit) = match away {
        0..60 => (away, "second"),
        60..3600 => (away / 60, "minute"),
        3600..86_400 => (away / 3600, "hour"),
        _ => (away / 86_400, "day"),
    };
    let plural = if count == 1 { "" } else { "s" };
    match (away, seconds > now) {
        (0..5, _) => "just now".to_owned(),
        (_, true) => format!("in {count} {unit}{plural}"),
        (_, false) => format!("{count} {unit}{plural} ago"),
    }
}

/// Formats a time in UTC: "2026-11-22T21:30:00Z"; returns `absent` without a time.
pub fn absolute(time: Option<&Timestamp>, absent: &str) -> String {
    let Some(time) = time else { return absent.to_owned() };
    u64::try_from(time.seconds)
        .ok()
        .and_then(|seconds| UNIX_EPOCH.checked_add(Duration::from_secs(seconds)))
        .map_or_else(|| absent.to_owned(), |time| humantime::format_rfc3339_seconds(time).to_string())
}

/// Formats a duration as flags take it: "90d", "1h 30m"; returns `none` for zero or no duration.
pub fn duration(duration: Option<&prost_types::Duration>, none: &str) -> String {
    let duration = duration.and_then(|duration| Duration::try_from(*duration).ok()).unwrap_or_default();
    let seconds = duration.as_secs();
    let parts = [
        (seconds / 86_400, "d"),
        (seconds / 3600 % 24, "h"),
        (seconds / 60 % 60, "m"),
        (seconds % 60, "s"),
        (u64::from(duration.subsec_millis()), "ms"),
    ];
    let parts: Vec<String> =
        parts.iter().filter(|(count, _)| *count > 0).map(|(count, unit)| format!("{count}{unit}")).collect();
    if parts.is_empty() { none.to_owned() } else { parts.join(" ") }
}

/// Returns "yes" or "no".
pub fn yes_no(is: bool) -> &'static str {
    if is { "yes" } else { "no" }
}

/// Returns the text, or "-" for an empty one.
pub fn or_dash(text: &str) -> String {
    if text.is_empty() { "-".to_owned() } else { text.to_owned() }
}

/// Formats a count with its noun: "1 tag", "2 tags".
pub fn count(number: i64, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

/// Formats the share of hits in all requests: "93%", or "-" without requests.
pub fn share(hits: i64, misses: i64) -> String {
    let all = hits.saturating_add(misses);
    if all <= 0 { "-".to_owned() } else { format!("{:.0}%", hits as f64 * 100.0 / all as f64) }
}

#[cfg(test)]
mod tests;
