//! Walks through the store and tells the control plane what is there, so that files which nobody knows of (from before a crash,
//! or a database that was lost) are linked again or collected, and linked ones that are too short are noticed.

use std::{sync::Arc, time::Duration};

use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::{
    control::{CorruptionKind, NodeClient, Policy, StoredContent},
    links::corruption_log::CorruptionLog,
    storage::BlobStore,
};

/// When the first walk begins, after the control plane was heard.
const FIRST_WALK: Duration = Duration::from_secs(5);
/// Pause between walks.
const BETWEEN_WALKS: Duration = Duration::from_secs(3600);
/// Files in one page.
const PAGE: usize = 500;
/// Pause between pages: a walk has time. A million files take about four minutes.
const BETWEEN_PAGES: Duration = Duration::from_millis(100);
/// Pause before a page that could not be told is tried again.
const RETRY_PAUSE: Duration = Duration::from_secs(5);

/// The dependencies of a walk.
pub struct Walker {
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
}

impl Walker {
    /// Walks now and then until `stop`.
    pub async fn run(self, stop: CancellationToken) {
        let walks = async {
            self.policy.wait_for_snapshot().await;
            sleep(FIRST_WALK).await;
            loop {
                self.walk().await;
                sleep(BETWEEN_WALKS).await;
            }
        };
        stop.run_until_cancelled(walks).await;
    }

    /// One walk from end to end.
    async fn walk(&self) {
        let (mut after, mut files, mut unknown) = (None, 0, 0);
        loop {
            let page = match self.store.list(after.as_ref(), PAGE).await {
                Ok(page) => page,
                Err(error) => return warn!(%error, "the walk through the store is given up until the next"),
            };
            let Some(last) = page.last() else { break };
            let found = page.iter().map(|file| StoredContent { digest: file.digest, size_bytes: file.size });
            match self.client.adopt_contents(&self.store_id, found).await {
                Ok((adopted, wrong_size)) => {
                    unknown += adopted;
                    for digest in wrong_size {
                        let size = page.iter().find(|file| file.digest == digest).map_or(0, |file| file.size);
                        self.corruption.notice(&digest, CorruptionKind::Size, size).await;
                    }
                }
                Err(error) if error.retryable() => {
                    sleep(RETRY_PAUSE).await;
                    continue;
                }
                Err(error) => return warn!(%error, "the walk through the store is given up until the next"),
            }
            files += page.len();
            after = Some(last.digest);
            sleep(BETWEEN_PAGES).await;
        }
        info!(files, unknown, "walked through the store");
    }
}
