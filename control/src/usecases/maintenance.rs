//! What goes on in the background: keys rotated, old records forgotten, times of use written. Each step is safe to
//! repeat, and to run on several replicas.

use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval_at};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::{Plane, PlaneResult};
use crate::usecases::cluster::leader;
use crate::{
    auth::{key_ring, rotation},
    store::{
        cache::usage,
        changes::{self, Subject},
        cluster::lease,
        identity::{key, token, user},
    },
};

/// How often is looked for what other processes did, where nobody is expected to.
const POLL: Duration = Duration::from_secs(1);
/// How often where replicas share the database: what changes at one is known to nodes of another within a second.
const SHARED_POLL: Duration = Duration::from_millis(250);
/// How often the rest is done.
const UPKEEP: Duration = Duration::from_secs(30);
/// How long changes are kept for nodes that come back, in milliseconds: an hour.
const KEEP_CHANGES_MS: i64 = 3600 * 1000;
/// How long batches of usage are remembered, in milliseconds: a day.
const KEEP_BATCHES_MS: i64 = 24 * 3600 * 1000;
/// How long leases that have run out are kept, so that their epochs go on, in milliseconds: ten minutes.
const KEEP_LEASES_MS: i64 = 600 * 1000;
/// How long job tokens are listed after they have expired, in milliseconds: a day.
const KEEP_JOB_TOKENS_MS: i64 = 24 * 3600 * 1000;

impl Plane {
    /// Does all of it until `stop`, and once more at the end.
    pub async fn keep_up(&self, stop: CancellationToken) {
        let poll = if self.store.is_shared() { SHARED_POLL } else { POLL };
        // Each by itself: what takes long keeps no watcher waiting.
        tokio::join!(
            self.run_schedules(&stop),
            // Also how it is noticed that the database is gone: nothing else may hold that up.
            self.repeat(&stop, poll, "look for changes", || self.look_for_changes()),
            self.follow_keys(&stop),
            self.repeat(&stop, poll, "write what nodes reported", || self.write_node_reports()),
            self.repeat(&stop, poll, "look for jobs", || self.exchange_jobs()),
            self.repeat(&stop, POLL, "look at quotas and at the store", || self.make_room()),
            self.repeat(&stop, UPKEEP, "do the upkeep", || self.keep_up_once()),
        );
        for (done, step) in [
            (self.write_last_used().await, "write when tokens were last used"),
            (self.write_node_reports().await, "write what nodes reported"),
            (self.write_repeats().await, "write how often refusals repeated"),
            (self.leave_duty(leader::UPKEEP).await, "leave the upkeep to another"),
            (self.leave_retention().await, "leave retention to another"),
        ] {
            if let Err(error) = done {
                warn!(%error, "cannot {step}");
            }
        }
    }

    async fn repeat<F: Future<Output = PlaneResult<()>>>(
        &self,
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
            let Some(done) = stop.run_until_cancelled(self.store.unless_lost(step())).await else { return };
            let done = done.unwrap_or_else(|lost| Err(lost.into()));
            match done {
                Ok(()) => failing = false,
                // Once: it is tried again and again.
                Err(error) if !std::mem::replace(&mut failing, true) => warn!(%error, "cannot {what}; trying again"),
                Err(_) => {}
            }
        }
    }

    async fn look_for_changes(&self) -> PlaneResult<()> {
        if self.store.refresh_revision().await? {
            self.changed_elsewhere.notify_one();
        }
        Ok(())
    }

    /// Another replica may have made a key, which clients bring from then on.
    async fn follow_keys(&self, stop: &CancellationToken) {
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.changed_elsewhere.notified() => {}
            }
            let loaded = self.store.unless_lost(self.load_keys()).await.unwrap_or_else(|lost| Err(lost.into()));
            if let Err(error) = loaded {
                // The upkeep loads them, too.
                warn!(%error, "cannot load the signing keys; trying again soon");
            }
        }
    }

    /// Does all of it now; what one replica does for all, only if it is this one's turn.
    pub async fn keep_up_once(&self) -> PlaneResult<()> {
        self.load_keys().await?;
        if self.is_on_duty(leader::UPKEEP).await? {
            self.rotate_keys().await?;
            self.forget().await?;
            self.prune_events().await?;
            self.forget_nodes().await?;
            self.retain().await?;
        }
        self.write_repeats().await?;
        self.keep_conditions().await?;
        self.write_last_used().await
    }

    async fn load_keys(&self) -> PlaneResult<()> {
        let stored = key::all(&mut *self.store.read().await?).await?;
        Ok(self.keys.replace(&self.sealer, &stored)?)
    }

    /// Makes, retires and removes signing keys as they are due, and loads what there are.
    pub async fn rotate_keys(&self) -> PlaneResult<()> {
        let now_ms = self.clock.now_ms();
        let stored = key::all(&mut *self.store.read().await?).await?;
        let is_due = |stored: &[key_ring::StoredKey]| {
            let times: Vec<_> = stored.iter().map(|key| key.times).collect();
            let expired = times.iter().any(|times| times.not_after_ms.is_some_and(|at| at < now_ms));
            (rotation::due(&times, now_ms), expired)
        };
        let (rotation, expired) = is_due(&stored);
        if !rotation.make && rotation.retire.is_none() && !expired {
            return Ok(self.keys.replace(&self.sealer, &stored)?);
        }
        let mut tx = self.store.write().await?;
        // Asked again: another replica may have been faster.
        let (rotation, _) = is_due(&key::all(&mut tx).await?);
        if let Some(retire) = rotation.retire {
            key::retire(&mut tx, retire).await?;
        }
        if rotation.make {
            let key = key_ring::generate(&self.sealer, now_ms)?;
            info!(key.id = key.id, "made a new signing key");
            key::insert(&mut tx, &key).await?;
        }
        key::prune(&mut tx, now_ms).await?;
        tx.changed(&Subject::Keys, now_ms).await?;
        let stored = key::all(&mut tx).await?;
        tx.commit().await?;
        Ok(self.keys.replace(&self.sealer, &stored)?)
    }

    async fn forget(&self) -> PlaneResult<()> {
        let now_ms = self.clock.now_ms();
        let mut tx = self.store.write().await?;
        token::prune_revocations(&mut tx, now_ms).await?;
        changes::prune(&mut tx, now_ms - KEEP_CHANGES_MS).await?;
        token::prune_jobs(&mut tx, now_ms - KEEP_JOB_TOKENS_MS).await?;
        lease::prune(&mut tx, now_ms - KEEP_LEASES_MS).await?;
        usage::prune_batches(&mut tx, now_ms - KEEP_BATCHES_MS).await?;
        tx.commit().await?;
        self.forget_days().await?;
        self.forget_healed().await
    }

    async fn write_last_used(&self) -> PlaneResult<()> {
        let (used, seen) = (self.last_used.take(), self.last_seen.take());
        if used.is_empty() && seen.is_empty() {
            return Ok(());
        }
        let mut tx = self.store.write_soon().await?;
        for (id, at_ms) in used {
            token::set_last_used(&mut tx, &id, at_ms).await?;
        }
        for (id, at_ms) in seen {
            user::set_last_seen(&mut tx, &id, at_ms).await?;
        }
        Ok(tx.commit().await?)
    }
}
