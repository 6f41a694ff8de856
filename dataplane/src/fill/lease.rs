//! This node's part in the cluster's downloads: the leases that it holds, and the nodes that it cannot reach.

use std::{collections::HashMap, sync::Arc, time::Duration};

use parking_lot::Mutex;
use roadstead_proto::{Digest, UpstreamHost};
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info};

use super::peer_client::PeerClient;
use crate::{
    control::{FillQuestion, FillTurn, HeldFill, NodeClient},
    upstream::Target,
};

/// Interval of the renewal of leases: three times in the life of one.
const RENEWAL: Duration = Duration::from_secs(2);
/// Most leases of one renewal; the contract's bound.
const MAX_RENEWED: usize = 1000;
/// Longest wait for the control plane before the download begins without it.
const QUESTION_TIME: Duration = Duration::from_secs(2);
/// Time for which an unreachable node is not tried again.
const UNREACHABLE_TIME: Duration = Duration::from_secs(30);

/// The state that the downloads of a node in a cluster share.
pub struct Cluster {
    client: Arc<NodeClient>,
    /// Asks other nodes.
    pub(super) peers: PeerClient,
    peer_url: String,
    /// The leases that are renewed, each with what ends when another node has it.
    held: Mutex<HashMap<(Digest, UpstreamHost), (i64, CancellationToken)>>,
    unreachable: Mutex<HashMap<String, Instant>>,
}

impl Cluster {
    /// Others reach this node at `peer_url`.
    pub fn new(client: Arc<NodeClient>, peers: PeerClient, peer_url: String) -> Arc<Self> {
        Arc::new(Self { client, peers, peer_url, held: Mutex::default(), unreachable: Mutex::default() })
    }

    /// The URL by which others reach this node.
    pub fn peer_url(&self) -> &str {
        &self.peer_url
    }

    /// Asks whether this node is to fetch. `None` if the control plane does not say: then it fetches, uncoordinated.
    pub(super) async fn turn(&self, digest: &Digest, target: &Target, lost_node_id: &str) -> Option<FillTurn> {
        let question = FillQuestion {
            digest,
            repository: &target.repository_ref(),
            link_epoch: target.link_epoch,
            peer_url: &self.peer_url,
            lost_node_id,
        };
        match timeout(QUESTION_TIME, self.client.acquire_fill(question)).await {
            Ok(Ok(turn)) => Some(turn),
            Ok(Err(error)) => {
                debug!(blob.digest = %digest, %error, "the control plane does not coordinate this download");
                None
            }
            Err(_) => {
                debug!(blob.digest = %digest, "the control plane does not coordinate this download in time");
                None
            }
        }
    }

    /// Keeps a lease that was granted until the guard is dropped.
    pub(super) fn hold(self: &Arc<Self>, lease: HeldFill) -> Held {
        let taken = CancellationToken::new();
        self.held.lock().insert((lease.digest, lease.upstream.clone()), (lease.epoch, taken.clone()));
        Held { cluster: Arc::clone(self), lease, taken, is_done: false }
    }

    /// Renews what is held until `stop`.
    pub async fn keep_leases(self: Arc<Self>, stop: CancellationToken) {
        let mut ticks = interval(RENEWAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while stop.run_until_cancelled(ticks.tick()).await.is_some() {
            let lease = |(digest, upstream): &(Digest, UpstreamHost), epoch| HeldFill {
                digest: *digest,
                upstream: upstream.clone(),
                epoch,
            };
            let held: Vec<_> = self.held.lock().iter().map(|(key, (epoch, _))| lease(key, *epoch)).collect();
            for batch in held.chunks(MAX_RENEWED) {
                match self.client.renew_fills(batch).await {
                    Ok(lost) => self.forget(lost),
                    Err(error) => debug!(%error, "leases could not be renewed"),
                }
            }
        }
    }

    fn forget(&self, lost: Vec<HeldFill>) {
        let mut held = self.held.lock();
        for HeldFill { digest, upstream, epoch } in lost {
            let key = (digest, upstream);
            // A lease that was granted anew meanwhile is another.
            if held.get(&key).is_some_and(|(now, _)| *now == epoch)
                && let Some((_, taken)) = held.remove(&key)
            {
                taken.cancel();
                info!(blob.digest = %digest, "another node has taken this download over; following it");
            }
        }
    }

    /// A node that is alive cannot be reached from here.
    pub(super) fn note_unreachable(&self, node_id: &str) {
        let mut unreachable = self.unreachable.lock();
        unreachable.retain(|_, until| *until > Instant::now());
        unreachable.insert(node_id.to_owned(), Instant::now() + UNREACHABLE_TIME);
    }

    /// True if it was unreachable a moment ago.
    pub(super) fn is_unreachable(&self, node_id: &str) -> bool {
        self.unreachable.lock().get(node_id).is_some_and(|until| *until > Instant::now())
    }
}

/// A lease in use. Dropped after success it runs out by itself, so that who asks a moment later is still sent here, where the
/// blob is; dropped without, it is given back at once.
pub(super) struct Held {
    cluster: Arc<Cluster>,
    lease: HeldFill,
    taken: CancellationToken,
    is_done: bool,
}

impl Held {
    /// Cancelled when another node has the lease: this one was silent for too long.
    pub(super) fn taken(&self) -> CancellationToken {
        self.taken.clone()
    }

    /// The blob is here.
    pub(super) fn done(&mut self) {
        self.is_done = true;
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut held = self.cluster.held.lock();
        let key = (self.lease.digest, self.lease.upstream.clone());
        if held.get(&key).is_some_and(|(epoch, _)| *epoch == self.lease.epoch) {
            held.remove(&key);
        }
        drop(held);
        if self.is_done {
            return;
        }
        let (client, lease) = (Arc::clone(&self.cluster.client), self.lease.clone());
        // Outside of a runtime the process ends, and the lease runs out.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                if let Err(error) = client.release_fill(&lease).await {
                    debug!(blob.digest = %lease.digest, %error, "a lease could not be given back; it runs out");
                }
            });
        }
    }
}
