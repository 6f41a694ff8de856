//! Conditional and range requests on immutable content, after RFC 9110 (sections 13 and 14).

use http::{HeaderMap, HeaderValue, header};

/// The conditions that a client attached to its request.
#[derive(Clone, Debug, Default)]
pub struct Conditions {
    range: Option<Requested>,
    if_range: Option<HeaderValue>,
    if_none_match: Vec<HeaderValue>,
}

/// One byte range, as asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Requested {
    /// `a-b` or `a-`, `b` included; nothing if `b` is before `a`.
    From { first: u64, last: Option<u64> },
    /// `-n`: the last `n` bytes.
    Suffix(u64),
}

/// The part to send of content of a known size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Selection {
    /// All of it: 200.
    Whole,
    /// `start..end`: 206.
    Part {
        /// First byte.
        start: u64,
        /// The byte after the last.
        end: u64,
    },
    /// Nothing: the client has it, 304.
    NotModified,
    /// Nothing: the range lies outside, 416.
    Unsatisfiable,
}

impl Conditions {
    /// Reads the headers. Unknown forms (other units, several ranges) are ignored.
    pub fn of(headers: &HeaderMap) -> Self {
        Self {
            range: headers.get(header::RANGE).and_then(|value| value.to_str().ok()).and_then(parse_range),
            if_range: headers.get(header::IF_RANGE).cloned(),
            if_none_match: headers.get_all(header::IF_NONE_MATCH).iter().cloned().collect(),
        }
    }

    /// Returns true if the client already has content with this entity tag.
    fn matches(&self, etag: &HeaderValue) -> bool {
        self.if_none_match.iter().filter_map(|value| value.to_str().ok()).any(|value| {
            value
                .split(',')
                .map(str::trim)
                .any(|tag| tag == "*" || Some(tag.strip_prefix("W/").unwrap_or(tag)) == etag.to_str().ok())
        })
    }

    /// Chooses what of `size` bytes to send.
    pub fn select(&self, etag: &HeaderValue, size: u64) -> Selection {
        if self.matches(etag) {
            return Selection::NotModified;
        }
        // A date can't be a strong validator here, and another tag means other content.
        let range_holds = self.if_range.as_ref().is_none_or(|tag| tag == etag);
        match self.range {
            Some(range) if range_holds => range.of(size),
            _ => Selection::Whole,
        }
    }
}

impl Requested {
    fn of(self, size: u64) -> Selection {
        let (start, end) = match self {
            Self::From { first, last } => (first, last.map_or(size, |last| last.saturating_add(1)).min(size)),
            Self::Suffix(count) => (size.saturating_sub(count), size),
        };
        if start < end { Selection::Part { start, end } } else { Selection::Unsatisfiable }
    }
}

/// Reads a `Range` header: `None` for what is ignored (other units, several ranges, nonsense).
fn parse_range(value: &str) -> Option<Requested> {
    let (unit, set) = value.split_once('=')?;
    if !unit.trim().eq_ignore_ascii_case("bytes") {
        return None;
    }
    // Empty elements of a list are legal and mean nothing (RFC 9110, section 5.6.1.2).
    let mut ranges = set.split(',').map(str::trim).filter(|range| !range.is_empty());
    let (first, last) = ranges.next().filter(|_| ranges.next().is_none())?.split_once('-')?;
    match (first, last) {
        ("", count) => number(count).map(Requested::Suffix),
        (first, "") => Some(Requested::From { first: number(first)?, last: None }),
        (first, last) => Some(Requested::From { first: number(first)?, last: Some(number(last)?) }),
    }
}

/// A number of any length: one that does not fit lies beyond all content.
fn number(text: &str) -> Option<u64> {
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| text.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests;
