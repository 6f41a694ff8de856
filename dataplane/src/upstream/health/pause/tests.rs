use super::*;

#[test]
fn a_pause_that_was_not_asked_for_starts_at_seconds_and_grows_until_a_success() {
    let mut now = SystemTime::UNIX_EPOCH;
    let mut pause = Pause::default();
    let mut waits = Vec::new();
    for _ in 0..10 {
        waits.push(pause.limited(None, now).as_secs());
        now = pause.until().unwrap();
    }
    assert_eq!(waits, [2, 4, 8, 16, 32, 64, 128, 256, 300, 300]);
    pause.succeeded();
    assert_eq!(pause.limited(None, now).as_secs(), 2);
}

#[test]
fn answers_that_arrive_during_a_pause_do_not_lengthen_it() {
    let now = SystemTime::UNIX_EPOCH;
    let mut pause = Pause::default();
    for _ in 0..5 {
        assert_eq!(pause.limited(None, now).as_secs(), 2);
    }
    assert_eq!(pause.until(), Some(now + FIRST_PAUSE));
}

#[test]
fn a_pause_that_was_asked_for_is_kept() {
    let now = SystemTime::UNIX_EPOCH;
    let mut pause = Pause::default();
    assert_eq!(pause.limited(Some(Duration::from_secs(30)), now).as_secs(), 30);
    assert_eq!(pause.limited(None, now).as_secs(), 2);
    assert_eq!(pause.until(), Some(now + Duration::from_secs(30)), "a later end is kept");
}
