//! Groups as tables and details.

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

/// Returns a table with a row for each group.
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

/// Describes a group with all settings that it has.
pub fn details(group: Option<&Group>) -> Details {
    let Some(group) = group else { return Details::default() };
    let mut details = Details::default()
        .with("Path", &group.path)
        .with("ID", &group.id)
        .with("Visibility", visibility(group))
        .with("Anonymous pull", human::yes_no(group.anonymous_pull))
        .with("State", state(group))
        .with("Upstreams", group.upstreams.join(", "))
        .with("Max age", human::duration(group.max_age.as_ref(), "0s (check at every pull)"))
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

/// Returns a table of rules in their order.
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
mod tests;
