//! Corruption noticed by this node: put aside, reported, and forgotten once it is fetched again.
//!
//! Reports go out soon, in order, and are repeated until the control plane has taken them. A stop reports the rest, if the
//! control plane answers; the next pull or scrub notices what is lost.

use std::{
    collections::HashSet,
    sync::Arc,
    time::{Duration, SystemTime},
};

use parking_lot::{Mutex, MutexGuard};
use roadstead_proto::Digest;
use tokio::{
    sync::{Mutex as AsyncMutex, Notify},
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, warn};

use crate::{
    control::{ControlError, Corruption, CorruptionKind, NodeClient},
    metrics::Metrics,
    storage::BlobStore,
};

/// Most corruptions, and healed digests, in one report.
const MAX_REPORT: usize = 1000;
/// Most corruptions that wait to be reported; more are only logged.
const MAX_WAITING: usize = 10_000;
/// Pause before a report that failed is tried again.
const RETRY_PAUSE: Duration = Duration::from_secs(5);
/// Longest time for the last report at a stop.
const LAST_REPORT_TIME: Duration = Duration::from_secs(3);

#[derive(Default)]
struct Book {
    /// Not reported yet, in the order of noticing.
    corruptions: Vec<Corruption>,
    /// Fetched again, not reported yet.
    healed: Vec<Digest>,
    /// Noticed and not fetched again.
    open: HashSet<Digest>,
}

/// The observations.
pub struct CorruptionLog {
    client: Arc<NodeClient>,
    store: Arc<dyn BlobStore>,
    store_id: String,
    metrics: Arc<Metrics>,
    book: Mutex<Book>,
    news: Notify,
    /// Held by whoever reports.
    reporting: AsyncMutex<()>,
}

impl CorruptionLog {
    /// Nothing noticed yet.
    pub fn new(
        client: Arc<NodeClient>,
        store: Arc<dyn BlobStore>,
        store_id: String,
        metrics: Arc<Metrics>,
    ) -> Arc<Self> {
        let (book, news, reporting) = (Mutex::default(), Notify::new(), AsyncMutex::new(()));
        Arc::new(Self { client, store, store_id, metrics, book, news, reporting })
    }

    /// Takes damaged content out of the way and notes what is wrong. Missing content is forgotten if it is still open, so
    /// that the next pull fetches it. If only this node's copy of content that is elsewhere is corrupt, only the copy is
    /// removed.
    pub async fn notice(&self, digest: &Digest, kind: CorruptionKind, found_bytes: u64) {
        let kind_name = kind.as_str();
        let stored = match kind {
            CorruptionKind::Missing | CorruptionKind::Size => self.store.look(digest).await.ok().flatten(),
            CorruptionKind::Digest => None,
        };
        match (kind, stored) {
            // It has come since.
            (CorruptionKind::Missing, Some(_)) => return,
            (CorruptionKind::Size, Some(stored)) if stored.size != found_bytes => {
                warn!(blob.digest = %digest, found_bytes, "this node's copy of content is damaged; it is given up");
                if let Err(error) = self.store.forget_copy(digest).await {
                    error!(blob.digest = %digest, %error, "a damaged copy could not be given up");
                }
                return;
            }
            _ => {}
        }
        warn!(blob.digest = %digest, corruption = kind_name, found_bytes, "linked content is not in the store as it should be; the next pull fetches it");
        if let Err(error) = self.store.quarantine(digest).await {
            error!(blob.digest = %digest, %error, "damaged content could not be put aside");
        }
        let mut book = self.book();
        if book.corruptions.len() < MAX_WAITING {
            let noticed_at = SystemTime::now();
            book.corruptions.push(Corruption { digest: *digest, kind, found_bytes, noticed_at });
            book.open.insert(*digest);
        }
        drop(book);
        self.news.notify_one();
    }

    /// Notes that content is in the store, whole, now.
    pub fn is_whole(&self, digest: &Digest) {
        let mut book = self.book();
        if book.open.remove(digest) {
            book.healed.push(*digest);
            drop(book);
            self.news.notify_one();
        }
    }

    /// Reports until `stop`, and once more then.
    pub async fn run(&self, stop: CancellationToken) {
        while stop.run_until_cancelled(self.news.notified()).await.is_some() {
            while let Err(error) = self.report().await {
                debug!(%error, "corruption cannot be reported now");
                if stop.run_until_cancelled(sleep(RETRY_PAUSE)).await.is_none() {
                    break;
                }
            }
        }
        if !matches!(timeout(LAST_REPORT_TIME, self.report()).await, Ok(Ok(()))) {
            warn!("corruption that was noticed could not be reported before the stop");
        }
    }

    /// Reports all that was noticed so far; returns when the control plane has it.
    pub async fn report(&self) -> Result<(), ControlError> {
        let _turn = self.reporting.lock().await;
        loop {
            let (corruptions, healed) = {
                let book = self.book();
                let first = |len: usize| len.min(MAX_REPORT);
                // What was healed may have been noticed in a later report than this one: corruption first, all of it.
                let healed = if book.corruptions.len() > MAX_REPORT { 0 } else { first(book.healed.len()) };
                (book.corruptions[..first(book.corruptions.len())].to_vec(), book.healed[..healed].to_vec())
            };
            if corruptions.is_empty() && healed.is_empty() {
                return Ok(());
            }
            let counted = match self.client.report_corruption(&self.store_id, &corruptions, &healed).await {
                Ok(counted) => counted,
                Err(error @ (ControlError::Refused { .. } | ControlError::NotFound { .. })) => {
                    warn!(%error, entries = corruptions.len(), "a report of corruption is refused and dropped");
                    Vec::new()
                }
                Err(error) => return Err(error),
            };
            let counted: HashSet<Digest> = counted.into_iter().collect();
            for corruption in corruptions.iter().filter(|corruption| counted.contains(&corruption.digest)) {
                self.metrics.damaged(corruption.kind.as_str());
            }
            let mut book = self.book();
            book.corruptions.drain(..corruptions.len());
            book.healed.drain(..healed.len());
        }
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock()
    }
}
