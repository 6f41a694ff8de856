use std::time::Duration;

use super::*;

#[test]
fn failures_of_content_suspend_that_content_only() {
    let now = Instant::now();
    let (mut suspension, bad) = (Suspension::default(), "library/bad/manifests/latest");
    let checks: Vec<_> =
        (0..FAILURES).map(|_| suspension.failed(Trouble::Content("status_5xx"), Some(bad), now)).collect();
    assert_eq!(checks, [false, false, false, false, true], "then the host is checked, once");
    assert!(!suspension.failed(Trouble::Content("status_5xx"), Some(bad), now));
    assert!(matches!(suspension.pass(bad, now), Passage::Shut("status_5xx", _)));
    assert_eq!(suspension.pass("library/bad/manifests/3.20", now), Passage::Free);
    assert_eq!(suspension.pass_host(now), Passage::Free);
    suspension.succeeded(None);
    assert_eq!((suspension.pass_host(now), suspension.open()), (Passage::Free, 1), "the host answered the check");
    assert!(matches!(suspension.pass(bad, now), Passage::Shut(..)), "which says nothing of the content");
    suspension.succeeded(Some(bad));
    assert_eq!((suspension.pass(bad, now), suspension.open()), (Passage::Free, 0));
}

#[test]
fn many_failing_contents_do_not_suspend_others_while_the_host_works() {
    let (mut now, mut suspension) = (Instant::now(), Suspension::default());
    for round in 0..100 {
        for bad in 0..4 {
            if suspension.failed(Trouble::Content("timeout"), Some(&format!("library/bad{bad}")), now) {
                suspension.succeeded(None);
            }
        }
        now += Duration::from_millis(500);
        assert_eq!(suspension.pass_host(now), Passage::Free, "{round}");
        assert_eq!(suspension.pass("library/bad/manifests/3.20", now), Passage::Free, "{round}");
    }
}

#[test]
fn a_failed_check_suspends_the_host() {
    let (now, mut suspension) = (Instant::now(), Suspension::default());
    for repository in ["a/a", "b/b", "c/c", "d/d", "e/e"] {
        suspension.failed(Trouble::Content("status_5xx"), Some(repository), now);
    }
    suspension.failed(Trouble::Content("status_5xx"), None, now);
    assert!(matches!(suspension.pass_host(now), Passage::Shut("status_5xx", _)));
    let later = now + Duration::from_secs(2);
    assert_eq!(suspension.pass_host(later), Passage::Probe);
    suspension.check_abandoned();
    assert_eq!(suspension.pass_host(later), Passage::Probe);
    suspension.succeeded(None);
    assert_eq!(suspension.pass_host(later), Passage::Free);
}

#[test]
fn failed_connections_suspend_the_host() {
    let (now, mut suspension) = (Instant::now(), Suspension::default());
    for _ in 0..FAILURES {
        assert_eq!(suspension.pass_host(now), Passage::Free);
        assert!(!suspension.failed(Trouble::Host("connect"), Some("a/a"), now));
    }
    assert!(matches!(suspension.pass_host(now), Passage::Shut("connect", _)));
}

#[test]
fn memory_of_failing_contents_is_bounded() {
    let (now, mut suspension) = (Instant::now(), Suspension::default());
    for number in 0..3 * MAX_CONTENTS {
        suspension.failed(Trouble::Content("timeout"), Some(&format!("a/b{number}")), now);
    }
    assert!(suspension.contents.len() <= MAX_CONTENTS);
}

#[test]
fn a_head_that_fails_suspends_no_get_and_no_host() {
    let (mut suspension, now) = (Suspension::default(), Instant::now());
    let by_head = format!("{BY_HEAD}app/manifests/latest");
    for _ in 0..FAILURES * 2 {
        assert!(!suspension.failed(Trouble::Content("status_5xx"), Some(&by_head), now), "no check of the host");
    }
    assert!(matches!(suspension.pass(&by_head, now), Passage::Shut(..)));
    assert_eq!(suspension.pass("app/manifests/latest", now), Passage::Free);
    assert_eq!(suspension.pass_host(now), Passage::Free);
    // Nobody has asked by GET after a time-out.
    let checks = (0..FAILURES).filter(|_| suspension.failed(Trouble::Content(TIMEOUT), Some(&by_head), now)).count();
    assert_eq!(checks, 1);
}
