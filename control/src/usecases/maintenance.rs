//! The work that goes on in the background: keys rotated, old records deleted, times of use written. Each step is safe
//! to repeat, and to run on several replicas.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::Notify,
    time::{Instant, MissedTickBehavior, interval_at},
};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::{
    UseCaseResult,
    audit::AuditLog,
    cache::{corruption, retention::Retention, usage},
    cluster::{
        leader::{self, Leader},
        node::NodeRegistry,
        timeline,
    },
    identity::{credentials::Authenticator, signing_keys::SigningKeys},
    upstreams::report::UpstreamReports,
};
use crate::{
    clock::Clock,
    rules::request::KEEP_REQUESTS_MS,
    store::{
        Store, cache::usage as batches, changes, cluster::lease, engine::liveness::Seen, identity::token, jobs::job,
        request,
    },
};

/// Pause between two looks at what other replicas changed: a change at one reaches the nodes of another within a second.
const LOOK: Duration = Duration::from_millis(250);
/// Pause between two steps that mostly find nothing to do.
const STEP: Duration = Duration::from_secs(1);
/// Pause between two rounds of maintenance.
const ROUND: Duration = Duration::from_secs(30);
/// Time for which changes are kept for nodes that come back, in milliseconds: an hour.
const KEEP_CHANGES_MS: i64 = 3600 * 1000;
/// Time for which batches of usage are remembered, in milliseconds: an hour. Nodes repeat a batch within seconds, or when the
/// control plane answers again.
const KEEP_BATCHES_MS: i64 = 3600 * 1000;
/// Time for which expired leases are kept, so that their epochs go on, in milliseconds: ten minutes.
const KEEP_LEASES_MS: i64 = 600 * 1000;
/// Time for which job tokens are listed after they have expired, in milliseconds: a day.
const KEEP_JOB_TOKENS_MS: i64 = 24 * 3600 * 1000;

/// Everybody whose background work one round does.
pub struct Maintenance {
    /// The database, whose old records are deleted.
    pub store: Store,
    /// The present time.
    pub clock: Clock,
    /// Signing keys, loaded and rotated.
    pub keys: Arc<SigningKeys>,
    /// The audit log, pruned, with the refusals that repeat.
    pub audit: Arc<AuditLog>,
    /// The nodes, whose reports are written, and the silent ones forgotten.
    pub nodes: Arc<NodeRegistry>,
    /// Retention, applied.
    pub retention: Arc<Retention>,
    /// The times when tokens and users were last seen, written.
    pub authenticator: Arc<Authenticator>,
    /// Upstreams, shown in the metrics.
    pub upstreams: Arc<UpstreamReports>,
    /// This replica's share of the work that one replica does for all.
    pub leader: Arc<Leader>,
}

impl Maintenance {
    /// Works until `stop`, and writes at the end what waits in memory.
    pub async fn run(&self, stop: &CancellationToken) {
        let changed_elsewhere = Notify::new();
        let look_for_changes = || async {
            match self.store.refresh_revision().await? {
                Seen::Same => {}
                Seen::News => changed_elsewhere.notify_one(),
                Seen::OtherTimeline(known) => {
                    timeline::begin_if_foreign(&self.store, &self.clock, &known).await?;
                    changed_elsewhere.notify_one();
                }
            }
            Ok(())
        };
        // Each by itself: one that takes long keeps no watcher waiting.
        tokio::join!(
            // It also notices that the database is gone: nothing else may hold that up.
            repeat(&self.store, stop, LOOK, "look for changes", look_for_changes),
            self.follow_keys(stop, &changed_elsewhere),
            repeat(&self.store, stop, STEP, "write the nodes' reports", || self.nodes.write_reports()),
            repeat(&self.store, stop, STEP, "apply quotas and watermarks", || self.retention.make_room()),
            repeat(&self.store, stop, ROUND, "do a round of maintenance", || self.run_once()),
        );
        for (done, step) in [
            (self.authenticator.write_last_used().await, "write when tokens were last used"),
            (self.nodes.write_reports().await, "write the nodes' reports"),
            (self.audit.write_repeats().await, "write how often refusals repeated"),
            (self.leader.resign(leader::MAINTENANCE).await, "leave maintenance to another replica"),
            (self.leader.resign(leader::RETENTION).await, "leave retention to another replica"),
        ] {
            if let Err(error) = done {
                warn!(%error, "cannot {step}");
            }
        }
    }

    /// Does one round; the work that one replica does for all, only while this one leads.
    pub async fn run_once(&self) -> UseCaseResult<()> {
        self.keys.load().await?;
        if self.leader.leads(leader::MAINTENANCE).await? {
            self.keys.rotate().await?;
            self.forget().await?;
            self.audit.prune().await?;
            self.nodes.forget_silent().await?;
            self.retention.apply_if_due().await?;
        }
        self.audit.write_repeats().await?;
        self.upstreams.keep().await?;
        self.authenticator.write_last_used().await
    }

    /// Loads the keys whenever another replica may have made one, which clients bring from then on.
    async fn follow_keys(&self, stop: &CancellationToken, changed: &Notify) {
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = changed.notified() => {}
            }
            let loaded = self.store.unless_lost(self.keys.load()).await.unwrap_or_else(|lost| Err(lost.into()));
            if let Err(error) = loaded {
                // Each round loads them, too.
                warn!(%error, "cannot load the signing keys; trying again soon");
            }
        }
    }

    async fn forget(&self) -> UseCaseResult<()> {
        let now_ms = self.clock.now_ms();
        let mut tx = self.store.write().await?;
        token::prune_revocations(&mut tx, now_ms).await?;
        changes::prune(&mut tx, now_ms - KEEP_CHANGES_MS).await?;
        token::prune_jobs(&mut tx, now_ms - KEEP_JOB_TOKENS_MS).await?;
        lease::prune(&mut tx, now_ms - KEEP_LEASES_MS).await?;
        request::prune(&mut tx, now_ms - KEEP_REQUESTS_MS).await?;
        job::prune(&mut tx, now_ms).await?;
        batches::prune_batches(&mut tx, now_ms - KEEP_BATCHES_MS).await?;
        tx.commit().await?;
        usage::forget_days(&self.store, now_ms).await?;
        corruption::forget_healed(&self.store, now_ms).await
    }
}

/// Takes a step each period until `stop`; logs the first of several failures in a row.
async fn repeat<F: Future<Output = UseCaseResult<()>>>(
    store: &Store,
    stop: &CancellationToken,
    period: Duration,
    what: &'static str,
    step: impl Fn() -> F,
) {
    let mut ticks = interval_at(Instant::now() + period, period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut failing = false;
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = ticks.tick() => {}
        }
        // A step is a sequence of transactions, and may be long: a stop does not wait for it.
        let Some(done) = stop.run_until_cancelled(store.unless_lost(step())).await else { return };
        match done.unwrap_or_else(|lost| Err(lost.into())) {
            Ok(()) => failing = false,
            Err(error) if !std::mem::replace(&mut failing, true) => warn!(%error, "cannot {what}; trying again"),
            Err(_) => {}
        }
    }
}
