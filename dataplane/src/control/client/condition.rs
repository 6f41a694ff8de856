//! The reports of upstreams, by account: pull limits, pauses, and health.

use std::time::{Duration, SystemTime};

use roadstead_proto::{UpstreamHost, node::v1 as pb, time::timestamp_ms};

use super::translate::{Problem, host, time, time_of, timestamp, unsigned, wait, whole_seconds};
use crate::control::policy::GroupId;

/// Time for which a limit without a window is believed. Docker Hub's window.
const USUAL_WINDOW: Duration = Duration::from_secs(6 * 60 * 60);

/// The account whose requests an upstream counts together.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Account {
    /// The upstream.
    pub upstream: UpstreamHost,
    /// User name of the credentials; empty for none.
    pub username: String,
}

/// A pull limit, as upstream told it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PullLimit {
    /// Pulls in a window.
    pub limit: u64,
    /// Pulls left.
    pub remaining: u64,
    /// The window, where it was told.
    pub window: Option<Duration>,
    /// When it was told.
    pub seen_at: SystemTime,
}

impl PullLimit {
    /// Checks whether fewer than `percent` of the pulls are left, as far as that is known now.
    pub(crate) fn is_below(&self, percent: u8, now: SystemTime) -> bool {
        let age = now.duration_since(self.seen_at).unwrap_or_default();
        age < self.window.unwrap_or(USUAL_WINDOW)
            && self.remaining.saturating_mul(100) < self.limit.saturating_mul(percent.into())
    }
}

/// The known state of an account, for one source that upstream counts for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpstreamCondition {
    /// The account.
    pub account: Account,
    /// The client that upstream counts for: an address, or an account of its own; empty if it does not say.
    pub source: String,
    /// Nothing is to be fetched until then.
    pub paused_until: Option<SystemTime>,
    /// The limit.
    pub limit: Option<PullLimit>,
}

/// The health of an upstream, as this node sees it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UpstreamState {
    /// Nothing is known.
    #[default]
    Unknown,
    /// It answers.
    Good,
    /// Some requests fail.
    Failing,
    /// It failed repeatedly and is left alone but for a probe now and then.
    Open,
}

/// The observations of this node since its last report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct UpstreamReport {
    pub(crate) condition: UpstreamCondition,
    pub(crate) state: UpstreamState,
    /// Kind of the last failure; empty before the first.
    pub(crate) last_error: &'static str,
    pub(crate) last_failed_at: Option<SystemTime>,
    pub(crate) last_answered_at: Option<SystemTime>,
    pub(crate) spent: Vec<(GroupId, u64)>,
}

/// Reads what the control plane tells of an upstream.
pub(super) fn read(told: pb::UpstreamCondition) -> Result<UpstreamCondition, Problem> {
    let limit = match (told.limit, timestamp_ms(told.seen_at)) {
        (0, _) | (_, 0) => None,
        (limit, seen_at_ms) => Some(PullLimit {
            limit: unsigned("a pull limit", limit)?,
            remaining: unsigned("what is left of a pull limit", told.remaining)?,
            window: wait(told.window),
            seen_at: time(seen_at_ms),
        }),
    };
    Ok(UpstreamCondition {
        account: Account { upstream: host(&told.upstream)?, username: told.username },
        source: told.source,
        paused_until: told.paused_until.map(|at| time_of(Some(at))),
        limit,
    })
}

pub(super) fn report_to_pb(report: &UpstreamReport) -> pb::UpstreamReport {
    let UpstreamCondition { account, source, paused_until, limit } = &report.condition;
    let number = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
    let condition = pb::UpstreamCondition {
        upstream: account.upstream.to_string(),
        username: account.username.clone(),
        paused_until: paused_until.and_then(timestamp),
        limit: limit.as_ref().map_or(0, |limit| number(limit.limit)),
        remaining: limit.as_ref().map_or(0, |limit| number(limit.remaining)),
        source: source.clone(),
        seen_at: limit.as_ref().and_then(|limit| timestamp(limit.seen_at)),
        window: whole_seconds(limit.as_ref().and_then(|limit| limit.window)),
    };
    let state = match report.state {
        UpstreamState::Unknown => pb::UpstreamState::Unspecified,
        UpstreamState::Good => pb::UpstreamState::Good,
        UpstreamState::Failing => pb::UpstreamState::Failing,
        UpstreamState::Open => pb::UpstreamState::Open,
    };
    let spend = |(group, pulls): &(GroupId, u64)| pb::GroupSpend { group_id: group.to_string(), pulls: number(*pulls) };
    pb::UpstreamReport {
        condition: Some(condition),
        state: state.into(),
        last_error: report.last_error.to_owned(),
        last_failed_at: report.last_failed_at.and_then(timestamp),
        last_answered_at: report.last_answered_at.and_then(timestamp),
        spent: report.spent.iter().map(spend).collect(),
    }
}
