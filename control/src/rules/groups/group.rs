//! Groups: their settings, what a change to them may be, and which group contains which.

use roadstead_proto::{GroupPath, ImagePattern, InvalidGroupPath, MissingTag, UpstreamHost, Visibility};

use crate::rules::{
    cache::retention::TagPattern,
    tags::{
        limits::{MAX_MAX_AGE_MS, MAX_PATTERNS},
        settings::{ImageRules, TagRule, TagSettings},
    },
    violation::Violation,
};

/// Range of times that links may be kept without a pull, in milliseconds: a day to ten years.
pub const RETENTION_MS: std::ops::RangeInclusive<i64> = 24 * 3600 * 1000..=3650 * 24 * 3600 * 1000;
/// Most upstreams that one group may use.
pub const MAX_UPSTREAMS: usize = 50;

/// The settings of a group that its maintainers choose.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupSettings {
    /// The group's visibility.
    pub visibility: Visibility,
    /// True if pulls need no sign-in; only for public groups.
    pub anonymous_pull: bool,
    /// True if pulls are possible at all.
    pub enabled: bool,
    /// True if only what is cached is served.
    pub frozen: bool,
    /// Upstreams it may use, the default first; never empty.
    pub upstreams: Vec<UpstreamHost>,
    /// Time for which a tag is served without asking upstream, in milliseconds.
    pub max_age_ms: i64,
    /// After how long without a pull links are removed, in milliseconds; 0 keeps them.
    pub retention_ms: i64,
    /// The quota in bytes; 0 sets no bound.
    pub quota_bytes: i64,
    /// Tags whose images retention leaves.
    pub protected_tags: Vec<TagPattern>,
    /// The other settings of tags.
    pub tags: TagSettings,
    /// Which images may be pulled.
    pub images: ImageRules,
}

/// A group as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// Never changes.
    pub id: String,
    /// Unique, lower-case.
    pub path: GroupPath,
    /// Paths that it had, and that no other group has taken since.
    pub old_paths: Vec<GroupPath>,
    /// The settings that its maintainers chose.
    pub settings: GroupSettings,
    /// Revision of the last change of settings.
    pub etag: i64,
    /// Revision of the last removal of links.
    pub link_epoch: i64,
    /// Revision of the last change of credentials.
    pub credential_epoch: i64,
    /// Revision of the last change of settings that admits fewer: registry tokens from before are void.
    pub access_epoch: i64,
    /// Pulls served without fetching content.
    pub hits: i64,
    /// Pulls that fetched content.
    pub misses: i64,
    /// When it was created.
    pub created_at_ms: i64,
    /// When its settings last changed.
    pub updated_at_ms: i64,
}

/// A change of settings; `None` leaves what is there.
#[derive(Clone, Debug, Default)]
pub struct GroupChange {
    /// See [`GroupSettings::visibility`].
    pub visibility: Option<Visibility>,
    /// See [`GroupSettings::anonymous_pull`].
    pub anonymous_pull: Option<bool>,
    /// See [`GroupSettings::enabled`].
    pub enabled: Option<bool>,
    /// See [`GroupSettings::frozen`].
    pub frozen: Option<bool>,
    /// Replaces the whole list.
    pub upstreams: Option<Vec<UpstreamHost>>,
    /// See [`GroupSettings::max_age_ms`].
    pub max_age_ms: Option<i64>,
    /// See [`GroupSettings::retention_ms`].
    pub retention_ms: Option<i64>,
    /// See [`GroupSettings::quota_bytes`].
    pub quota_bytes: Option<i64>,
    /// Replaces all of [`GroupSettings::protected_tags`].
    pub protected_tags: Option<Vec<TagPattern>>,
    /// See [`TagSettings::max_stale_ms`].
    pub max_stale_ms: Option<i64>,
    /// See [`TagSettings::cooldown_ms`].
    pub cooldown_ms: Option<i64>,
    /// See [`TagSettings::missing_tag`].
    pub missing_tag: Option<MissingTag>,
    /// Replaces all of [`TagSettings::rules`].
    pub tag_rules: Option<Vec<TagRule>>,
    /// Replaces all of [`ImageRules::allowed`].
    pub allowed_images: Option<Vec<ImagePattern>>,
    /// Replaces all of [`ImageRules::denied`].
    pub denied_images: Option<Vec<ImagePattern>>,
}

