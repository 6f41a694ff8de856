//! Reads and hashes linked content in the background, within a budget of bytes. The control plane hands out what was not looked at
//! for the longest time, so nodes that share a store share the work.

use std::{sync::Arc, time::Duration};

use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::hashing::{Pace, damage_of};
use crate::{
    control::{NodeClient, Policy},
    links::corruption_log::CorruptionLog,
    metrics::Metrics,
    storage::BlobStore,
};

/// Contents that are asked for at a time.
const BATCH: u16 = 10;
/// Pause while there is nothing to hash, or nobody to ask.
const IDLE_PAUSE: Duration = Duration::from_secs(10);

/// The dependencies of the scrub.
pub struct Scrubber {
    /// The control plane.
    pub client: Arc<NodeClient>,
    /// The control plane's policy; nothing is done before the first snapshot.
    pub policy: Arc<Policy>,
    /// The store.
    pub store: Arc<dyn BlobStore>,
    /// The store's name.
    pub store_id: String,
    /// The log of corruption.
    pub corruption: Arc<CorruptionLog>,
    /// Counts.
    pub metrics: Arc<Metrics>,
    /// Bytes a second; 0 switches it off.
    pub bytes_per_second: u64,
}

impl Scrubber {
    /// Scrubs until `stop`.
    pub async fn run(self, stop: CancellationToken) {
        if self.bytes_per_second > 0 {
            stop.run_until_cancelled(self.scrub()).await;
        }
    }

    async fn scrub(&self) {
        let mut pace = Pace::new(Some(self.bytes_per_second));
        self.policy.wait_for_snapshot().await;
        loop {
            let contents = match self.client.claim_scrub(&self.store_id, BATCH).await {
                Ok(contents) => contents,
                Err(error) => {
                    debug!(%error, "what to hash next cannot be asked for now");
                    Vec::new()
                }
            };
            if contents.is_empty() {
                sleep(IDLE_PAUSE).await;
            }
            for content in contents {
                let read = |bytes| {
                    self.metrics.scrubbed_bytes.inc_by(bytes);
                };
                match damage_of(&*self.store, &content, &mut pace, read).await {
                    Ok(Some((kind, found_bytes))) => self.corruption.notice(&content.digest, kind, found_bytes).await,
                    Ok(None) => self.corruption.is_whole(&content.digest),
                    Err(error) => warn!(blob.digest = %content.digest, %error, "stored content cannot be read"),
                }
            }
        }
    }
}
