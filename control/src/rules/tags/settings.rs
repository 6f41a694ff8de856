//! The settings of tags and images: the group's own, and rules for the tags that a pattern fits.
//!
//! For each setting by itself, the first rule that fits and says something decides; what none says is the group's.

use roadstead_proto::{ImagePattern, MissingTag, RepositoryName, Tag, UpstreamHost};

use crate::rules::{
    tags::{
        freshness::TagPolicy,
        limits::{DAY_MS, DEFAULT_MAX_STALE_MS, MAX_COOLDOWN_MS, MAX_MAX_AGE_MS, MAX_MAX_STALE_MS, MAX_PATTERNS},
    },
    violation::Violation,
};

/// The settings of a group's tags, besides `max_age`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TagSettings {
    /// Longest time that a tag may be served while upstream cannot be asked, in milliseconds.
    pub max_stale_ms: i64,
    /// Time for which a tag that moved keeps its old meaning, in milliseconds.
    pub cooldown_ms: i64,
    /// The effect when upstream no longer has the tag.
    pub missing_tag: MissingTag,
    /// Exceptions, in order.
    pub rules: Vec<TagRule>,
}

impl Default for TagSettings {
    fn default() -> Self {
        Self {
            max_stale_ms: DEFAULT_MAX_STALE_MS,
            cooldown_ms: 0,
            missing_tag: MissingTag::default(),
            rules: Vec::new(),
        }
    }
}

/// Settings for the tags that a pattern fits; `None` says nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TagRule {
    /// Which tags.
    pub pattern: ImagePattern,
    /// See [`TagPolicy::max_age_ms`].
    pub max_age_ms: Option<i64>,
    /// See [`TagSettings::max_stale_ms`].
    pub max_stale_ms: Option<i64>,
    /// See [`TagSettings::cooldown_ms`].
    pub cooldown_ms: Option<i64>,
    /// See [`TagSettings::missing_tag`].
    pub missing_tag: Option<MissingTag>,
    /// True if the tag never moves.
    pub immutable: Option<bool>,
}

/// Which images may be pulled.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImageRules {
    /// If there are any, one of them must fit.
    pub allowed: Vec<ImagePattern>,
    /// None of them may fit.
    pub denied: Vec<ImagePattern>,
}

impl TagSettings {
    /// Returns the policy for one tag, in a group with this `max_age`. The caller decides whether pulls are possible
    /// at all.
    pub fn policy_for(
        &self,
        max_age_ms: i64,
        host: &UpstreamHost,
        repository: &RepositoryName,
        tag: &Tag,
    ) -> TagPolicy {
        let fitting: Vec<_> = self.rules.iter().filter(|rule| rule.pattern.fits_tag(host, repository, tag)).collect();
        fn first<T>(rules: &[&TagRule], says: impl Fn(&TagRule) -> Option<T>) -> Option<T> {
            rules.iter().find_map(|rule| says(rule))
        }
        TagPolicy {
            max_age_ms: first(&fitting, |rule| rule.max_age_ms).unwrap_or(max_age_ms),
            max_stale_ms: first(&fitting, |rule| rule.max_stale_ms).unwrap_or(self.max_stale_ms),
            cooldown_ms: first(&fitting, |rule| rule.cooldown_ms).unwrap_or(self.cooldown_ms),
            keep_missing: first(&fitting, |rule| rule.missing_tag).unwrap_or(self.missing_tag) == MissingTag::Keep,
            immutable: first(&fitting, |rule| rule.immutable).unwrap_or_default(),
            ..TagPolicy::default()
        }
    }

    /// Lists the problems of these settings.
    pub fn violations(&self) -> Vec<Violation> {
        let mut found = Vec::new();
        let within = |field: String, value: i64, max: i64| {
            let message = || format!("must be between 0 and {} days", max / DAY_MS);
            (!(0..=max).contains(&value)).then(|| Violation::new(field, message()))
        };
        found.extend(within("max_stale".into(), self.max_stale_ms, MAX_MAX_STALE_MS));
        found.extend(within("cooldown".into(), self.cooldown_ms, MAX_COOLDOWN_MS));
        for (position, rule) in self.rules.iter().enumerate() {
            for (setting, value, max) in [
                ("max_age", rule.max_age_ms, MAX_MAX_AGE_MS),
                ("max_stale", rule.max_stale_ms, MAX_MAX_STALE_MS),
                ("cooldown", rule.cooldown_ms, MAX_COOLDOWN_MS),
            ] {
                found.extend(within(format!("tag_rules[{position}].{setting}"), value.unwrap_or_default(), max));
            }
            let says_nothing = rule.max_age_ms.is_none()
                && rule.max_stale_ms.is_none()
                && rule.cooldown_ms.is_none()
                && rule.missing_tag.is_none()
                && rule.immutable.is_none();
            if says_nothing {
                let field = format!("tag_rules[{position}]");
                found.push(Violation::new(field, "says nothing; set one of its settings, or leave the rule out"));
            }
        }
        if self.rules.len() > MAX_PATTERNS {
            found.push(Violation::new("tag_rules", format!("at most {MAX_PATTERNS} rules")));
        }
        found
    }
}

