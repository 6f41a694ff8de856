use super::*;

#[test]
fn sizes_keep_at_most_three_digits_and_never_show_1024() {
    for (bytes, text) in [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (10_188, "9.9 KiB"),
        (10_240, "10 KiB"),
        (1_048_000, "1023 KiB"),
        (1_048_570, "1.0 MiB"),
        (3 << 30, "3.0 GiB"),
        (i64::MAX, "8192 PiB"),
    ] {
        assert_eq!(size(bytes), text, "{bytes}");
    }
}

#[test]
fn times_are_told_from_now() {
    let now = UNIX_EPOCH + Duration::from_secs(1_000_000);
    for (offset, text) in [
        (0, "just now"),
        (-4, "just now"),
        (-59, "59 seconds ago"),
        (-60, "1 minute ago"),
        (-7200, "2 hours ago"),
        (-86_400 * 3, "3 days ago"),
        (30, "in 30 seconds"),
        (86_400 * 30, "in 30 days"),
    ] {
        let time = Timestamp { seconds: 1_000_000 + offset, nanos: 0 };
        assert_eq!(relative(Some(&time), now, "never"), text);
    }
    assert_eq!(relative(None, now, "never"), "never");
}

#[test]
fn absolute_times_are_utc() {
    assert_eq!(absolute(Some(&Timestamp { seconds: 1_795_383_000, nanos: 5 }), "never"), "2026-11-22T21:30:00Z");
    assert_eq!(absolute(Some(&Timestamp { seconds: -1, nanos: 0 }), "never"), "never");
    assert_eq!(absolute(None, "never"), "never");
}

#[test]
fn durations_are_spelled_as_they_are_given() {
    for (seconds, nanos, text) in [
        (5400, 0, "1h 30m"),
        (90 * 86_400, 0, "90d"),
        (86_400 * 7 + 61, 0, "7d 1m 1s"),
        (1, 500_000_000, "1s 500ms"),
        (0, 0, "-"),
    ] {
        assert_eq!(duration(Some(&prost_types::Duration { seconds, nanos }), "-"), text);
    }
    assert_eq!(duration(None, "-"), "-");
}

#[test]
fn shares_are_of_all_requests() {
    assert_eq!((share(0, 0), share(93, 7), share(5, 0)), ("-".into(), "93%".into(), "100%".into()));
}
