//! Groups as people read them.

use roadstead_proto::v1::{Group, MissingTag, TagRule, Visibility};

use crate::output::{Details, Table, human};

fn visibility(group: &Group) -> &'static str {
    match group.visibility() {
        Visibility::Private => "private",
        Visibility::Internal => "internal",
        Visibility::Public => "public",
        Visibility::Unspecified => "unknown",
    }
}

fn state(group: &Group) -> &'static str {
    match (group.enabled, group.frozen) {
        (false, _) => "disabled",
        (true, true) => "frozen",
        (true, false) => "enabled",
    }
}

fn missing_tag(missing: MissingTag) -> &'static str {
    match missing {
        MissingTag::Gone => "gone",
        MissingTag::Keep => "keep",
        MissingTag::Unspecified => "-",
    }
}

/// One line a group.
pub fn table(groups: &[Group]) -> Table {
    Table::new(["PATH", "VISIBILITY", "ANONYMOUS", "STATE", "UPSTREAMS", "MAX AGE"], groups, |group| {
        [
            group.path.clone(),
            visibility(group).to_owned(),
            human::yes_no(group.anonymous_pull).to_owned(),
            state(group).to_owned(),
            group.upstreams.join(","),
            human::duration(group.max_age.as_ref(), "-"),
        ]
    })
}

/// A group with everything that is set.
pub fn details(group: Option<&Group>) -> Details {
    let Some(group) = group else { return Details::default() };
    let mut details = Details::default()
        .with("Path", &group.path)
        .with("ID", &group.id)
        .with("Visibility", visibility(group))
        .with("Anonymous pull", human::yes_no(group.anonymous_pull))
        .with("State", state(group))
        .with("Upstreams", group.upstreams.join(", "))
        .with("Max age", human::duration(group.max_age.as_ref(), "0s (ask every time)"))
        .with("Max stale", human::duration(group.max_stale.as_ref(), "0s (never stale)"))
        .with("Cooldown", human::duration(group.cooldown.as_ref(), "off"))
        .with("Missing tag", missing_tag(group.missing_tag()))
        .with("Retention", human::duration(group.retention.as_ref(), "off"))
        .with("Quota", if group.quota_bytes > 0 { human::size(group.quota_bytes) } else { "off".to_owned() });
    let lists = [
        ("Kept tags", &group.protected_tags),
        ("Allowed images", &group.allowed_images),
        ("Denied images", &group.denied_images),
    ];
    for (name, patterns) in lists.into_iter().chain([("Old paths", &group.old_paths)]) {
        if !patterns.is_empty() {
            details = details.with(name, patterns.join(", "));
        }
    }
    for rule in &group.tag_rules {
        details = details.with("Tag rule", format_args!("{} ({})", rule.pattern, says(rule).join(", ")));
    }
    details
        .with("Created", human::absolute(group.created_at.as_ref(), "-"))
        .with("Updated", human::absolute(group.updated_at.as_ref(), "-"))
        .with("Etag", &group.etag)
}

/// Rules with what they say, in their order.
pub fn rules(rules: &[TagRule]) -> Table {
    Table::new(["PATTERN", "MAX AGE", "MAX STALE", "COOLDOWN", "MISSING TAG", "IMMUTABLE"], rules, |rule| {
        let duration = |given: Option<&_>| given.map_or("-".to_owned(), |given| human::duration(Some(given), "0s"));
        [
            rule.pattern.clone(),
            duration(rule.max_age.as_ref()),
            duration(rule.max_stale.as_ref()),
            duration(rule.cooldown.as_ref()),
            missing_tag(rule.missing_tag()).to_owned(),
            rule.immutable.map_or("-", human::yes_no).to_owned(),
        ]
    })
}

fn says(rule: &TagRule) -> Vec<String> {
    let durations = [("max age", &rule.max_age), ("max stale", &rule.max_stale), ("cooldown", &rule.cooldown)];
    let mut says: Vec<String> = durations
        .into_iter()
        .filter_map(|(name, given)| Some(format!("{name} {}", human::duration(Some(given.as_ref()?), "0s"))))
        .collect();
    if rule.missing_tag() != MissingTag::Unspecified {
        says.push(format!("missing tag {}", missing_tag(rule.missing_tag())));
    }
    says.extend(rule.immutable.map(|is| if is { "immutable" } else { "not immutable" }.to_owned()));
    says
}

#[cfg(test)]
mod tests {
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
        let ops =
            Group { path: "ops/ci".into(), visibility: 1, upstreams: vec!["docker.io".into()], ..Group::default() };
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
}