impl GroupSettings {
    /// The defaults of a group: private, enabled, asking these upstreams at every pull.
    pub fn new(upstreams: Vec<UpstreamHost>) -> Self {
        Self {
            visibility: Visibility::Private,
            anonymous_pull: false,
            enabled: true,
            frozen: false,
            upstreams,
            max_age_ms: 0,
            retention_ms: 0,
            quota_bytes: 0,
            protected_tags: Vec::new(),
            tags: TagSettings::default(),
            images: ImageRules::default(),
        }
    }

    /// The settings after `change`.
    pub fn with(&self, change: GroupChange) -> Self {
        Self {
            visibility: change.visibility.unwrap_or(self.visibility),
            anonymous_pull: change.anonymous_pull.unwrap_or(self.anonymous_pull),
            enabled: change.enabled.unwrap_or(self.enabled),
            frozen: change.frozen.unwrap_or(self.frozen),
            upstreams: change.upstreams.unwrap_or_else(|| self.upstreams.clone()),
            max_age_ms: change.max_age_ms.unwrap_or(self.max_age_ms),
            retention_ms: change.retention_ms.unwrap_or(self.retention_ms),
            quota_bytes: change.quota_bytes.unwrap_or(self.quota_bytes),
            protected_tags: change.protected_tags.unwrap_or_else(|| self.protected_tags.clone()),
            tags: TagSettings {
                max_stale_ms: change.max_stale_ms.unwrap_or(self.tags.max_stale_ms),
                cooldown_ms: change.cooldown_ms.unwrap_or(self.tags.cooldown_ms),
                missing_tag: change.missing_tag.unwrap_or(self.tags.missing_tag),
                rules: change.tag_rules.unwrap_or_else(|| self.tags.rules.clone()),
            },
            images: ImageRules {
                allowed: change.allowed_images.unwrap_or_else(|| self.images.allowed.clone()),
                denied: change.denied_images.unwrap_or_else(|| self.images.denied.clone()),
            },
        }
    }

