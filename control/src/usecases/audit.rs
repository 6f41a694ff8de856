//! The record of changes and refusals: read, counted, forgotten.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tracing::warn;

use super::{Page, UseCaseResult, new_id};
use crate::{
    clock::{Clock, millis},
    rules::audit::{Entry, Event, Wanted},
    store::{Store, audit},
};

/// Time for which repeats of a refusal are counted as one, in milliseconds: a minute.
const REPEAT_MS: i64 = 60 * 1000;
/// Most different refusals that are written within that time; what is beyond is counted together, so that no flood of
/// made-up names fills the database.
const MAX_REFUSALS: usize = 300;

/// One refusal that may repeat.
struct Repeated {
    /// Its record.
    id: String,
    /// When it happened first.
    since_ms: i64,
    /// Repeats that the record does not count yet.
    unwritten: i64,
}

/// Refusals of the last minute.
#[derive(Default)]
struct Refusals(Mutex<HashMap<Entry, Repeated>>);

/// The audit log: what this replica records of refusals, and what anybody may read.
pub struct AuditLog {
    store: Store,
    clock: Clock,
    retention: Duration,
    refusals: Refusals,
}

impl Refusals {
    /// Counts a refusal. Returns the record to write, and its key, unless it repeats one that is written already.
    fn count(&self, entry: Entry, now_ms: i64) -> Option<(String, Entry)> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Unwritten repeats stay until they are written.
        known.retain(|_, repeated| repeated.unwritten > 0 || now_ms - repeated.since_ms < REPEAT_MS);
        let is_repeat = |entry: &Entry| known.get(entry).is_some_and(|first| now_ms - first.since_ms < REPEAT_MS);
        let entry = if !is_repeat(&entry) && known.len() >= MAX_REFUSALS { entry.one_of_many() } else { entry };
        if is_repeat(&entry)
            && let Some(repeated) = known.get_mut(&entry)
        {
            repeated.unwritten += 1;
            return None;
        }
        let id = new_id();
        // Repeats of an earlier minute that were not written yet are counted with this one.
        let unwritten = known.get(&entry).map_or(0, |earlier| earlier.unwritten);
        known.insert(entry.clone(), Repeated { id: id.clone(), since_ms: now_ms, unwritten });
        Some((id, entry))
    }

    /// Takes the repeats that no record counts yet: by the record's id.
    fn take(&self) -> Vec<(String, i64)> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known
            .values_mut()
            .filter(|repeated| repeated.unwritten > 0)
            .map(|repeated| (repeated.id.clone(), std::mem::take(&mut repeated.unwritten)))
            .collect()
    }
}

impl AuditLog {
    /// Keeps events for `retention`.
    pub fn new(store: Store, clock: Clock, retention: Duration) -> Self {
        Self { store, clock, retention, refusals: Refusals::default() }
    }

    /// Records a refusal; one that repeats within a minute is counted. That it cannot be recorded changes nothing for
    /// who is refused.
    pub async fn refused(&self, entry: Entry) {
        let now_ms = self.clock.now_ms();
        let Some((id, entry)) = self.refusals.count(entry, now_ms) else { return };
        let written = async {
            let mut tx = self.store.write().await?;
            audit::record_as(&mut tx, &id, &entry, now_ms).await?;
            tx.commit().await
        };
        if let Err(error) = written.await {
            warn!(%error, action = entry.action, "cannot record a refusal");
        }
    }

    /// Reads the events before the one with the id `before`, newest first.
    pub async fn list(&self, wanted: Wanted, before: &str, limit: i64) -> UseCaseResult<Page<Event>> {
        self.write_repeats().await?;
        let mut tx = self.store.read().await?;
        Ok(Page::cut(audit::page(&mut tx, &wanted, before, limit + 1).await?, limit))
    }

    /// Writes how often refusals repeated.
    pub(crate) async fn write_repeats(&self) -> UseCaseResult<()> {
        let repeats = self.refusals.take();
        if repeats.is_empty() {
            return Ok(());
        }
        let mut tx = self.store.write().await?;
        for (id, times) in repeats {
            audit::add_repeats(&mut tx, &id, times).await?;
        }
        Ok(tx.commit().await?)
    }

    /// Forgets what is older than the time that events are kept.
    pub(crate) async fn prune(&self) -> UseCaseResult<()> {
        let before_ms = self.clock.now_ms().saturating_sub(millis(self.retention));
        let mut tx = self.store.write().await?;
        audit::prune(&mut tx, before_ms).await?;
        Ok(tx.commit().await?)
    }
}
