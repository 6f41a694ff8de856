//! Counting pulls without waiting, and telling the control plane in batches that count once.

use std::{
    collections::VecDeque,
    hash::BuildHasher,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use hashbrown::{DefaultHashBuilder, HashTable};
use parking_lot::Mutex;
use quick_cache::Equivalent;
use roadstead_proto::Digest;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};
use uuid::Uuid;

use crate::control::{
    ControlError, RepositoryRef,
    client::{
        NodeClient,
        usage::{Batch, Usage},
    },
    lookup::ContentKeyRef,
};

/// Interval of usage reports.
const REPORT_INTERVAL: Duration = Duration::from_secs(10);
/// Longest time for the last report at a stop.
const LAST_REPORT_TIME: Duration = Duration::from_secs(3);

/// Locks that counting is spread over.
const SHARDS: usize = 16;
/// Most different contents counted between two reports; what is pulled beyond that is not counted.
const MAX_COUNTED: usize = 100_000;
/// Most entries in one batch, as the protocol says.
const MAX_BATCH: usize = 10_000;

/// The way in which a pull was served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pull {
    /// Without fetching from upstream.
    Hit,
    /// Fetched from upstream.
    Miss,
}

/// Counts pulls. Memory is bounded: counts of the same content add up until they are taken.
pub struct UsageCounter {
    hasher: DefaultHashBuilder,
    shards: [Mutex<HashTable<Usage>>; SHARDS],
    uncounted: AtomicU64,
}

impl Default for UsageCounter {
    fn default() -> Self {
        Self { hasher: DefaultHashBuilder::default(), shards: Default::default(), uncounted: AtomicU64::new(0) }
    }
}

impl UsageCounter {
    /// Counts one pull. Never waits for the control plane, and takes a lock for no longer than an addition.
    pub fn record(&self, repository: &RepositoryRef, digest: &Digest, pull: Pull) {
        let key = ContentKeyRef { repository, digest };
        let hash = self.hasher.hash_one(key);
        let now = SystemTime::now();
        // Other bits than those that the table uses for itself.
        let mut shard = self.shards[(hash >> 32) as usize % SHARDS].lock();
        let (hits, misses) = match pull {
            Pull::Hit => (1, 0),
            Pull::Miss => (0, 1),
        };
        if let Some(usage) = shard.find_mut(hash, |usage| key.equivalent(&usage.key)) {
            usage.hits += hits;
            usage.misses += misses;
            usage.last_pulled_at = now;
        } else if shard.len() < MAX_COUNTED / SHARDS {
            let usage = Usage { key: key.to_owned(), hits, misses, last_pulled_at: now };
            shard.insert_unique(hash, usage, |usage| self.hasher.hash_one(&usage.key));
        } else {
            drop(shard);
            self.uncounted.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Takes all counts, in batches. Later pulls count for the next batch.
    pub(crate) fn take(&self) -> Vec<Batch> {
        let mut all: Vec<Usage> = Vec::new();
        for shard in &self.shards {
            let counted = std::mem::take(&mut *shard.lock());
            all.extend(counted);
        }
        let mut batches = Vec::with_capacity(all.len().div_ceil(MAX_BATCH));
        while !all.is_empty() {
            let rest = all.split_off(all.len().min(MAX_BATCH));
            batches.push(Batch { id: Uuid::now_v7(), usage: all });
            all = rest;
        }
        batches
    }

    /// Returns the number of uncounted pulls since the last call.
    pub(crate) fn take_uncounted(&self) -> u64 {
        self.uncounted.swap(0, Ordering::Relaxed)
    }
}

/// Tells the control plane what was counted.
pub(crate) struct UsageReports {
    pub(crate) client: Arc<NodeClient>,
    pub(crate) counter: Arc<UsageCounter>,
}

impl UsageReports {
    /// Reports until `stop`, and once more then. If it is dropped, pulls that were not reported are lost.
    pub(crate) async fn run(&self, stop: &CancellationToken) {
        let mut pending = VecDeque::new();
        let mut ticks = interval(REPORT_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while stop.run_until_cancelled(ticks.tick()).await.is_some() {
            self.report(&mut pending).await;
        }
        let last = async {
            // What could not be sent before goes first; then what was counted meanwhile.
            self.report(&mut pending).await;
            if pending.is_empty() {
                self.report(&mut pending).await;
            }
        };
        let in_time = timeout(LAST_REPORT_TIME, last).await.is_ok();
        if !in_time || !pending.is_empty() {
            warn!(lost_batches = pending.len(), "usage could not be reported before the stop");
        }
    }

    /// Sends what is pending, or else what was counted. A batch that cannot be sent stays pending under its id, and no other
    /// is started before it is sent: this bounds memory.
    async fn report(&self, pending: &mut VecDeque<Batch>) {
        if pending.is_empty() {
            pending.extend(self.counter.take());
        }
        let uncounted = self.counter.take_uncounted();
        if uncounted > 0 {
            warn!(pulls = uncounted, "too many different contents at once: pulls were not counted");
        }
        while let Some(batch) = pending.front() {
            match self.client.record_usage(batch).await {
                Ok(()) => {}
                Err(error @ (ControlError::Refused { .. } | ControlError::NotFound { .. })) => {
                    warn!(%error, entries = batch.usage.len(), "a usage report is refused and dropped");
                }
                Err(error) => {
                    debug!(%error, "usage cannot be reported now");
                    return;
                }
            }
            pending.pop_front();
        }
    }
}

#[cfg(test)]
mod tests;
