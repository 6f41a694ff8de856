use super::*;

#[test]
fn one_parser_reads_all_sizes() {
    for (text, expected) in [
        ("0", 0),
        ("512", 512),
        ("20MiB", 20 << 20),
        ("10 GiB", 10 << 30),
        (" 1.5KiB ", 1536),
        ("1.5GB", 1_500_000_000),
        ("2kb", 2000),
        ("1PiB", 1 << 50),
    ] {
        assert_eq!(size(text), Ok(expected), "{text}");
        assert_eq!(size_i64(text), Ok(expected as i64), "{text}");
        assert_eq!(level(text), Ok(Level::Bytes(expected as i64)), "{text}");
        let quota = size_or_off(text);
        assert!(if expected == 0 { quota.is_err() } else { quota == Ok(expected as i64) }, "{text}");
    }
    for bad in [
        "",
        "MiB",
        "-1",
        "+1",
        "1.2.3",
        "5 apples",
        "9223372036854775807KiB",
        "1 parsec",
        "99999999999TiB",
        "18446744073709551615",
        "1e5",
        "off ",
    ] {
        assert!(size(bad).is_err() && size_or_off(bad).is_err() && level(bad).is_err(), "{bad}");
    }
}

#[test]
fn a_size_that_the_control_plane_cannot_count_is_refused() {
    assert_eq!(size("9223372036854775808"), Ok(1 << 63));
    assert!(size_i64("9223372036854775808").unwrap_err().contains("too large"));
}

#[test]
fn quotas_can_be_off_and_not_zero() {
    assert_eq!(size_or_off("off"), Ok(0));
    assert!(size_or_off("0").unwrap_err().contains("off sets no limit"));
    assert!(size_or_off("much").unwrap_err().ends_with("or off"));
}

#[test]
fn levels_are_percentages_from_1_to_100_or_sizes() {
    assert_eq!(level("90%"), Ok(Level::Percent(90)));
    for bad in ["0%", "101%", "-1%", "%", "9.5%", "much"] {
        assert!(level(bad).is_err(), "{bad}");
    }
}
