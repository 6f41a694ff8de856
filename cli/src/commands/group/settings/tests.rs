use clap::Parser;
use prost_types::Duration as ProtoDuration;

use super::*;

#[derive(Debug, Parser)]
struct Line<A: Args> {
    #[command(flatten)]
    flags: A,
}

fn flags<A: Args>(line: &str) -> A {
    Line::try_parse_from(["x"].into_iter().chain(line.split(' '))).unwrap().flags
}

fn update(line: &str) -> UpdateGroupRequest {
    flags::<Update>(line).request().unwrap()
}

#[test]
fn an_update_says_only_what_was_given() {
    let acme = || UpdateGroupRequest { path: "acme".into(), ..Default::default() };
    let seconds = |seconds| Some(ProtoDuration { seconds, nanos: 0 });
    let images = |list: &[&str]| Some(ImagePatterns { patterns: list.iter().map(|p| (*p).to_owned()).collect() });
    for (line, expected) in [
        ("--frozen true --max-age 0s", UpdateGroupRequest { frozen: Some(true), max_age: seconds(0), ..acme() }),
        ("--new-path b --etag 7", UpdateGroupRequest { new_path: Some("b".into()), etag: "7".into(), ..acme() }),
        ("--retention 90d", UpdateGroupRequest { retention: seconds(90 * 86_400), ..acme() }),
        (
            "--retention off --cooldown off",
            UpdateGroupRequest { retention: seconds(0), cooldown: seconds(0), ..acme() },
        ),
        ("--retention on", UpdateGroupRequest { retention: seconds(90 * 86_400), ..acme() }),
        ("--quota 50GiB", UpdateGroupRequest { quota_bytes: Some(50 << 30), ..acme() }),
        ("--quota off", UpdateGroupRequest { quota_bytes: Some(0), ..acme() }),
        ("--keep release-* --keep a:b", UpdateGroupRequest { protected_tags: images(&["release-*", "a:b"]), ..acme() }),
        ("--no-keep", UpdateGroupRequest { protected_tags: images(&[]), ..acme() }),
        ("--missing-tag keep", UpdateGroupRequest { missing_tag: Some(ProtoMissingTag::Keep.into()), ..acme() }),
        ("--allow a/* --allow b", UpdateGroupRequest { allowed_images: images(&["a/*", "b"]), ..acme() }),
        (
            "--no-allow --deny *x*",
            UpdateGroupRequest { allowed_images: images(&[]), denied_images: images(&["*x*"]), ..acme() },
        ),
        ("--no-deny", UpdateGroupRequest { denied_images: images(&[]), ..acme() }),
    ] {
        assert_eq!(update(&format!("acme {line}")), expected, "{line}");
    }
}

#[test]
fn an_update_that_changes_nothing_is_wrong_usage() {
    for line in ["acme", "acme --etag 7"] {
        let failure = flags::<Update>(line).request().unwrap_err();
        assert!(failure.to_string().starts_with("nothing to change in group acme: "), "{failure}");
    }
}

#[test]
fn a_creation_takes_all_rules_at_once() {
    let create = flags::<Create>("acme --deny *miner* --missing-tag keep --cooldown 1s").request();
    assert_eq!(create.path, "acme");
    assert_eq!(create.denied_images, Some(ImagePatterns { patterns: vec!["*miner*".into()] }));
    assert_eq!(create.missing_tag(), ProtoMissingTag::Keep);
    assert_eq!(create.cooldown, Some(ProtoDuration { seconds: 1, nanos: 0 }));
    assert_eq!(create.allowed_images, None);
}

#[test]
fn anonymous_pull_is_a_flag_with_or_without_a_value() {
    for (line, expected) in [
        ("acme", false),
        ("acme --anonymous-pull", true),
        ("acme --anonymous-pull true", true),
        ("acme --anonymous-pull=false", false),
        ("acme --anonymous-pull --max-age 1m", true),
    ] {
        assert_eq!(flags::<Create>(line).request().anonymous_pull, expected, "{line}");
    }
}
