use prost_types::{Duration, Timestamp};

use super::*;

fn seconds(seconds: i64) -> Option<Duration> {
    Some(Duration { seconds, nanos: 0 })
}

fn acme() -> Group {
    Group {
        id: "0190".into(),
        path: "acme".into(),
        visibility: Visibility::Public.into(),
        anonymous_pull: true,
        enabled: true,
        upstreams: vec!["docker.io".into(), "ghcr.io".into()],
        max_age: seconds(600),
        max_stale: seconds(7 * 86_400),
        missing_tag: MissingTag::Gone.into(),
        etag: "7".into(),
        created_at: Some(Timestamp { seconds: 1_795_383_000, nanos: 0 }),
        ..Group::default()
    }
}

#[test]
fn a_list_of_groups_reads_well() {
    let ops = Group { path: "ops/ci".into(), visibility: 1, upstreams: vec!["docker.io".into()], ..Group::default() };
    assert_eq!(
        table(&[acme(), ops]).to_string(),
        "PATH     VISIBILITY   ANONYMOUS   STATE      UPSTREAMS           MAX AGE\n\
         acme     public       yes         enabled    docker.io,ghcr.io   10m\n\
         ops/ci   private      no          disabled   docker.io           -\n"
    );
}

#[test]
fn one_group_shows_everything_that_is_set() {
    let plain = "Path:             acme\n\
         ID:               0190\n\
         Visibility:       public\n\
         Anonymous pull:   yes\n\
         State:            enabled\n\
         Upstreams:        docker.io, ghcr.io\n\
         Max age:          10m\n\
         Max stale:        7d\n\
         Cooldown:         off\n\
         Missing tag:      gone\n\
         Retention:        off\n\
         Quota:            off\n\
         Created:          2026-11-22T21:30:00Z\n\
         Updated:          -\n\
         Etag:             7\n";
    assert_eq!(details(Some(&acme())).to_string(), plain);

    let strict = Group {
        cooldown: seconds(86_400),
        retention: seconds(90 * 86_400),
        allowed_images: vec!["docker.io/library/*".into()],
        denied_images: vec!["*miner*".into(), "*/x".into()],
        old_paths: vec!["acme-old".into()],
        tag_rules: vec![TagRule {
            pattern: "docker.io/library/alpine:3.*".into(),
            max_age: seconds(0),
            immutable: Some(true),
            ..TagRule::default()
        }],
        ..acme()
    };
    let text = details(Some(&strict)).to_string();
    for line in [
        "Cooldown:         1d\n",
        "Retention:        90d\n",
        "Allowed images:   docker.io/library/*\n",
        "Denied images:    *miner*, */x\n",
        "Old paths:        acme-old\n",
        "Tag rule:         docker.io/library/alpine:3.* (max age 0s, immutable)\n",
    ] {
        assert!(text.contains(line), "{line}{text}");
    }
}

#[test]
fn rules_show_what_they_say_and_what_not() {
    let rule = TagRule {
        pattern: "*:v*".into(),
        cooldown: seconds(0),
        missing_tag: MissingTag::Keep.into(),
        immutable: Some(false),
        ..TagRule::default()
    };
    assert_eq!(
        rules(std::slice::from_ref(&rule)).to_string(),
        "PATTERN   MAX AGE   MAX STALE   COOLDOWN   MISSING TAG   IMMUTABLE\n\
         *:v*      -         -           0s         keep          no\n"
    );
}
