//! Conditional and range requests on immutable content, after RFC 9110 (sections 13 and 14).

use http::{HeaderMap, HeaderValue, header};

/// What a client attached to its request.
#[derive(Clone, Debug, Default)]
pub struct Conditions {
    range: Option<Requested>,
    if_range: Option<HeaderValue>,
    if_none_match: Vec<HeaderValue>,
}

/// One byte range, as asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Requested {
    /// `a-b` or `a-`, `b` included.
    From { first: u64, last: Option<u64> },
    /// `-n`: the last `n` bytes.
    Suffix(u64),
}

/// What to send of content of a known size.
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
    /// Reads the headers. What we do not understand (other units, several ranges) is as good as not said.
    pub fn of(headers: &HeaderMap) -> Self {
        Self {
            range: headers.get(header::RANGE).and_then(|value| value.to_str().ok()).and_then(parse_range),
            if_range: headers.get(header::IF_RANGE).cloned(),
            if_none_match: headers.get_all(header::IF_NONE_MATCH).iter().cloned().collect(),
        }
    }

    /// Whether the client already has content with this entity tag.
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

fn parse_range(value: &str) -> Option<Requested> {
    let number =
        |text: &str| -> Option<u64> { text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok()).flatten() };
    let (unit, set) = value.split_once('=')?;
    if !unit.trim().eq_ignore_ascii_case("bytes") || set.contains(',') {
        return None;
    }
    let (first, last) = set.trim().split_once('-')?;
    match (first, last) {
        ("", count) => number(count).map(Requested::Suffix),
        (first, "") => Some(Requested::From { first: number(first)?, last: None }),
        (first, last) => {
            let (first, last) = (number(first)?, number(last)?);
            (first <= last).then_some(Requested::From { first, last: Some(last) })
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn select(headers: &[(header::HeaderName, &str)], size: u64) -> Selection {
        let map = headers.iter().map(|(name, value)| (name.clone(), HeaderValue::from_str(value).unwrap())).collect();
        Conditions::of(&map).select(&HeaderValue::from_static("\"e\""), size)
    }

    #[test]
    fn ranges_select_as_the_rfc_says() {
        use Selection::*;
        for (range, size, expected) in [
            ("bytes=0-", 10, Part { start: 0, end: 10 }),
            ("bytes=2-4", 10, Part { start: 2, end: 5 }),
            ("bytes=2-400", 10, Part { start: 2, end: 10 }),
            ("bytes=-3", 10, Part { start: 7, end: 10 }),
            ("bytes=-30", 10, Part { start: 0, end: 10 }),
            ("bytes=9-9", 10, Part { start: 9, end: 10 }),
            ("bytes=10-", 10, Unsatisfiable),
            ("bytes=-0", 10, Unsatisfiable),
            ("bytes=0-", 0, Unsatisfiable),
            ("bytes=0-18446744073709551615", 10, Part { start: 0, end: 10 }),
            ("bytes=4-2", 10, Whole),
            ("bytes=0-1,3-4", 10, Whole),
            ("lines=0-1", 10, Whole),
            ("bytes=+1-2", 10, Whole),
            ("bytes=", 10, Whole),
            ("bytes=99999999999999999999-", 10, Whole),
        ] {
            assert_eq!(select(&[(header::RANGE, range)], size), expected, "{range} of {size}");
        }
    }

    #[test]
    fn conditions_come_before_ranges() {
        let part = Selection::Part { start: 1, end: 3 };
        let range = (header::RANGE, "bytes=1-2");
        assert_eq!(select(&[range.clone(), (header::IF_RANGE, "\"e\"")], 9), part);
        assert_eq!(select(&[range.clone(), (header::IF_RANGE, "\"other\"")], 9), Selection::Whole);
        assert_eq!(select(&[range.clone(), (header::IF_RANGE, "W/\"e\"")], 9), Selection::Whole);
        for same in ["\"e\"", "W/\"e\"", "*", "\"x\", \"e\""] {
            assert_eq!(select(&[range.clone(), (header::IF_NONE_MATCH, same)], 9), Selection::NotModified, "{same}");
        }
        assert_eq!(select(&[range, (header::IF_NONE_MATCH, "\"x\"")], 9), part);
    }

    proptest! {
        #[test]
        fn a_part_is_never_empty_nor_outside(value in "bytes=[0-9]{0,20}-[0-9]{0,20}", size in 0_u64..1000) {
            if let Selection::Part { start, end } = select(&[(header::RANGE, &value)], size) {
                prop_assert!(start < end && end <= size);
            }
        }

        #[test]
        fn no_value_panics(value in "[ -~]{0,60}") {
            select(&[(header::RANGE, &value)], 100);
        }
    }
}
