use super::*;

const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[test]
fn the_defaults_fail_an_uncached_pull_within_ten_seconds() {
    let timeouts = UpstreamTimeouts::default();
    assert_eq!((timeouts.connect, timeouts.first_byte, timeouts.body_idle), (seconds(3), seconds(5), seconds(15)));
    assert!(timeouts.manifest_in_all() < seconds(10));
}

#[test]
fn no_limit_cuts_short_what_was_set() {
    for wanted in [1, 5, 6, 12, 60, 600].map(seconds) {
        for other in [1, 5, 60, 600].map(seconds) {
            for (connect, first_byte, body_idle) in
                [(wanted, other, other), (other, wanted, other), (other, other, wanted)]
            {
                let timeouts = UpstreamTimeouts::of(connect, first_byte, body_idle);
                assert!(timeouts.first_byte >= connect && timeouts.first_byte >= first_byte);
                assert!(timeouts.whole >= first_byte && timeouts.whole >= connect, "{timeouts:?}");
                assert!(first_byte <= UpstreamTimeouts::FIRST_BYTE || timeouts.whole >= first_byte * 3);
                assert!(timeouts.manifest_in_all() > timeouts.whole);
            }
        }
    }
}
