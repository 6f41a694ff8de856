//! The status of upstreams, combined from the views of all nodes.

use std::{collections::BTreeMap, str::FromStr};

use roadstead_proto::GroupPath;

use crate::rules::upstreams::pull_limit::{Condition, DEFAULT_WINDOW_MS};

/// A node that has not reported for so long counts no more beside others that have, in milliseconds: 15 minutes.
const NODE_SILENCE_MS: i64 = 15 * 60 * 1000;
/// Width of the buckets that spends are counted in, in milliseconds: ten minutes.
pub const BUCKET_MS: i64 = 10 * 60 * 1000;
/// Time for which spends are kept, in milliseconds: a day. Longer windows are told for a day.
pub const KEEP_SPENDS_MS: i64 = 24 * 3600 * 1000;

/// The health of an upstream, the worse later.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Health {
    /// Nothing is known.
    #[default]
    Unknown,
    /// It answers.
    Good,
    /// Some requests fail.
    Failing,
    /// It is left alone but for probes.
    Open,
}

impl Health {
    /// The word it is stored as.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Good => "good",
            Self::Failing => "failing",
            Self::Open => "open",
        }
    }
}

impl FromStr for Health {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "unknown" => Ok(Self::Unknown),
            "good" => Ok(Self::Good),
            "failing" => Ok(Self::Failing),
            "open" => Ok(Self::Open),
            _ => Err(()),
        }
    }
}

/// The view that one node has of an upstream with one set of credentials. Times are 0 for never.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeView {
    /// The upstream's host.
    pub upstream: String,
    /// User name of the credentials.
    pub username: String,
    /// Its health, as this node sees it.
    pub health: Health,
    /// Kind of the last failure.
    pub last_error: String,
    /// When it last failed.
    pub last_failed_at_ms: i64,
    /// When it last answered.
    pub last_answered_at_ms: i64,
    /// When the node said so.
    pub reported_at_ms: i64,
}

/// Manifests that a group fetched within ten minutes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spend {
    /// The upstream's host.
    pub upstream: String,
    /// User name of the credentials.
    pub username: String,
    /// The group.
    pub group: GroupPath,
    /// When the ten minutes begin.
    pub bucket_start_ms: i64,
    /// The number.
    pub pulls: i64,
}

/// The status of one upstream for one set of credentials. Times are 0 for never.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// Its health: the worst that a node sees.
    pub health: Health,
    /// Kind of the last failure.
    pub last_error: String,
    /// When it last failed.
    pub last_failed_at_ms: i64,
    /// When it last answered.
    pub last_answered_at_ms: i64,
    /// Nothing is fetched until then.
    pub paused_until_ms: i64,
    /// The observed limits, for each source.
    pub limits: Vec<Condition>,
    /// The pulls of each group in the window, the most first.
    pub spent: Vec<(GroupPath, i64)>,
}

/// By upstream and user name.
pub type Statuses = BTreeMap<(String, String), Status>;

