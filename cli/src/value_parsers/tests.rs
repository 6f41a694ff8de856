use std::time::UNIX_EPOCH;

use super::*;

#[test]
fn durations_are_read_as_people_write_them() {
    for (text, seconds) in [("30d", 30 * 86_400), ("15m", 900), ("1h30m", 5400), ("90s", 90), ("2 h", 7200)] {
        assert_eq!(duration(text).unwrap().as_secs(), seconds, "{text}");
        assert_eq!(duration_or_off(text).unwrap().as_secs(), seconds, "{text}");
    }
    for bad in ["", "30", "-5m", "soon", "1x", "off"] {
        assert!(duration(bad).unwrap_err().contains("expected for example 30d"), "{bad}");
    }
    assert_eq!(duration_or_off("off"), Ok(Duration::ZERO));
    assert!(duration_or_off("never").unwrap_err().ends_with("or off"));
    assert_eq!(to_proto(Duration::from_millis(1500)), prost_types::Duration { seconds: 1, nanos: 500_000_000 });
}

#[test]
fn shares_are_percent() {
    assert_eq!((percent("10%"), percent("0"), percent("90%")), (Ok(10), Ok(0), Ok(90)));
    for bad in ["", "%", "-1%", "+5%", "91%", "0.1", "10%%", "ten"] {
        assert!(percent(bad).is_err(), "{bad}");
    }
}

#[test]
fn claims_have_a_name_and_a_pattern() {
    let rule = |claim: &str, pattern: &str| ClaimRule { claim: claim.into(), pattern: pattern.into() };
    assert_eq!(claim("project_path=acme/*"), Ok(rule("project_path", "acme/*")));
    assert_eq!(claim("sub=repo:a/b:ref=x"), Ok(rule("sub", "repo:a/b:ref=x")));
    for bad in ["", "sub", "=x", "sub="] {
        assert!(claim(bad).is_err(), "{bad}");
    }
}

#[test]
fn times_are_so_long_ago_or_of_utc() {
    let now = UNIX_EPOCH + Duration::from_secs(1_795_383_000);
    for (text, seconds) in [
        ("24h", 1_795_383_000 - 86_400),
        ("2026-11-22T21:30:00Z", 1_795_383_000),
        ("2026-11-22 21:30:00", 1_795_383_000),
        ("2026-11-22", 1_795_383_000 - 21 * 3600 - 1800),
    ] {
        assert_eq!(time_at(text, now), Ok(UNIX_EPOCH + Duration::from_secs(seconds)), "{text}");
    }
    for bad in ["", "yesterday", "2026-13-01", "22.11.2026", "2026-11-22T21:30:00+02:00", "éé-é-é"] {
        assert!(time_at(bad, now).unwrap_err().starts_with("expected a time span"), "{bad}");
    }
}

#[test]
fn an_image_s_tag_is_told_from_its_host_s_port() {
    for (text, image, tag) in [
        ("alpine:3.20", "alpine", "3.20"),
        ("registry.example:5000/a/b:v1", "registry.example:5000/a/b", "v1"),
        ("docker.io/library/alpine:latest", "docker.io/library/alpine", "latest"),
    ] {
        assert_eq!(image_tag(text).unwrap(), ImageTag { image: image.into(), tag: tag.into() });
    }
    for bad in ["", "alpine", ":3", "alpine:", "registry.example:5000/a", "alpine@sha256:00", "alpine:a b"] {
        assert!(image_tag(bad).unwrap_err().contains("expected IMAGE:TAG"), "{bad}");
    }
}
