//! Settings of tags and images, to and from `roadstead.v1`. Problems are collected, so that all of them are named at
//! once.

use std::str::FromStr;

use roadstead_proto::{InvalidImagePattern, MissingTag, v1};

use super::time;
use crate::rules::{tags::settings::TagRule, violation::Violation};

/// Reads what happens to a missing tag; `None` if the request does not say.
pub fn missing_in(field: &str, value: i32, found: &mut Vec<Violation>) -> Option<MissingTag> {
    match MissingTag::from_wire(value) {
        Ok(missing) => missing,
        Err(error) => {
            found.push(Violation::new(field, error.to_string()));
            None
        }
    }
}

/// A duration in milliseconds; `None` if nothing is said.
pub fn duration_in(field: &str, value: Option<prost_types::Duration>, found: &mut Vec<Violation>) -> Option<i64> {
    let ms = time::duration_ms(field, value?);
    if ms.is_err() {
        found.push(Violation::new(field, "must be a duration that is not negative"));
    }
    ms.ok()
}

/// A list of patterns.
pub fn patterns_in<P: FromStr<Err = InvalidImagePattern>>(
    field: &str,
    texts: &[String],
    found: &mut Vec<Violation>,
) -> Vec<P> {
    texts
        .iter()
        .enumerate()
        .filter_map(|(position, text)| match text.parse() {
            Ok(pattern) => Some(pattern),
            Err(error) => {
                found.push(Violation::new(format!("{field}[{position}]"), format!("{text:?}: {error}")));
                None
            }
        })
        .collect()
}

/// A list of rules.
pub fn rules_in(rules: Vec<v1::TagRule>, found: &mut Vec<Violation>) -> Vec<TagRule> {
    let mut parsed = Vec::with_capacity(rules.len());
    for (position, rule) in rules.into_iter().enumerate() {
        let field = |name: &str| format!("tag_rules[{position}].{name}");
        let max_age_ms = duration_in(&field("max_age"), rule.max_age, found);
        let max_stale_ms = duration_in(&field("max_stale"), rule.max_stale, found);
        let cooldown_ms = duration_in(&field("cooldown"), rule.cooldown, found);
        let missing_tag = missing_in(&field("missing_tag"), rule.missing_tag, found);
        match rule.pattern.parse() {
            Ok(pattern) => parsed.push(TagRule {
                pattern,
                max_age_ms,
                max_stale_ms,
                cooldown_ms,
                missing_tag,
                immutable: rule.immutable,
            }),
            Err(error) => found.push(Violation::new(field("pattern"), format!("{:?}: {error}", rule.pattern))),
        }
    }
    parsed
}

pub fn rule(rule: &TagRule) -> v1::TagRule {
    v1::TagRule {
        pattern: rule.pattern.to_string(),
        max_age: rule.max_age_ms.map(time::duration),
        max_stale: rule.max_stale_ms.map(time::duration),
        cooldown: rule.cooldown_ms.map(time::duration),
        missing_tag: rule.missing_tag.map_or(0, Into::into),
        immutable: rule.immutable,
    }
}
