//! The work that only one replica does at a time, shared out by leases in the database.
//!
//! A lease saves work; correctness does not depend on it, because a leader may be held up for longer than its lease.

use crate::{
    clock::Clock,
    store::{
        Store, WriteTx,
        cluster::lease::{self, Lease, Wanted},
    },
    usecases::{UseCaseResult, new_id},
};

/// Work that one replica at a time leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Leadership {
    /// Name of its lease.
    name: &'static str,
    /// Time for which another replica waits once the leader fell silent, in milliseconds.
    lifetime_ms: i64,
}

/// Rotating keys and deleting old records. Its lease outlasts three rounds.
pub const MAINTENANCE: Leadership = Leadership { name: "maintenance", lifetime_ms: 95 * 1000 };
/// Evicting content.
pub const RETENTION: Leadership = Leadership { name: "retention", lifetime_ms: 60 * 1000 };

/// This replica, as a candidate for leading.
pub struct Leader {
    store: Store,
    clock: Clock,
    /// This replica's name among those that share the database, for as long as it runs.
    replica_id: String,
}

impl Leader {
    /// A replica that leads nothing yet.
    pub fn new(store: Store, clock: Clock) -> Self {
        Self { store, clock, replica_id: new_id() }
    }

    /// Takes or keeps the lead, and returns whether this replica has it.
    pub(crate) async fn leads(&self, what: Leadership) -> UseCaseResult<bool> {
        let held = lease::holder(&mut *self.store.read().await?, what.name, self.clock.now_ms()).await?;
        if held.is_some_and(|(holder, _)| holder != self.replica_id) {
            return Ok(false);
        }
        let mut tx = self.store.write().await?;
        let epoch = self.acquire(&mut tx, what).await?;
        tx.commit().await?;
        Ok(epoch.is_some())
    }

    /// Begins a term and returns its epoch, or `None` while a term lasts, even one of this replica: two calls must not
    /// both have it.
    pub(crate) async fn begin_term(&self, what: Leadership) -> UseCaseResult<Option<i64>> {
        let mut tx = self.store.write().await?;
        if lease::holder(&mut tx, what.name, self.clock.now_ms()).await?.is_some() {
            return Ok(None);
        }
        let epoch = self.acquire(&mut tx, what).await?;
        tx.commit().await?;
        Ok(epoch)
    }

    /// Prolongs a term in the transaction of its work, and returns whether it still lasts.
    pub(crate) async fn keep_term(&self, tx: &mut WriteTx, what: Leadership, epoch: i64) -> UseCaseResult<bool> {
        let now_ms = self.clock.now_ms();
        Ok(lease::renew(tx, what.name, &self.replica_id, epoch, what.lifetime_ms, now_ms).await?)
    }

    /// Ends a term.
    pub(crate) async fn end_term(&self, what: Leadership, epoch: i64) -> UseCaseResult<()> {
        let mut tx = self.store.write().await?;
        lease::release(&mut tx, what.name, &self.replica_id, epoch).await?;
        Ok(tx.commit().await?)
    }

    /// Leaves the lead to another replica, if this one has it.
    pub(crate) async fn resign(&self, what: Leadership) -> UseCaseResult<()> {
        let held = lease::holder(&mut *self.store.read().await?, what.name, self.clock.now_ms()).await?;
        match held {
            Some((holder, epoch)) if holder == self.replica_id => self.end_term(what, epoch).await,
            _ => Ok(()),
        }
    }

    async fn acquire(&self, tx: &mut WriteTx, what: Leadership) -> UseCaseResult<Option<i64>> {
        let wanted = Wanted { name: what.name, holder: &self.replica_id, lifetime_ms: what.lifetime_ms, detail: "" };
        Ok(match lease::acquire(tx, &wanted, self.clock.now_ms()).await? {
            Lease::Granted { epoch } => Some(epoch),
            Lease::HeldBy { .. } => None,
        })
    }
}