    /// The names of the settings that differ from `before`.
    pub fn changes_since(&self, before: &Self) -> Vec<&'static str> {
        // Taken apart, so that a new setting without an entry here does not compile.
        let Self { visibility, anonymous_pull, enabled, frozen, upstreams, max_age_ms, retention_ms, .. } = self;
        let Self { quota_bytes, protected_tags, tags, images, .. } = self;
        let TagSettings { max_stale_ms, cooldown_ms, missing_tag, rules } = tags;
        let ImageRules { allowed, denied } = images;
        [
            ("visibility", *visibility != before.visibility),
            ("anonymous_pull", *anonymous_pull != before.anonymous_pull),
            ("enabled", *enabled != before.enabled),
            ("frozen", *frozen != before.frozen),
            ("upstreams", *upstreams != before.upstreams),
            ("max_age", *max_age_ms != before.max_age_ms),
            ("retention", *retention_ms != before.retention_ms),
            ("quota", *quota_bytes != before.quota_bytes),
            ("protected_tags", *protected_tags != before.protected_tags),
            ("max_stale", *max_stale_ms != before.tags.max_stale_ms),
            ("cooldown", *cooldown_ms != before.tags.cooldown_ms),
            ("missing_tag", *missing_tag != before.tags.missing_tag),
            ("tag_rules", *rules != before.tags.rules),
            ("allowed_images", *allowed != before.images.allowed),
            ("denied_images", *denied != before.images.denied),
        ]
        .into_iter()
        .filter_map(|(name, differs)| differs.then_some(name))
        .collect()
    }

    /// Returns whether somebody who might pull under the settings `before` may not under these.
    pub fn admits_fewer_than(&self, before: &Self) -> bool {
        self.visibility < before.visibility || (before.anonymous_pull && !self.anonymous_pull)
    }

    /// Lists the problems of these settings, given the known upstreams.
    pub fn violations(&self, exists: impl Fn(&UpstreamHost) -> bool) -> Vec<Violation> {
        let mut found = Vec::new();
        if self.anonymous_pull && self.visibility != Visibility::Public {
            found.push(Violation::new(
                "anonymous_pull",
                "anonymous pulls need visibility public; set that too, or leave anonymous pulls off",
            ));
        }
        if !(0..=MAX_MAX_AGE_MS).contains(&self.max_age_ms) {
            found.push(Violation::new("max_age", "must be between 0 and 30 days"));
        }
        if self.retention_ms != 0 && !RETENTION_MS.contains(&self.retention_ms) {
            found.push(Violation::new("retention", "must be 0, or between 1 and 3650 days"));
        }
        if self.quota_bytes < 0 {
            found.push(Violation::new("quota_bytes", "must not be negative; 0 sets no bound"));
        }
        if self.protected_tags.len() > MAX_PATTERNS {
            found.push(Violation::new("protected_tags", format!("at most {MAX_PATTERNS} patterns")));
        }
        if self.upstreams.is_empty() || self.upstreams.len() > MAX_UPSTREAMS {
            found.push(Violation::new("upstreams", format!("a group uses 1 to {MAX_UPSTREAMS} upstreams")));
        }
        for (position, host) in self.upstreams.iter().enumerate() {
            if self.upstreams[..position].contains(host) {
                found.push(Violation::new("upstreams", format!("upstream {host} is listed twice")));
            } else if !exists(host) {
                found.push(Violation::new(
                    "upstreams",
                    format!("there is no upstream {host}; an administrator can add it with `upstream set`"),
                ));
            }
        }
        found.extend(self.tags.violations());
        found.extend(self.images.violations());
        found
    }
}

/// The path of the group directly above, whether there is such a group or not; `None` at the top.
pub fn parent(path: &GroupPath) -> Option<GroupPath> {
    // A path without its last segment is a path too.
    path.as_str().rsplit_once('/').and_then(|(parent, _)| parent.parse().ok())
}

/// Returns the new path of `path`, which is `from` or below it, after `from` is renamed to `to`; an error if it would
/// be too long or deep.
pub fn moved(path: &GroupPath, from: &GroupPath, to: &GroupPath) -> Result<GroupPath, InvalidGroupPath> {
    let below = path.as_str().strip_prefix(from.as_str()).unwrap_or_default();
    format!("{to}{below}").parse()
}

