//! Counting pulls without waiting, and telling the control plane in batches that count once.

use std::{
    hash::BuildHasher,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::SystemTime,
};

use hashbrown::{DefaultHashBuilder, HashTable};
use quick_cache::Equivalent;
use roadstead_proto::Digest;
use uuid::Uuid;

use crate::control::{
    RepositoryRef,
    lookup::{ContentKey, ContentKeyRef},
};

/// Locks that counting is spread over.
const SHARDS: usize = 16;
/// Most different contents counted between two reports; what is pulled beyond that is not counted.
const MAX_COUNTED: usize = 100_000;
/// Most entries in one batch, as the protocol says.
const MAX_BATCH: usize = 10_000;

/// How a pull was served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pull {
    /// Without fetching from upstream.
    Hit,
    /// Fetched from upstream.
    Miss,
}

/// Pulls of one content.
#[derive(Clone, Debug)]
pub(crate) struct Usage {
    pub(crate) key: ContentKey,
    pub(crate) hits: u64,
    pub(crate) misses: u64,
    pub(crate) last_pulled_at: SystemTime,
}

/// Counts under one id, which stays the same however often they are sent.
#[derive(Clone, Debug)]
pub(crate) struct Batch {
    pub(crate) id: Uuid,
    pub(crate) usage: Vec<Usage>,
}

/// Counts pulls. Memory is bounded: counts of the same content add up until they are taken.
pub(crate) struct UsageCounter {
    hasher: DefaultHashBuilder,
    shards: [Mutex<HashTable<Usage>>; SHARDS],
    uncounted: AtomicU64,
}

impl UsageCounter {
    pub(crate) fn new() -> Self {
        Self { hasher: DefaultHashBuilder::default(), shards: Default::default(), uncounted: AtomicU64::new(0) }
    }

    /// Counts one pull. Takes a lock for no longer than an addition.
    pub(crate) fn record(&self, at: &RepositoryRef, digest: &Digest, pull: Pull) {
        let key = ContentKeyRef { at, digest };
        let hash = self.hasher.hash_one(key);
        let now = SystemTime::now();
        // Other bits than those that the table uses for itself.
        let mut shard = lock(&self.shards[(hash >> 32) as usize % SHARDS]);
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

    /// Takes all counts, in batches. What is counted from now on is for the next ones.
    pub(crate) fn take(&self) -> Vec<Batch> {
        let mut all: Vec<Usage> = Vec::new();
        for shard in &self.shards {
            let counted = std::mem::take(&mut *lock(shard));
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

    /// How many pulls were not counted since this was last asked.
    pub(crate) fn take_uncounted(&self) -> u64 {
        self.uncounted.swap(0, Ordering::Relaxed)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use roadstead_proto::Algorithm;

    use super::*;

    fn at(group: &str) -> RepositoryRef {
        RepositoryRef {
            group: group.into(),
            upstream: "docker.io".parse().unwrap(),
            repository: "library/alpine".parse().unwrap(),
        }
    }

    #[test]
    fn pulls_of_the_same_content_add_up() {
        let counter = UsageCounter::new();
        let digest = Digest::of(Algorithm::Sha256, b"a");
        counter.record(&at("g1"), &digest, Pull::Miss);
        counter.record(&at("g1"), &digest, Pull::Hit);
        counter.record(&at("g1"), &digest, Pull::Hit);
        counter.record(&at("g2"), &digest, Pull::Hit);
        let mut counts: Vec<_> = counter
            .take()
            .into_iter()
            .flat_map(|batch| batch.usage)
            .map(|usage| (usage.key.at.group.to_string(), usage.hits, usage.misses))
            .collect();
        counts.sort();
        assert_eq!(counts, [("g1".to_owned(), 2, 1), ("g2".to_owned(), 1, 0)]);
        assert!(counter.take().is_empty());
    }

    #[test]
    fn memory_and_batches_are_bounded() {
        let counter = UsageCounter::new();
        let total = MAX_COUNTED + 20_000;
        for i in 0..total {
            counter.record(&at("g1"), &Digest::of(Algorithm::Sha256, &i.to_be_bytes()), Pull::Hit);
        }
        let batches = counter.take();
        let counted: usize = batches.iter().map(|batch| batch.usage.len()).sum();
        assert!(batches.iter().all(|batch| batch.usage.len() <= MAX_BATCH));
        assert!(counted <= MAX_COUNTED && counted > MAX_COUNTED / 2);
        assert_eq!(counter.take_uncounted(), (total - counted) as u64);
    }
}
