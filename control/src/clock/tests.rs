use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn followed(clock: &Clock) -> Followed {
    let Source::Running(followed) = &clock.0 else { panic!("it stands") };
    followed.lock().unwrap().unwrap()
}

#[test]
fn a_running_clock_follows_another_and_takes_no_notice_of_what_the_way_there_costs() {
    let (clock, asked) = (Clock::system(), Instant::now());
    clock.follow(5_000, asked, asked + SECOND);
    let first = followed(&clock);
    assert_eq!(first.at(asked + SECOND), 5_500, "read half way");
    for (ms, answered) in [(6_499, SECOND), (6_001, SECOND), (5_506, Duration::from_millis(10))] {
        clock.follow(ms, asked + SECOND, asked + SECOND + answered);
    }
    assert_eq!(followed(&clock).read_at, first.read_at, "they agree");
    for ms in [8_000, 2_000] {
        clock.follow(ms, asked + SECOND, asked + SECOND);
        assert_eq!(followed(&clock).at(asked + 2 * SECOND), ms + 1_000, "the other clock was set");
    }
    assert!(clock.clone().now_ms() < 1_000_000, "clones follow it too");
}

#[test]
fn a_clock_that_stands_follows_none() {
    let clock = Clock::standing_at(7);
    clock.follow(9, Instant::now(), Instant::now());
    clock.advance(SECOND);
    assert_eq!(clock.now_ms(), 1_007);
}
