//! What only one replica does at a time: background work, shared out by leases in the database.
//!
//! A lease spares work; nothing depends on it for being right, because two replicas' clocks may disagree.

use crate::store::cluster::lease::{self, Lease, Wanted};
use crate::usecases::{Plane, PlaneResult};

/// How long the duty is another's once its holder fell silent, in milliseconds. Several rounds, and more than clocks differ.
const LIFETIME_MS: i64 = 3 * 60 * 1000;

/// Background work that is shared out.
pub const UPKEEP: &str = "upkeep";

impl Plane {
    /// Whether this is the replica to do it now. A database that nobody shares needs no asking.
    pub(crate) async fn is_on_duty(&self, name: &'static str) -> PlaneResult<bool> {
        if !self.store.is_shared() {
            return Ok(true);
        }
        let now_ms = self.clock.now_ms();
        let held = lease::holder(&mut *self.store.read().await?, name, now_ms).await?;
        if held.is_some_and(|(holder, _)| holder != self.replica_id) {
            return Ok(false);
        }
        let wanted = Wanted { name, holder: &self.replica_id, lifetime_ms: LIFETIME_MS, detail: "" };
        let mut tx = self.store.write().await?;
        let lease = lease::acquire(&mut tx, &wanted, now_ms).await?;
        tx.commit().await?;
        Ok(matches!(lease, Lease::Granted { .. }))
    }

    /// Lets another replica do it, if it was this one's.
    pub(crate) async fn leave_duty(&self, name: &'static str) -> PlaneResult<()> {
        if !self.store.is_shared() {
            return Ok(());
        }
        let mut tx = self.store.write().await?;
        if let Some((holder, epoch)) = lease::holder(&mut tx, name, self.clock.now_ms()).await?
            && holder == self.replica_id
        {
            lease::release(&mut tx, name, &holder, epoch).await?;
        }
        Ok(tx.commit().await?)
    }
}
