//! Deletes stored content that no group links any more, as the control plane hands it out.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use roadstead_proto::Digest;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::{
    control::{ControlError, NodeClient, Policy},
    failpoint,
    fill::Fills,
    links::recorder::LinkRecorder,
    metrics::Metrics,
    storage::BlobStore,
};

/// Interval of the claims of garbage.
const COLLECT_EVERY: Duration = Duration::from_secs(15);
/// Time for which a claim is used: the control plane takes it back after ten minutes, and may have linked the content again.
const CLAIM_TIME: Duration = Duration::from_secs(8 * 60);
/// Most digests in one claim.
const BATCH: u16 = 100;

/// The dependencies of garbage collection.
pub struct Collector {
    /// The control plane.
    pub client: Arc<NodeClient>,
    /// The control plane's policy; nothing is done before the first snapshot.
    pub policy: Arc<Policy>,
    /// The store with the garbage.
    pub store: Arc<dyn BlobStore>,
    /// The store's name.
    pub store_id: String,
    /// Downloads under way.
    pub fills: Arc<Fills>,
    /// The recorder of links.
    pub recorder: Arc<LinkRecorder>,
    /// Counts.
    pub metrics: Arc<Metrics>,
}

impl Collector {
    /// Claims, deletes and confirms until `stop`. Content that cannot be deleted is not confirmed, so it comes back in a
    /// later claim; content that is just being fetched again stays.
    pub async fn run(self, stop: CancellationToken) {
        if stop.run_until_cancelled(self.policy.wait_for_snapshot()).await.is_none() {
            return;
        }
        let mut ticks = interval(COLLECT_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // What this node was deleting when it was stopped, or when an answer was lost, it begins anew.
        let mut void_earlier = true;
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = ticks.tick() => {}
            }
            if let Err(error) = self.recorder.tell_leftovers().await {
                tracing::debug!(%error, "content without links will be told of later");
            }
            if let Err(error) = self.collect(&mut void_earlier, &stop).await {
                tracing::warn!(%error, "garbage collection will go on later");
            }
        }
    }

    async fn collect(&self, void_earlier: &mut bool, stop: &CancellationToken) -> Result<(), ControlError> {
        while !stop.is_cancelled() {
            let claimed_at = Instant::now();
            let was_void = std::mem::replace(void_earlier, true);
            let claimed = self.client.claim_garbage(&self.store_id, BATCH, was_void).await?;
            if !claimed.digests.is_empty() {
                failpoint::reached("garbage_claimed");
            }
            let mut deleted: Vec<Digest> = Vec::with_capacity(claimed.digests.len());
            for digest in &claimed.digests {
                if claimed_at.elapsed() > CLAIM_TIME {
                    break;
                }
                if self.fills.is_running(digest) {
                    continue;
                }
                match self.store.delete(digest).await {
                    Ok(()) => deleted.push(*digest),
                    Err(error) => tracing::warn!(blob.digest = %digest, %error, "garbage could not be deleted"),
                }
                failpoint::reached("garbage_deleted");
            }
            if !deleted.is_empty() {
                self.client.confirm_garbage(&claimed.claim_id, &deleted).await?;
                failpoint::reached("garbage_confirmed");
                self.metrics.garbage(deleted.len());
                tracing::info!(blobs = deleted.len(), "garbage deleted");
            }
            // What could not be deleted stays claimed for a while, so that it does not stand in the way of the rest.
            *void_earlier = false;
            if deleted.is_empty() {
                return Ok(());
            }
        }
        Ok(())
    }
}
