//! Nodes' observations of upstreams: stored, merged, sent to all nodes, and shown.

use std::{collections::HashMap, sync::Arc};

use arc_swap::ArcSwap;

use roadstead_proto::GroupPath;

use crate::{
    clock::Clock,
    rules::upstreams::{
        pull_limit::Condition,
        status::{BUCKET_MS, KEEP_SPENDS_MS, NodeView, Status, statuses},
    },
    store::{
        Store,
        cache::usage,
        changes::Subject,
        upstreams::{condition, credential, health, upstream},
    },
    usecases::{Page, UseCaseError, UseCaseResult, batch, group_at},
};

/// Most reports in a batch.
const MAX_REPORTS: usize = 1000;
/// Most groups in one report.
const MAX_SPENDS: usize = 10_000;
/// Time for which a known limit is shown to people, in milliseconds: a week.
const KEEP_CONDITIONS_MS: i64 = 7 * 24 * 3600 * 1000;

/// A node's observations of one upstream with one set of credentials.
#[derive(Clone, Debug)]
pub struct UpstreamReport {
    /// Pull limit and pause.
    pub condition: Condition,
    /// Its health.
    pub view: NodeView,
    /// Manifests fetched, by the group's id.
    pub spent: Vec<(String, i64)>,
}

/// Takes what nodes learn of upstreams.
pub struct UpstreamReports {
    store: Store,
    clock: Clock,
    /// The conditions, as the metrics show them.
    shown: ArcSwap<Vec<Condition>>,
}

impl UpstreamReports {
    /// Nothing is shown before the first report or round of maintenance.
    pub fn new(store: Store, clock: Clock) -> Self {
        Self { store, clock, shown: ArcSwap::default() }
    }

    /// Returns the conditions of upstreams, and the present time.
    pub fn shown(&self) -> (Arc<Vec<Condition>>, i64) {
        (self.shown.load_full(), self.clock.now_ms())
    }

    /// Takes a batch of reports, once.
    pub async fn report(&self, batch_id: &str, node: &str, reports: Vec<UpstreamReport>) -> UseCaseResult<()> {
        batch::check_id(batch_id)?;
        if reports.len() > MAX_REPORTS || reports.iter().any(|report| report.spent.len() > MAX_SPENDS) {
            let message = format!("at most {MAX_REPORTS}, with at most {MAX_SPENDS} groups each");
            return Err(UseCaseError::invalid("reports", message));
        }
        let now_ms = self.clock.now_ms();
        let mut tx = self.store.write_soon().await?;
        if !usage::begin_batch(&mut tx, batch_id, now_ms).await? {
            return Ok(());
        }
        let reserves: HashMap<_, _> = upstream::all(&mut tx)
            .await?
            .into_iter()
            .map(|upstream| (upstream.host.to_string(), upstream.reserve_percent))
            .collect();
        for report in reports {
            let condition = report.condition.bounded(now_ms);
            // Deleted while the node was asking it.
            let Some(reserve_percent) = reserves.get(&condition.upstream).copied() else { continue };
            let before = condition::get(&mut tx, &condition.upstream, &condition.username, &condition.source).await?;
            let says_something = condition.limit > 0 || condition.paused_until_ms > 0;
            if says_something {
                let before = before.unwrap_or_else(|| Condition {
                    paused_until_ms: 0,
                    limit: 0,
                    remaining: 0,
                    window_seconds: 0,
                    seen_at_ms: 0,
                    ..condition.clone()
                });
                let after = before.merged(&condition);
                if after != before {
                    condition::put(&mut tx, &after).await?;
                }
                if before.matters_at_once(&after, reserve_percent, now_ms) {
                    tx.changed(&Subject::Condition(after.key()), now_ms).await?;
                    condition::told(&mut tx, &after).await?;
                }
            }
            let view = NodeView {
                last_failed_at_ms: report.view.last_failed_at_ms.clamp(0, now_ms),
                last_answered_at_ms: report.view.last_answered_at_ms.clamp(0, now_ms),
                reported_at_ms: now_ms,
                ..report.view
            };
            health::put(&mut tx, node, &view).await?;
            let bucket_start_ms = now_ms - now_ms.rem_euclid(BUCKET_MS);
            for (group_id, pulls) in report.spent.iter().filter(|(_, pulls)| *pulls > 0) {
                let Condition { upstream, username, .. } = &condition;
                health::spend(&mut tx, upstream, username, group_id, bucket_start_ms, *pulls).await?;
            }
        }
        tx.commit().await?;
        self.show_limits().await
    }

    /// Tells nodes what they were not told at once, and forgets what is old.
    pub(crate) async fn keep(&self) -> UseCaseResult<()> {
        let now_ms = self.clock.now_ms();
        let mut tx = self.store.write().await?;
        condition::prune(&mut tx, now_ms - KEEP_CONDITIONS_MS).await?;
        health::prune(&mut tx, now_ms - KEEP_SPENDS_MS - BUCKET_MS).await?;
        for condition in condition::unannounced(&mut tx).await? {
            tx.changed(&Subject::Condition(condition.key()), now_ms).await?;
            condition::told(&mut tx, &condition).await?;
        }
        tx.commit().await?;
        self.show_limits().await
    }

    /// Keeps what the metrics show up to date.
    async fn show_limits(&self) -> UseCaseResult<()> {
        let known = condition::all(&mut *self.store.read().await?).await?;
        self.shown.store(Arc::new(known));
        Ok(())
    }
}

/// Returns the state of the upstreams that follow a host and a user name; for a given group only those that it uses and its
/// pulls.
pub async fn list_statuses(
    store: &Store,
    group: Option<&GroupPath>,
    after: (&str, &str),
    limit: i64,
    now_ms: i64,
) -> UseCaseResult<Page<((String, String), Status)>> {
    let mut tx = store.read().await?;
    let (group_id, used) = match group {
        None => (None, None),
        Some(path) => {
            let group = group_at(&mut tx, path).await?;
            let mut used = HashMap::new();
            for host in &group.settings.upstreams {
                let stored = credential::get(&mut tx, &group.id, host.as_str()).await?;
                used.insert(host.to_string(), stored.map(|stored| stored.username).unwrap_or_default());
            }
            (Some(group.id), Some(used))
        }
    };
    let spends = health::spends(&mut tx, now_ms - KEEP_SPENDS_MS, group_id.as_deref()).await?;
    let (known, views) = (condition::all(&mut tx).await?, health::all(&mut tx).await?);
    let mut found = statuses(known, views, spends, now_ms);
    if let Some(used) = used {
        found.retain(|(upstream, username), _| used.get(upstream) == Some(username));
    }
    let rest = found.into_iter().filter(|((host, username), _)| (host.as_str(), username.as_str()) > after);
    Ok(Page::cut(rest.collect(), limit))
}
