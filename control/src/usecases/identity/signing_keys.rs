//! The keys that registry tokens and tickets are signed with: loaded, and rotated as they are due.

use std::sync::Arc;

use tracing::info;

use crate::{
    auth::{
        key_ring::{self, KeyRing},
        rotation,
        seal::Sealer,
    },
    clock::Clock,
    store::{Store, WriteTx, changes::Subject, identity::key},
    usecases::UseCaseResult,
};

/// The signing keys in the database, and the ring that this replica signs with.
pub struct SigningKeys {
    store: Store,
    clock: Clock,
    sealer: Arc<Sealer>,
    ring: Arc<KeyRing>,
}

impl SigningKeys {
    /// Fills `ring` with the keys in the database, which `sealer` opens.
    pub fn new(store: Store, clock: Clock, sealer: Arc<Sealer>, ring: Arc<KeyRing>) -> Self {
        Self { store, clock, sealer, ring }
    }

    /// Loads the keys that there are.
    pub async fn load(&self) -> UseCaseResult<()> {
        let stored = key::all(&mut *self.store.read().await?).await?;
        Ok(self.ring.replace(&self.sealer, &stored)?)
    }

    /// Makes a new key, which nodes learn of and which does not sign yet while there are others. Answers its id, the ids of those
    /// others, and the revision by which nodes have learnt of it.
    pub(crate) async fn publish_new(&self) -> UseCaseResult<(String, Vec<String>, i64)> {
        let now_ms = self.clock.now_ms();
        let mut tx = self.store.write().await?;
        let others = key::all(&mut tx).await?.into_iter().map(|key| key.id).collect();
        let key = key_ring::generate(&self.sealer, now_ms)?;
        key::insert(&mut tx, &key).await?;
        let revision = tx.changed(&Subject::Keys, now_ms).await?;
        tx.commit().await?;
        Ok((key.id, others, revision))
    }

    /// Removes keys, so that whatever they signed is void. Answers how many there were.
    pub(crate) async fn void(&self, tx: &mut WriteTx, ids: &[String]) -> UseCaseResult<i64> {
        let mut voided = 0;
        for id in ids {
            voided += i64::from(key::delete(tx, id).await?);
        }
        tx.changed(&Subject::Keys, self.clock.now_ms()).await?;
        Ok(voided)
    }

    /// Seals every key again, with the key that seals now. Answers how many there are.
    pub(crate) async fn reseal(&self, tx: &mut WriteTx) -> UseCaseResult<i64> {
        let keys = key::all(tx).await?;
        for key in &keys {
            key::set_sealed(tx, &key.id, &key_ring::reseal(&self.sealer, key)?).await?;
        }
        Ok(i64::try_from(keys.len()).unwrap_or(i64::MAX))
    }

    /// Makes, retires and removes signing keys as they are due, and loads what there are.
    pub async fn rotate(&self) -> UseCaseResult<()> {
        let now_ms = self.clock.now_ms();
        let stored = key::all(&mut *self.store.read().await?).await?;
        let is_due = |stored: &[key_ring::StoredKey]| {
            let times: Vec<_> = stored.iter().map(|key| key.times).collect();
            let expired = times.iter().any(|times| times.not_after_ms.is_some_and(|at| at < now_ms));
            (rotation::due(&times, now_ms), expired)
        };
        let (rotation, expired) = is_due(&stored);
        if !rotation.make && rotation.retire.is_none() && !expired {
            return Ok(self.ring.replace(&self.sealer, &stored)?);
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
        Ok(self.ring.replace(&self.sealer, &stored)?)
    }
}
