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
        // A server may ignore or refuse it (RFC 9110, section 14.2).
        ("bytes=4-2", 10, Unsatisfiable),
        ("bytes=500-0", 1000, Unsatisfiable),
        ("bytes=,2-4", 10, Part { start: 2, end: 5 }),
        ("bytes=2-4, ,", 10, Part { start: 2, end: 5 }),
        ("bytes=,,", 10, Whole),
        ("bytes=0-1,3-4", 10, Whole),
        ("lines=0-1", 10, Whole),
        ("bytes=+1-2", 10, Whole),
        ("bytes=", 10, Whole),
        ("bytes=99999999999999999999-", 10, Unsatisfiable),
        ("bytes=2-99999999999999999999", 10, Part { start: 2, end: 10 }),
        ("bytes=--1", 10, Whole),
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