/// Puts everything together.
pub fn statuses(conditions: Vec<Condition>, views: Vec<NodeView>, spends: Vec<Spend>, now_ms: i64) -> Statuses {
    let mut statuses = Statuses::new();
    let mut windows: BTreeMap<(String, String), i64> = BTreeMap::new();
    for condition in conditions {
        let key = (condition.upstream.clone(), condition.username.clone());
        let status = statuses.entry(key.clone()).or_default();
        if condition.paused_until_ms > now_ms {
            status.paused_until_ms = status.paused_until_ms.max(condition.paused_until_ms);
        }
        if condition.limit > 0 {
            let window_ms = windows.entry(key).or_default();
            *window_ms = (*window_ms).max(condition.window_ms());
            status.limits.push(condition);
        }
    }
    let mut last_reports: BTreeMap<(&str, &str), i64> = BTreeMap::new();
    for view in &views {
        let last = last_reports.entry((&view.upstream, &view.username)).or_default();
        *last = (*last).max(view.reported_at_ms);
    }
    for view in &views {
        let status = statuses.entry((view.upstream.clone(), view.username.clone())).or_default();
        let last = last_reports.get(&(&*view.upstream, &*view.username)).copied().unwrap_or_default();
        if last - view.reported_at_ms < NODE_SILENCE_MS {
            status.health = status.health.max(view.health);
        }
        if !view.last_error.is_empty() && view.last_failed_at_ms >= status.last_failed_at_ms {
            status.last_error.clone_from(&view.last_error);
        }
        status.last_failed_at_ms = status.last_failed_at_ms.max(view.last_failed_at_ms);
        status.last_answered_at_ms = status.last_answered_at_ms.max(view.last_answered_at_ms);
    }
    let mut spent: BTreeMap<((String, String), GroupPath), i64> = BTreeMap::new();
    for spend in spends {
        let key = (spend.upstream, spend.username);
        let window_ms = windows.get(&key).copied().unwrap_or(DEFAULT_WINDOW_MS);
        // A bucket counts as long as any of it lies in the window.
        if spend.bucket_start_ms + BUCKET_MS > now_ms - window_ms {
            *spent.entry((key, spend.group)).or_default() += spend.pulls;
        }
    }
    for ((key, group), pulls) in spent {
        statuses.entry(key).or_default().spent.push((group, pulls));
    }
    for status in statuses.values_mut() {
        status.spent.sort_by_key(|(_, pulls)| std::cmp::Reverse(*pulls));
    }
    statuses
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_800_000_000_000;

    fn view(health: Health, last_error: &str, failed: i64, answered: i64, reported: i64) -> NodeView {
        NodeView {
            upstream: "a.io".into(),
            username: String::new(),
            health,
            last_error: last_error.into(),
            last_failed_at_ms: failed,
            last_answered_at_ms: answered,
            reported_at_ms: reported,
        }
    }

    fn only(statuses: Statuses) -> Status {
        assert_eq!(statuses.len(), 1);
        statuses.into_values().next().unwrap()
    }

    #[test]
    fn the_worst_that_a_node_sees_counts_unless_that_node_fell_silent() {
        for (name, views, health, error) in [
            ("nobody", vec![], None, ""),
            ("one", vec![view(Health::Good, "", 0, 5, NOW)], Some(Health::Good), ""),
            (
                "two",
                vec![view(Health::Open, "connect", 8, 5, NOW - 60_000), view(Health::Good, "timeout", 3, 9, NOW)],
                Some(Health::Open),
                "connect",
            ),
            (
                "one fell silent",
                vec![view(Health::Open, "connect", 8, 5, NOW - NODE_SILENCE_MS), view(Health::Good, "", 0, 9, NOW)],
                Some(Health::Good),
                "connect",
            ),
            ("all fell silent", vec![view(Health::Open, "connect", 8, 5, 10)], Some(Health::Open), "connect"),
        ] {
            let got = statuses(vec![], views, vec![], NOW);
            let status = got.values().next();
            assert_eq!(status.map(|status| status.health), health, "{name}");
            assert_eq!(status.map_or("", |status| &*status.last_error), error, "{name}");
        }
    }

    #[test]
    fn spends_count_within_the_window_and_the_most_comes_first() {
        let spend = |group: &str, bucket_start_ms, pulls| Spend {
            upstream: "a.io".into(),
            username: String::new(),
            group: group.parse().unwrap(),
            bucket_start_ms,
            pulls,
        };
        let hour = 3600 * 1000;
        let spends = || {
            vec![
                spend("a", NOW - hour, 2),
                spend("b", NOW - 5 * hour, 9),
                spend("a", NOW, 3),
                spend("a", NOW - 7 * hour, 100),
            ]
        };
        let shown = |status: Status| status.spent.iter().map(|(path, n)| format!("{path} {n}")).collect::<Vec<_>>();
        assert_eq!(shown(only(statuses(vec![], vec![], spends(), NOW))), ["b 9", "a 5"]);
        let condition = Condition {
            upstream: "a.io".into(),
            limit: 100,
            remaining: 1,
            window_seconds: 3600,
            seen_at_ms: NOW,
            ..Condition::default()
        };
        let status = only(statuses(vec![condition], vec![], spends(), NOW));
        assert_eq!((status.limits.len(), shown(status)), (1, vec!["a 5".to_owned()]));
    }
}
