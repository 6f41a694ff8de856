//! Healing: what nodes notice about stored content, whose bytes are hashed next, and checks of a group that people ask
//! for.

use roadstead_proto::{CorruptionKind, Digest, GroupPath};

use super::garbage::{bounded, limited};
use crate::{
    jobs::Job,
    rules::{
        access::Actor,
        cache::corruption::{Corruption, Noticed, Stored},
    },
    store::{Store, audit, cache::corruption},
    usecases::{
        UseCaseResult, group_at, group_with,
        jobs::{JobRequests, exchange::JobHandle},
    },
};

/// Time for which content that was hashed is left alone, in milliseconds: a day.
const SCRUB_AGAIN_MS: i64 = 24 * 3600 * 1000;
/// Contents handed out for hashing if nothing is said.
const DEFAULT_SCRUB: i32 = 100;
/// Contents in a page of a group's if nothing is said.
const DEFAULT_PAGE: i32 = 1000;
/// Time for which a node that was heard counts as one that has a store, in milliseconds: 15 minutes.
const UP_MS: i64 = 15 * 60 * 1000;
/// Time for which healed damage is remembered, in milliseconds: 30 days.
const KEEP_HEALED_MS: i64 = 30 * 24 * 3600 * 1000;

/// A check of a group's content under way.
pub struct Check {
    /// The reports of the node.
    pub waiting: JobHandle,
    /// The group.
    pub group_id: String,
    /// When it began: damage noticed since is its own.
    pub began_ms: i64,
}

/// Asks a node to check a group's content.
pub async fn check(
    store: &Store,
    jobs: &JobRequests,
    actor: &Actor,
    path: &GroupPath,
    deep: bool,
    now_ms: i64,
) -> UseCaseResult<Check> {
    let group = group_at(&mut *store.read().await?, path).await?;
    let waiting = jobs.exchange.post(Job::Check { group_id: group.id.clone(), deep }).await?;
    let mut tx = store.write().await?;
    let subject = if deep { format!("{path} deep") } else { path.to_string() };
    audit::record(&mut tx, &actor.did("cache.check", subject).of_group(path), now_ms).await?;
    tx.commit().await?;
    Ok(Check { waiting, group_id: group.id, began_ms: now_ms })
}

/// Records what a node noticed about its store, and what it fetched again. Answers what counts as damage:
/// what somebody links. That something is missing counts only where all nodes share one store: in a store of its own
/// a node has what was pulled through it.
pub async fn report(
    store: &Store,
    store_id: &str,
    noticed: &[Noticed],
    healed: &[Digest],
    now_ms: i64,
) -> UseCaseResult<Vec<Digest>> {
    bounded("corruptions", noticed)?;
    bounded("healed_digests", healed)?;
    let mut recorded = Vec::new();
    let mut tx = store.write().await?;
    let is_sole = store_id.is_empty() || corruption::is_sole_store(&mut tx, store_id, now_ms - UP_MS).await?;
    for noticed in noticed.iter().filter(|noticed| is_sole || noticed.kind != CorruptionKind::Missing) {
        if corruption::put(&mut tx, noticed, now_ms).await? {
            recorded.push(noticed.digest);
        }
    }
    for digest in healed {
        corruption::heal(&mut tx, digest, now_ms).await?;
    }
    tx.commit().await?;
    Ok(recorded)
}

/// Hands out the linked contents that were not hashed for the longest time, at least a day.
pub async fn claim_scrub(store: &Store, limit: i32, now_ms: i64) -> UseCaseResult<Vec<Stored>> {
    let limit = limited(limit, DEFAULT_SCRUB)?;
    let mut tx = store.write().await?;
    let contents = corruption::claim_scrub(&mut tx, now_ms - SCRUB_AGAIN_MS, limit, now_ms).await?;
    tx.commit().await?;
    Ok(contents)
}

/// A page of a group's distinct contents, and how many there are in all.
pub async fn contents_of_group(
    store: &Store,
    group_id: &str,
    after: Option<&Digest>,
    limit: i32,
) -> UseCaseResult<(Vec<Stored>, i64)> {
    let limit = limited(limit, DEFAULT_PAGE)?;
    let mut tx = store.read().await?;
    let group = group_with(&mut tx, group_id).await?;
    let after = after.map(Digest::to_string).unwrap_or_default();
    let contents = corruption::contents_of_group(&mut tx, &group.id, &after, limit).await?;
    let total = corruption::count_of_group(&mut tx, &group.id).await?;
    Ok((contents, total))
}

/// Corruption to a group's content that was noticed since.
pub async fn since(store: &Store, group_id: &str, since_ms: i64) -> UseCaseResult<Vec<Corruption>> {
    Ok(corruption::of_group(&mut *store.read().await?, group_id, since_ms).await?)
}

/// Forgets damage that was healed long ago.
pub(crate) async fn forget_healed(store: &Store, now_ms: i64) -> UseCaseResult<()> {
    let mut tx = store.write().await?;
    corruption::prune(&mut tx, now_ms - KEEP_HEALED_MS).await?;
    Ok(tx.commit().await?)
}