/// Returns whether `path` is `group` or a subgroup of it at any depth.
pub fn contains(group: &GroupPath, path: &GroupPath) -> bool {
    path.as_str().strip_prefix(group.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> GroupSettings {
        GroupSettings::new(vec!["docker.io".parse().unwrap()])
    }

    #[test]
    fn settings_are_checked_as_a_whole_after_the_change() {
        let quay: UpstreamHost = "quay.io".parse().unwrap();
        let hub: UpstreamHost = "docker.io".parse().unwrap();
        let change = GroupChange::default;
        for (change, field) in [
            (GroupChange { anonymous_pull: Some(true), ..change() }, Some("anonymous_pull")),
            (
                GroupChange { anonymous_pull: Some(true), visibility: Some(Visibility::Internal), ..change() },
                Some("anonymous_pull"),
            ),
            (GroupChange { anonymous_pull: Some(true), visibility: Some(Visibility::Public), ..change() }, None),
            (GroupChange { max_age_ms: Some(MAX_MAX_AGE_MS), ..change() }, None),
            (GroupChange { max_age_ms: Some(MAX_MAX_AGE_MS + 1), ..change() }, Some("max_age")),
            (GroupChange { max_age_ms: Some(-1), ..change() }, Some("max_age")),
            (GroupChange { retention_ms: Some(*RETENTION_MS.start()), ..change() }, None),
            (GroupChange { retention_ms: Some(*RETENTION_MS.end()), ..change() }, None),
            (GroupChange { retention_ms: Some(*RETENTION_MS.start() - 1), ..change() }, Some("retention")),
            (GroupChange { retention_ms: Some(*RETENTION_MS.end() + 1), ..change() }, Some("retention")),
            (GroupChange { quota_bytes: Some(-1), ..change() }, Some("quota_bytes")),
            (GroupChange { quota_bytes: Some(1), ..change() }, None),
            (GroupChange { protected_tags: Some(vec!["a".parse().unwrap(); 101]), ..change() }, Some("protected_tags")),
            (GroupChange { max_stale_ms: Some(-1), ..change() }, Some("max_stale")),
            (GroupChange { denied_images: Some(vec!["a:b".parse().unwrap()]), ..change() }, Some("denied_images")),
            (GroupChange { upstreams: Some(vec![]), ..change() }, Some("upstreams")),
            (GroupChange { upstreams: Some(vec![quay]), ..change() }, Some("upstreams")),
            (GroupChange { upstreams: Some(vec![hub.clone(), hub.clone()]), ..change() }, Some("upstreams")),
            (GroupChange { frozen: Some(true), ..change() }, None),
        ] {
            let found = settings().with(change.clone()).violations(|host| *host == hub);
            assert_eq!(found.first().map(|v| v.field.as_str()), field, "{change:?}");
        }
    }

    #[test]
    fn fewer_are_admitted_when_visibility_narrows_or_anonymous_pulls_go_off() {
        use Visibility::{Internal, Private, Public};
        let of = |(visibility, anonymous_pull)| GroupSettings { visibility, anonymous_pull, ..settings() };
        for (before, after, expected) in [
            ((Private, false), (Private, false), false),
            ((Private, false), (Internal, false), false),
            ((Internal, false), (Public, true), false),
            ((Public, false), (Public, true), false),
            ((Public, true), (Public, false), true),
            ((Public, true), (Private, false), true),
            ((Public, false), (Internal, false), true),
            ((Internal, false), (Private, false), true),
        ] {
            assert_eq!(of(after).admits_fewer_than(&of(before)), expected, "{before:?} {after:?}");
        }
        let frozen = GroupSettings { frozen: true, enabled: false, ..settings() };
        assert!(!frozen.admits_fewer_than(&settings()), "these do not depend on who asks");
    }

    #[test]
    fn subgroups_move_with_their_group() {
        let path = |text: &str| text.parse::<GroupPath>().unwrap();
        for (at, from, to, expected) in [
            ("acme", "acme", "apex", Some("apex")),
            ("acme/ci/deep", "acme", "apex/labs", Some("apex/labs/ci/deep")),
            ("acme/ci/deep", "acme/ci", "ci", Some("ci/deep")),
            ("acme/ci", "acme", &"a".repeat(254), None),
        ] {
            let got = moved(&path(at), &path(from), &path(to)).ok();
            assert_eq!(got.as_ref().map(GroupPath::as_str), expected, "{at} {from} {to}");
        }
        assert_eq!(parent(&path("acme/ci/deep")), Some(path("acme/ci")));
        assert_eq!(parent(&path("acme")), None);
    }

    #[test]
    fn a_group_contains_itself_and_its_subgroups_only() {
        for (group, path, expected) in [
            ("acme", "acme", true),
            ("acme", "acme/backend", true),
            ("acme", "acme/backend/ci", true),
            ("acme", "acmex", false),
            ("acme", "acme-labs/backend", false),
            ("acme/backend", "acme", false),
        ] {
            assert_eq!(contains(&group.parse().unwrap(), &path.parse().unwrap()), expected, "{group} {path}");
        }
    }
}
