//! Counts of pulls that nodes bring in batches, and what became of them day by day.

use std::collections::BTreeMap;

use roadstead_proto::{Digest, GroupPath, RepositoryRef};

use crate::{
    store::{Store, cache::usage},
    usecases::{UseCaseError, UseCaseResult, batch, group_at},
};

/// Most entries in a batch.
const MAX_ENTRIES: usize = 10_000;
/// Days of which counts are kept, today among them: a year.
pub const KEPT_DAYS: i64 = 366;
/// A day in milliseconds.
const DAY_MS: i64 = 24 * 3600 * 1000;

/// Pulls of one digest.
#[derive(Clone, Debug)]
pub struct Usage {
    /// The repository.
    pub repository: RepositoryRef,
    /// The digest.
    pub digest: Digest,
    /// Served without fetching.
    pub hits: i64,
    /// Fetched.
    pub misses: i64,
    /// When last.
    pub last_pulled_at_ms: i64,
}

/// Hits and misses of a day (UTC).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Day {
    /// Its first moment.
    pub start_ms: i64,
    /// Pulls served without fetching.
    pub hits: i64,
    /// Pulls that fetched.
    pub misses: i64,
}

/// Counts a batch, once.
pub async fn record(store: &Store, batch_id: &str, entries: &[Usage], now_ms: i64) -> UseCaseResult<()> {
    batch::check_id(batch_id)?;
    if entries.len() > MAX_ENTRIES {
        return Err(UseCaseError::invalid("usage", format!("at most {MAX_ENTRIES} entries; send more batches")));
    }
    let mut tx = store.write_soon().await?;
    if !usage::begin_batch(&mut tx, batch_id, now_ms).await? {
        return Ok(());
    }
    let mut links: BTreeMap<(&str, &str, &str, Digest), usage::Pulls> = BTreeMap::new();
    let mut days: BTreeMap<(&str, i64), (i64, i64)> = BTreeMap::new();
    for entry in entries {
        // A node whose clock is ahead must not make content look younger than it can be.
        let last_ms = entry.last_pulled_at_ms.min(now_ms);
        let repository = &entry.repository;
        let key =
            (repository.group.as_str(), repository.upstream.as_str(), repository.repository.as_str(), entry.digest);
        let pulls = links.entry(key).or_insert_with(|| usage::Pulls {
            repository: repository.clone(),
            digest: entry.digest,
            count: 0,
            last_ms,
        });
        pulls.count = pulls.count.saturating_add(entry.hits.saturating_add(entry.misses));
        pulls.last_ms = pulls.last_ms.max(last_ms);
        let total = days.entry((repository.group.as_str(), last_ms.div_euclid(DAY_MS))).or_default();
        *total = (total.0.saturating_add(entry.hits), total.1.saturating_add(entry.misses));
    }
    let links: Vec<_> = links.into_values().collect();
    usage::add_pulls(&mut tx, &links).await?;
    for ((group_id, day), (hits, misses)) in days {
        usage::add(&mut tx, group_id, hits, misses).await?;
        usage::add_to_day(&mut tx, group_id, day, hits, misses).await?;
    }
    Ok(tx.commit().await?)
}

/// A group's hits and misses of so many days, today the last of them.
pub async fn daily(store: &Store, path: &GroupPath, days: i64, now_ms: i64) -> UseCaseResult<Vec<Day>> {
    let today = now_ms.div_euclid(DAY_MS);
    let mut tx = store.read().await?;
    let group = group_at(&mut tx, path).await?;
    let from = today - days.clamp(1, KEPT_DAYS) + 1;
    let known: BTreeMap<_, _> = usage::days(&mut tx, &group.id, from)
        .await?
        .into_iter()
        .map(|(day, hits, misses)| (day, (hits, misses)))
        .collect();
    let day = |day: i64| {
        let (hits, misses) = known.get(&day).copied().unwrap_or_default();
        Day { start_ms: day * DAY_MS, hits, misses }
    };
    Ok((from..=today).map(day).collect())
}

/// Forgets days that nobody can ask for any more.
pub(crate) async fn forget_days(store: &Store, now_ms: i64) -> UseCaseResult<()> {
    let today = now_ms.div_euclid(DAY_MS);
    let mut tx = store.write().await?;
    usage::prune_days(&mut tx, today - KEPT_DAYS + 1).await?;
    Ok(tx.commit().await?)
}
