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
        ("Sunday, 06-Nov-94 08:50:37 GMT", Some(60)),
        ("Sun Nov  6 08:50:37 1994", Some(60)),
        ("Sun, 06 Nov 1994 08:00:00 GMT", None),
        ("Mon, 06 Nov 2034 08:00:00 GMT", None),
        ("0", Some(0)),
        ("0.2", Some(1)),
        ("86400", Some(86_400)),
        ("86401", None),
        ("99999999", None),
        ("-1", None),
        ("nan", None),
        ("inf", None),
        ("1e400", None),
        ("soon", None),
    ] {
        let wait = retry_after(&one(header::RETRY_AFTER, value), now);
        assert_eq!(wait.map(|wait| wait.as_secs()), seconds, "{value}");
    }
}

#[test]
fn times_since_1970_are_no_delays() {
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
    for (value, seconds) in [
        ("1800000005", Some(5)),
        ("1800000005.5", Some(5)),
        ("1800000005000", Some(5)),
        ("1799999999", None),
        ("1800100000", None),
        ("99999999999999999999", None),
    ] {
        for name in [header::RETRY_AFTER, HeaderName::from_static("x-retry-after")] {
            let wait = retry_after(&one(name, value), now);
            assert_eq!(wait.map(|wait| wait.as_secs()), seconds, "{value}");
        }
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
        ("</v2/a/tags/list?n=2&last=b>; rel=\"next\"", Some("/v2/a/tags/list?n=2&last=b")),
        ("<https://x/v2/a/tags/list?n=2#f>;rel=next", Some("https://x/v2/a/tags/list?n=2#f")),
        ("</a?x=1>; rel=\"prev\", </b?y=2>; rel=\"next\"", Some("/b?y=2")),
        ("</a?x=1>; rel=\"prev\"", None),
        ("</a>; rel=next", Some("/a")),
        ("<?x=1>; title=\"a\"; rel=\"last next\"", Some("?x=1")),
        ("nonsense", None),
    ] {
        assert_eq!(next_page(&one(header::LINK, value)).as_deref(), expected, "{value}");
    }
}

proptest! {
    #[test]
    fn no_value_panics(value in "[ -~]*") {
        content_range(&one(header::CONTENT_RANGE, &value));
        retry_after(&one(header::RETRY_AFTER, &value), SystemTime::UNIX_EPOCH);
        next_page(&one(header::LINK, &value));
    }
}
