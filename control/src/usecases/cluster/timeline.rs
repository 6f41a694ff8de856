//! Finding out that the database was put back to an earlier state: an older backup was restored, a standby that lacks
//! changes took over, a volume was copied, or a power cut took the last transactions.
//!
//! Nodes and replicas name the last revision that they have seen, with its mark. If the change log has another change in
//! its place, a new timeline begins: nodes take a whole snapshot and use nothing that they remember.

use tokio::sync::Mutex;
use tracing::warn;

use crate::{
    clock::Clock,
    rules::audit::Entry,
    store::{
        Store, StoreResult, audit,
        changes::{self, Revision, Standing},
    },
};

/// Largest number of a revision beyond the present time that a new timeline goes past: a day, in milliseconds. Revisions
/// start at the time at which a database was made, and there are never a thousand changes a second.
const MAX_AHEAD_MS: i64 = 24 * 3600 * 1000;

/// Judges revisions that nodes have seen.
pub struct Timeline {
    store: Store,
    clock: Clock,
    /// The revision that the change log was last found to continue from, and the count of the news at that time. At a change
    /// all nodes name the same one: the database is asked once.
    judged: Mutex<(Revision, u64)>,
}

impl Timeline {
    /// Judges by the change log in `store`.
    pub fn new(store: Store, clock: Clock) -> Self {
        Self { store, clock, judged: Mutex::default() }
    }

    /// Returns how a revision stands to the change log. If it is foreign, a new timeline has begun when this returns.
    pub async fn judge(&self, seen: &Revision) -> StoreResult<Standing> {
        if seen.mark.is_empty() {
            return Ok(Standing::Unknown);
        }
        let latest = || self.store.revisions().borrow().clone();
        if latest().revision == *seen {
            return Ok(Standing::Continues);
        }
        let mut judged = self.judged.lock().await;
        let count = latest().count;
        if *judged == (seen.clone(), count) {
            return Ok(Standing::Continues);
        }
        let standing = changes::standing(&mut *self.store.read().await?, seen).await?;
        match standing {
            Standing::Continues => *judged = (seen.clone(), count),
            Standing::Unknown => {}
            Standing::Foreign => begin_if_foreign(&self.store, &self.clock, seen).await?,
        }
        Ok(standing)
    }
}

/// Begins a new timeline, unless the change log has that revision after all.
pub async fn begin_if_foreign(store: &Store, clock: &Clock, seen: &Revision) -> StoreResult<()> {
    let now_ms = clock.now_ms();
    if seen.number > now_ms.saturating_add(MAX_AHEAD_MS) {
        warn!(revision = seen.number, "a node names a revision that no database can have given; it gets a snapshot");
        return Ok(());
    }
    let mut tx = store.write().await?;
    // Asked again: another replica may have been faster.
    if changes::standing(&mut tx, seen).await? != Standing::Foreign {
        return Ok(());
    }
    let current = changes::current_revision(&mut tx).await?.number;
    let begun = tx.begin_timeline(seen.number, now_ms).await?;
    let timeline = changes::timeline(&mut tx).await?;
    let detail = format!("revision {} was seen before, and the database, at {current}, does not have it", seen.number);
    audit::record(&mut tx, &Entry::by_server("timeline.begin", timeline).detail(detail), now_ms).await?;
    tx.commit().await?;
    warn!(
        revision = begun,
        seen_revision = seen.number,
        found_revision = current,
        "the database was put back to an earlier state; changes after that are lost, and nodes read everything anew"
    );
    Ok(())
}
