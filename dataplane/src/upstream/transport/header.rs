//! Reading the headers of upstream answers.

use std::time::{Duration, SystemTime};

use http::{HeaderMap, header};
use roadstead_proto::Digest;

/// Longest wait that is believed: a day. More is a mistake, or a way to keep us from asking.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(24 * 60 * 60);
/// Longest name of whom an upstream counts for; an address or an account's id.
const MAX_SOURCE_CHARS: usize = 255;

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok().map(str::trim)
}

/// How long to wait: `Retry-After` in seconds or as a date. RFC 9110, section 10.2.3.
pub(crate) fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let value = text(headers, header::RETRY_AFTER.as_str())?;
    let wait = match value.parse() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => httpdate::parse_http_date(value).ok()?.duration_since(now).unwrap_or_default(),
    };
    Some(wait.min(MAX_RETRY_AFTER))
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

/// `Docker-Content-Digest`, if it is there and one we can verify.
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

/// The query of the next page's address, from `Link: </v2/…?n=2&last=b>; rel="next"`.
pub(crate) fn next_page_query(headers: &HeaderMap) -> Option<String> {
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
            name.trim().eq_ignore_ascii_case("rel") && value.trim().trim_matches('"').eq_ignore_ascii_case("next")
        });
        if is_next {
            return address.split_once('?').map(|(_, query)| query.split('#').next().unwrap_or_default().to_owned());
        }
        rest = next;
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};
    use proptest::prelude::*;

    use super::*;

    fn one(name: HeaderName, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(name, HeaderValue::from_str(value).unwrap())])
    }

    #[test]
    fn waits_are_read_in_seconds_and_as_dates() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777);
        for (value, seconds) in [
            ("120", Some(120)),
            (" 7 ", Some(7)),
            ("Sun, 06 Nov 1994 08:50:37 GMT", Some(60)),
            ("Sun, 06 Nov 1994 08:00:00 GMT", Some(0)),
            ("99999999999", Some(86_400)),
            ("-1", None),
            ("soon", None),
        ] {
            let wait = retry_after(&one(header::RETRY_AFTER, value), now);
            assert_eq!(wait.map(|wait| wait.as_secs()), seconds, "{value}");
        }
    }

    #[test]
    fn pull_limits_are_read() {
        for (limit, remaining, expected) in [
            ("100;w=21600", "76;w=21600", Some((100, 76, Some(21600)))),
            ("2000", "1999", Some((2000, 1999, None))),
            ("100, 100;w=60", "7", Some((100, 7, None))),
            ("10 ; w=60", "200", Some((10, 10, Some(60)))),
            ("0;w=60", "0", None),
            ("-1", "0", None),
            ("many", "0", None),
            ("100", "", None),
            ("99999999999", "0", None),
        ] {
            let headers = HeaderMap::from_iter([
                (HeaderName::from_static("ratelimit-limit"), HeaderValue::from_static(limit)),
                (HeaderName::from_static("ratelimit-remaining"), HeaderValue::from_static(remaining)),
                (HeaderName::from_static("docker-ratelimit-source"), HeaderValue::from_static("192.0.2.1")),
            ]);
            let told = pull_limit(&headers);
            let told = told.inspect(|told| assert_eq!(told.source, "192.0.2.1"));
            let told = told.map(|told| (told.limit, told.remaining, told.window.map(|window| window.as_secs())));
            assert_eq!(told, expected, "{limit} {remaining}");
        }
        assert_eq!(pull_limit(&HeaderMap::new()), None);
    }

    #[test]
    fn ranges_are_read_and_nonsense_is_not() {
        for (value, expected) in [
            ("bytes 5-9/10", Some((5, Some(10)))),
            ("bytes 0-0/*", Some((0, None))),
            ("bytes 5-10/10", None),
            ("bytes 9-5/10", None),
            ("bytes */10", None),
            ("items 0-1/2", None),
            ("bytes -1-2/3", None),
        ] {
            assert_eq!(content_range(&one(header::CONTENT_RANGE, value)), expected, "{value}");
        }
    }

    #[test]
    fn the_next_page_is_found_among_links() {
        for (value, expected) in [
            ("</v2/a/tags/list?n=2&last=b>; rel=\"next\"", Some("n=2&last=b")),
            ("<https://x/v2/a/tags/list?n=2#f>;rel=next", Some("n=2")),
            ("</a?x=1>; rel=\"prev\", </b?y=2>; rel=\"next\"", Some("y=2")),
            ("</a?x=1>; rel=\"prev\"", None),
            ("</a>; rel=next", None),
            ("nonsense", None),
        ] {
            assert_eq!(next_page_query(&one(header::LINK, value)).as_deref(), expected, "{value}");
        }
    }

    proptest! {
        #[test]
        fn no_value_panics(value in "[ -~]*") {
            content_range(&one(header::CONTENT_RANGE, &value));
            retry_after(&one(header::RETRY_AFTER, &value), SystemTime::UNIX_EPOCH);
            next_page_query(&one(header::LINK, &value));
        }
    }
}
