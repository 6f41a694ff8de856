//! Keys replaced after a leak: those that sign, and the one that seals what is stored.
//!
//! A new signing key is known to nodes before it signs, so that no client gets a token that a node refuses; then the old
//! ones are void. Every stored secret is sealed again in one transaction; until the old sealing key is gone from its file,
//! the file has both, so that a crash at any point leaves everything readable.

use std::sync::Arc;

use super::{
    UseCaseError, UseCaseResult, cluster::applied::unreached, identity::signing_keys::SigningKeys,
    upstreams::credential,
};
use crate::{
    auth::seal::Sealer,
    clock::Clock,
    rules::{access::Actor, cluster::node::Node},
    store::{Store, audit, cluster::fact, request},
};

/// The keys to replace.
#[derive(Clone, Copy, Debug)]
pub struct Wanted {
    /// Those that sign.
    pub signing: bool,
    /// The one that seals.
    pub sealing: bool,
}

/// The keys that were replaced.
#[derive(Debug, Default)]
pub struct Rotated {
    /// The key that signs now; `None` if signing keys were left alone.
    pub signing_key_id: Option<String>,
    /// The number of signing keys that are void.
    pub voided: i64,
    /// The number of secrets that were sealed again.
    pub resealed: i64,
    /// Nodes that may not know the new signing key yet.
    pub unreached: Vec<Node>,
}

/// Replaces keys.
pub struct KeyRotation {
    /// The database.
    pub store: Store,
    /// The present time.
    pub clock: Clock,
    /// The keys that sign.
    pub signing: Arc<SigningKeys>,
    /// The key that seals.
    pub sealer: Arc<Sealer>,
}

impl KeyRotation {
    /// Replaces the wanted keys, the sealing key first: a new signing key is sealed with it.
    pub async fn rotate(&self, actor: &Actor, wanted: Wanted) -> UseCaseResult<Rotated> {
        let mut done = Rotated::default();
        if wanted.sealing {
            done.resealed = self.reseal(actor).await?;
        }
        if wanted.signing {
            let (id, others, revision) = self.signing.publish_new().await?;
            done.unreached = unreached(&self.store, &self.clock, revision).await?;
            let mut tx = self.store.write().await?;
            done.voided = self.signing.void(&mut tx, &others).await?;
            let entry = actor.did("keys.rotate", "signing").detail(format!("{} keys void", done.voided));
            audit::record(&mut tx, &entry, self.clock.now_ms()).await?;
            tx.commit().await?;
            self.signing.load().await?;
            done.signing_key_id = Some(id);
        }
        Ok(done)
    }

    async fn reseal(&self, actor: &Actor) -> UseCaseResult<i64> {
        // Other replicas would not have the key that one of them makes for itself.
        let replacing = if self.store.serves_replicas() { None } else { self.sealer.replace_own()? };
        if replacing.is_none() && self.sealer.keys() < 2 {
            return Err(UseCaseError::Precondition(
                "the servers have one sealing key, which they were given: give all of them the new key and the old one \
                 (--secret-key or --secret-key-file, the new one first), restart them, and rotate again"
                    .to_owned(),
            ));
        }
        let mut tx = self.store.write().await?;
        let resealed = self.signing.reseal(&mut tx).await? + credential::reseal(&mut tx, &self.sealer).await?;
        fact::put(&mut tx, fact::SECRET_KEY, &self.sealer.fingerprint()).await?;
        // Their sealed answers are for repeats within minutes.
        request::prune(&mut tx, i64::MAX).await?;
        let entry = actor.did("keys.rotate", "sealing").detail(format!("{resealed} secrets sealed again"));
        audit::record(&mut tx, &entry, self.clock.now_ms()).await?;
        tx.commit().await?;
        if let Some(replacing) = replacing {
            replacing.finish()?;
        }
        Ok(resealed)
    }
}