impl ImageRules {
    /// Lists the problems of these rules.
    pub fn violations(&self) -> Vec<Violation> {
        let mut found = Vec::new();
        for (field, patterns) in [("allowed_images", &self.allowed), ("denied_images", &self.denied)] {
            if patterns.len() > MAX_PATTERNS {
                found.push(Violation::new(field, format!("at most {MAX_PATTERNS} patterns")));
            }
            for pattern in patterns.iter().filter(|pattern| pattern.names_tags()) {
                found.push(Violation::new(
                    field,
                    format!(
                        "{pattern}: names a tag; images are allowed or denied whole, leave out what follows the colon"
                    ),
                ));
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(pattern: &str) -> TagRule {
        TagRule {
            pattern: pattern.parse().unwrap(),
            max_age_ms: None,
            max_stale_ms: None,
            cooldown_ms: None,
            missing_tag: None,
            immutable: None,
        }
    }

    #[test]
    fn for_each_setting_the_first_rule_that_fits_and_says_something_decides() {
        let settings = TagSettings {
            cooldown_ms: 7,
            rules: vec![
                TagRule { max_age_ms: Some(1), ..rule("alpine:3*") },
                TagRule { max_age_ms: Some(2), immutable: Some(true), ..rule("alpine") },
                TagRule {
                    immutable: Some(false),
                    missing_tag: Some(MissingTag::Keep),
                    max_stale_ms: Some(0),
                    ..rule("*")
                },
            ],
            ..TagSettings::default()
        };
        let base = TagPolicy::default();
        for (image, tag, expected) in [
            (
                "library/alpine",
                "3.20",
                TagPolicy {
                    max_age_ms: 1,
                    max_stale_ms: 0,
                    cooldown_ms: 7,
                    keep_missing: true,
                    immutable: true,
                    ..base
                },
            ),
            (
                "library/alpine",
                "edge",
                TagPolicy {
                    max_age_ms: 2,
                    max_stale_ms: 0,
                    cooldown_ms: 7,
                    keep_missing: true,
                    immutable: true,
                    ..base
                },
            ),
            (
                "library/nginx",
                "3.20",
                TagPolicy {
                    max_age_ms: 9,
                    max_stale_ms: 0,
                    cooldown_ms: 7,
                    keep_missing: true,
                    immutable: false,
                    ..base
                },
            ),
        ] {
            let hub = "docker.io".parse().unwrap();
            let got = settings.policy_for(9, &hub, &image.parse().unwrap(), &tag.parse().unwrap());
            assert_eq!(got, expected, "{image}:{tag}");
        }
    }

    #[test]
    fn every_setting_that_cannot_be_is_named() {
        let settings = TagSettings {
            max_stale_ms: -1,
            cooldown_ms: MAX_COOLDOWN_MS + 1,
            rules: vec![
                TagRule { max_age_ms: Some(MAX_MAX_AGE_MS + 1), max_stale_ms: Some(-1), ..rule("a") },
                rule("b"),
                TagRule { cooldown_ms: Some(MAX_COOLDOWN_MS), ..rule("c") },
            ],
            ..TagSettings::default()
        };
        let fields: Vec<_> = settings.violations().into_iter().map(|violation| violation.field).collect();
        assert_eq!(fields, ["max_stale", "cooldown", "tag_rules[0].max_age", "tag_rules[0].max_stale", "tag_rules[1]"]);
        assert_eq!(TagSettings::default().violations(), []);
        let many =
            TagSettings { rules: vec![TagRule { immutable: Some(true), ..rule("a") }; 101], ..Default::default() };
        assert_eq!(many.violations()[0].field, "tag_rules");
        let images = ImageRules { allowed: vec!["a:1".parse().unwrap()], denied: vec!["a".parse().unwrap(); 101] };
        let fields: Vec<_> = images.violations().into_iter().map(|violation| violation.field).collect();
        assert_eq!(fields, ["allowed_images", "denied_images"]);
    }
}
