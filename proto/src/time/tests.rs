use super::*;

#[test]
fn times_come_back_as_they_were_written() {
    for ms in [0, 1, 999, 1000, 1_700_000_000_123, -1, -1500, i64::MAX] {
        assert_eq!(timestamp_ms(timestamp(ms)), ms, "{ms}");
    }
    for ms in [0, 1, 999, 1000, 86_400_001, i64::MAX] {
        assert_eq!(duration_ms(duration(ms)), ms, "{ms}");
    }
    assert_eq!((timestamp(0), duration(0), seconds(0)), (None, None, None));
}

#[test]
fn durations_are_rounded_up_to_seconds_and_never_negative() {
    for (given, expected) in [(0, 0), (1, 1), (1000, 1), (1001, 2), (-5, 0), (i64::MAX, i64::MAX / 1000 + 1)] {
        assert_eq!(duration_seconds(duration(given)), expected, "{given}");
    }
    assert_eq!(duration_seconds(seconds(900)), 900);
    let extreme = Duration { seconds: i64::MAX, nanos: i32::MAX };
    assert_eq!(duration_ms(Some(extreme)), i64::MAX);
    assert_eq!(timestamp_ms(Some(Timestamp { seconds: i64::MIN, nanos: i32::MIN })), i64::MIN);
}
