//! Telling the control plane what this node learnt of upstreams, in batches that count once.

use std::time::Duration;

use roadstead_proto::node::v1 as pb;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};
use uuid::Uuid;

use crate::control::{
    Account, ControlClient, ControlError, PullLimit, UpstreamCondition, UpstreamState,
    client::translate::{Problem, host, milliseconds, seconds, time, unsigned, wait},
    memory::conditions::UpstreamReport,
};

/// How often there is a report, if there is anything to tell. Pauses and dwindling limits are told at once.
const REPORT_INTERVAL: Duration = Duration::from_secs(5);
/// Most entries in one batch, as the protocol says.
const MAX_BATCH: usize = 1000;
/// How long the last report may take at a stop.
const LAST_REPORT_TIME: Duration = Duration::from_secs(3);

/// Reports under one id, which stays the same however often they are sent.
struct Batch {
    id: Uuid,
    reports: Vec<UpstreamReport>,
}

impl ControlClient {
    /// Reports until `stop`, and once more then.
    pub(crate) async fn report_upstreams(&self, stop: &CancellationToken) {
        let mut pending = None;
        let mut ticks = interval(REPORT_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let due = async |ticks: &mut tokio::time::Interval| {
            tokio::select! {
                _ = ticks.tick() => {}
                () = self.conditions().urgent.notified() => {}
            }
        };
        while stop.run_until_cancelled(due(&mut ticks)).await.is_some() {
            self.deliver(&mut pending).await;
        }
        // What could not be sent before goes first; then what was learnt meanwhile.
        let last = async { self.deliver(&mut pending).await };
        if timeout(LAST_REPORT_TIME, last).await.is_err() || pending.is_some() {
            warn!("what was learnt of upstreams could not be reported before the stop");
        }
    }

    /// Sends what is pending, and then all there is to tell. What cannot be sent now stays pending under its id, and
    /// nothing new is taken before it is sent.
    async fn deliver(&self, pending: &mut Option<Batch>) {
        loop {
            let batch = match pending.take() {
                Some(batch) => pending.insert(batch),
                None => {
                    let reports = self.conditions().take(MAX_BATCH);
                    if reports.is_empty() {
                        return;
                    }
                    pending.insert(Batch { id: Uuid::now_v7(), reports })
                }
            };
            let request = self.request(pb::ReportUpstreamsRequest {
                batch_id: batch.id.to_string(),
                reports: batch.reports.iter().map(report_to_pb).collect(),
                node_name: self.node_name.clone(),
            });
            match self.call("ReportUpstreams", self.service.clone().report_upstreams(request)).await {
                Ok(pb::ReportUpstreamsResponse {}) => {}
                Err(error @ (ControlError::Refused { .. } | ControlError::NotFound { .. })) => {
                    warn!(%error, entries = batch.reports.len(), "a report on upstreams is refused and dropped");
                }
                Err(error) => return debug!(%error, "upstreams cannot be reported on now"),
            }
            *pending = None;
        }
    }
}

/// What the control plane tells of an upstream.
pub(crate) fn condition(told: pb::UpstreamCondition) -> Result<UpstreamCondition, Problem> {
    let limit = match (told.limit, told.seen_at_ms) {
        (0, _) | (_, 0) => None,
        (limit, seen_at_ms) => Some(PullLimit {
            limit: unsigned("a pull limit", limit)?,
            remaining: unsigned("what is left of a pull limit", told.remaining)?,
            window: wait(told.window_seconds),
            seen_at: time(seen_at_ms),
        }),
    };
    Ok(UpstreamCondition {
        account: Account { upstream: host(&told.upstream)?, username: told.username },
        source: told.source,
        paused_until: (told.paused_until_ms > 0).then(|| time(told.paused_until_ms)),
        limit,
    })
}

fn report_to_pb(report: &UpstreamReport) -> pb::UpstreamReport {
    let UpstreamCondition { account, source, paused_until, limit } = &report.condition;
    let number = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
    let condition = pb::UpstreamCondition {
        upstream: account.upstream.to_string(),
        username: account.username.clone(),
        paused_until_ms: paused_until.map_or(0, milliseconds),
        limit: limit.as_ref().map_or(0, |limit| number(limit.limit)),
        remaining: limit.as_ref().map_or(0, |limit| number(limit.remaining)),
        source: source.clone(),
        seen_at_ms: limit.as_ref().map_or(0, |limit| milliseconds(limit.seen_at)),
        window_seconds: seconds(limit.as_ref().and_then(|limit| limit.window)),
    };
    let state = match report.state {
        UpstreamState::Unknown => pb::UpstreamState::Unspecified,
        UpstreamState::Good => pb::UpstreamState::Good,
        UpstreamState::Failing => pb::UpstreamState::Failing,
        UpstreamState::Open => pb::UpstreamState::Open,
    };
    let spend = |(group, pulls): &(crate::control::GroupId, u64)| pb::GroupSpend {
        group_id: group.to_string(),
        pulls: number(*pulls),
    };
    pb::UpstreamReport {
        condition: Some(condition),
        state: state.into(),
        last_error: report.last_error.to_owned(),
        last_failed_at_ms: report.last_failed_at.map_or(0, milliseconds),
        last_answered_at_ms: report.last_answered_at.map_or(0, milliseconds),
        spent: report.spent.iter().map(spend).collect(),
    }
}
