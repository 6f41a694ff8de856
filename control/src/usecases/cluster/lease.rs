//! Leases of fills: one node fetches a blob for the whole cluster, and the others follow it.
//!
//! A lease saves downloads; nothing depends on it. A node that is granted one lease too many fetches a blob that
//! another fetches as well, and what comes is verified either way: so in doubt the lease is granted.

use std::time::Duration;

use roadstead_proto::{Digest, RepositoryRef, UpstreamHost};
use serde::{Deserialize, Serialize};

use crate::{
    auth::{key_ring::KeyRing, peer_ticket::Ticket},
    clock::millis,
    store::{
        Store,
        cluster::lease::{self, Lease, Wanted},
    },
    usecases::UseCaseResult,
};

/// Time for which a lease is good without a renewal.
pub const FILL_LEASE: Duration = Duration::from_secs(6);
/// Silence after which an owner that was lost by a follower counts as lost, in milliseconds: one missed renewal and a
/// half.
const MISSED_MS: i64 = 3_000;
/// Most leases of one renewal.
pub const MAX_RENEWED: usize = 1000;

/// A node that is about to fetch a blob.
#[derive(Clone, Debug)]
pub struct FillAsker {
    /// The node's id.
    pub node_id: String,
    /// The URL where others reach it.
    pub peer_url: String,
    /// With whose right.
    pub repository: RepositoryRef,
    /// That group's link epoch, as the node knows it.
    pub link_epoch: i64,
    /// The owner that it followed and lost; empty if it followed none.
    pub lost_node_id: String,
}

/// A lease in use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldFill {
    /// The blob.
    pub digest: Digest,
    /// The upstream that it is fetched from.
    pub upstream: UpstreamHost,
    /// The lease's epoch.
    pub epoch: i64,
}

/// The answer to a node that is about to fetch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FillTurn {
    /// Fetch.
    Granted {
        /// Of the lease.
        epoch: i64,
    },
    /// Follow another.
    Follow(Follow),
}

/// The node to follow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Follow {
    /// The owner's id.
    pub node_id: String,
    /// Its repository.
    pub peer_url: String,
    /// Opens the blob there.
    pub ticket: String,
    /// With whose right the owner asked.
    pub repository: RepositoryRef,
    /// Since it renewed its lease.
    pub heard_ms: i64,
}

/// The details kept with a lease.
#[derive(Serialize, Deserialize)]
struct Detail {
    peer_url: String,
    group_id: String,
    upstream: String,
    repository: String,
}

/// Grants `asker` the fill of `digest`, or tells whom to follow.
pub async fn acquire(
    store: &Store,
    keys: &KeyRing,
    digest: &Digest,
    asker: &FillAsker,
    now_ms: i64,
) -> UseCaseResult<FillTurn> {
    let (name, detail) = (lease_name(digest, &asker.repository.upstream), Detail::of(asker));
    let wanted =
        Wanted { name: &name, holder: &asker.node_id, lifetime_ms: millis(FILL_LEASE), detail: &detail.to_text() };
    let mut tx = store.write_soon().await?;
    let (holder, held_epoch, detail, expires_at_ms) = match lease::acquire(&mut tx, &wanted, now_ms).await? {
        Lease::Granted { epoch } => {
            tx.commit().await?;
            return Ok(FillTurn::Granted { epoch });
        }
        Lease::HeldBy { holder, epoch, detail, expires_at_ms } => (holder, epoch, detail, expires_at_ms),
    };
    let heard_ms = (now_ms + millis(FILL_LEASE)).saturating_sub(expires_at_ms).max(0);
    let owner = Detail::read(&detail);
    let is_lost = holder == asker.lost_node_id && heard_ms >= MISSED_MS;
    if let (Some((peer_url, repository)), false) = (owner, is_lost) {
        let ticket = Ticket::new(&asker.node_id, digest, &asker.repository, asker.link_epoch, now_ms);
        let ticket = keys.sign(&ticket, now_ms)?;
        return Ok(FillTurn::Follow(Follow { node_id: holder, peer_url, ticket, repository, heard_ms }));
    }
    // Void for the owner that was lost: if it comes back, it finds that it is not the owner any more.
    lease::release(&mut tx, &name, &holder, held_epoch).await?;
    let epoch = match lease::acquire(&mut tx, &wanted, now_ms).await? {
        Lease::Granted { epoch } => epoch,
        // Writers take turns, so nobody came in between; and if so, fetching twice does no harm.
        Lease::HeldBy { epoch, .. } => epoch,
    };
    tx.commit().await?;
    tracing::info!(blob.digest = %digest, node.id = asker.node_id, lost.node.id = holder, "a download has a new owner");
    Ok(FillTurn::Granted { epoch })
}

/// Keeps a node's leases; answers those that it has no more.
pub async fn renew(store: &Store, node_id: &str, fills: Vec<HeldFill>, now_ms: i64) -> UseCaseResult<Vec<HeldFill>> {
    let mut lost = Vec::new();
    let mut tx = store.write_soon().await?;
    for fill in fills {
        let name = lease_name(&fill.digest, &fill.upstream);
        if !lease::renew(&mut tx, &name, node_id, fill.epoch, millis(FILL_LEASE), now_ms).await? {
            lost.push(fill);
        }
    }
    tx.commit().await?;
    Ok(lost)
}

/// Takes a lease back.
pub async fn release(store: &Store, node_id: &str, fill: &HeldFill) -> UseCaseResult<()> {
    let mut tx = store.write_soon().await?;
    lease::release(&mut tx, &lease_name(&fill.digest, &fill.upstream), node_id, fill.epoch).await?;
    Ok(tx.commit().await?)
}

/// One for each upstream: who fetches from one proves nothing for those who may fetch from another.
fn lease_name(digest: &Digest, upstream: &UpstreamHost) -> String {
    format!("fill/{upstream}/{digest}")
}

impl Detail {
    fn of(asker: &FillAsker) -> Self {
        Self {
            peer_url: asker.peer_url.clone(),
            group_id: asker.repository.group.to_string(),
            upstream: asker.repository.upstream.to_string(),
            repository: asker.repository.repository.to_string(),
        }
    }

    fn to_text(&self) -> String {
        serde_json::json!(self).to_string()
    }

    /// Reads the owner's URL and the repository that it proved access to; `None` if that cannot be read: then it
    /// cannot be followed.
    fn read(text: &str) -> Option<(String, RepositoryRef)> {
        let Self { peer_url, group_id, upstream, repository } = serde_json::from_str(text).ok()?;
        let repository = RepositoryRef {
            group: group_id.into(),
            upstream: upstream.parse().ok()?,
            repository: repository.parse().ok()?,
        };
        Some((peer_url, repository))
    }
}
