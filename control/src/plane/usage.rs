//! Counts of pulls that nodes bring in batches.

use std::collections::BTreeMap;

use roadstead_proto::Digest;

use super::{Plane, PlaneError, PlaneResult};
use crate::{content::GroupRepository, store::usage};

/// Most entries in a batch.
const MAX_ENTRIES: usize = 10_000;
/// Most characters in the id of a batch.
const MAX_BATCH_ID_CHARS: usize = 64;

/// Pulls of one digest.
#[derive(Clone, Debug)]
pub struct Usage {
    /// Where.
    pub place: GroupRepository,
    /// What.
    pub digest: Digest,
    /// Served without fetching.
    pub hits: i64,
    /// Fetched.
    pub misses: i64,
    /// When last.
    pub last_pulled_at_ms: i64,
}

impl Plane {
    /// Counts a batch, once.
    pub async fn record_usage(&self, batch_id: &str, entries: &[Usage]) -> PlaneResult<()> {
        check_batch_id(batch_id)?;
        if entries.len() > MAX_ENTRIES {
            return Err(PlaneError::invalid("usage", format!("at most {MAX_ENTRIES} entries; send more batches")));
        }
        let now_ms = self.clock.now_ms();
        let mut tx = self.store.write().await?;
        if !usage::begin_batch(&mut tx, batch_id, now_ms).await? {
            return Ok(());
        }
        let mut totals: BTreeMap<&str, (i64, i64)> = BTreeMap::new();
        for entry in entries {
            // A node whose clock is ahead must not make content look younger than it can be.
            usage::touch(&mut tx, &entry.place, &entry.digest, entry.last_pulled_at_ms.min(now_ms)).await?;
            let total = totals.entry(&entry.place.group_id).or_default();
            *total = (total.0.saturating_add(entry.hits), total.1.saturating_add(entry.misses));
        }
        for (group_id, (hits, misses)) in totals {
            usage::add(&mut tx, group_id, hits, misses).await?;
        }
        Ok(tx.commit().await?)
    }
}

/// Whether a batch can be told from others.
pub(super) fn check_batch_id(batch_id: &str) -> PlaneResult<()> {
    if batch_id.is_empty() || batch_id.len() > MAX_BATCH_ID_CHARS {
        return Err(PlaneError::invalid("batch_id", format!("required: at most {MAX_BATCH_ID_CHARS} characters")));
    }
    Ok(())
}
