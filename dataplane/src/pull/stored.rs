//! Answers from the store, and the counting of what is answered.

use std::sync::Arc;

use http::HeaderValue;
use roadstead_proto::Digest;
use tracing::{Instrument, debug_span};

use super::{request::Wanted, rights::OCTET_STREAM, storage_failed};
use crate::{
    access::Read,
    control::{self, CorruptionKind, UsageCounter},
    links::corruption_log::CorruptionLog,
    metrics::{BodyBytes, Metrics},
    respond::{Answer, CacheStatus, Content, Freshness, OciError},
    storage::{BlobStore, StoredBlob},
    trail::{Contents, Served},
};

/// Opens stored content and answers with it.
pub struct Stored {
    usage: Arc<UsageCounter>,
    store: Arc<dyn BlobStore>,
    corruption: Arc<CorruptionLog>,
    metrics: Arc<Metrics>,
}

impl Stored {
    pub fn new(
        usage: Arc<UsageCounter>,
        store: Arc<dyn BlobStore>,
        corruption: Arc<CorruptionLog>,
        metrics: Arc<Metrics>,
    ) -> Arc<Self> {
        Arc::new(Self { usage, store, corruption, metrics })
    }

    /// Opens a stored blob. A store that fails is an error, not a miss; bytes that cannot be read are put aside, and a miss.
    pub async fn open(&self, digest: &Digest) -> Result<Option<Arc<StoredBlob>>, OciError> {
        let span = debug_span!("store", operation = "open", blob.digest = %digest);
        match self.store.open(digest).instrument(span).await {
            Ok(found) => Ok(found),
            // As good as damaged: put aside, and fetched again.
            Err(error) if error.is_unreadable() => {
                tracing::error!(blob.digest = %digest, %error, "stored content cannot be read");
                self.corruption.notice(digest, CorruptionKind::Digest, 0).await;
                Ok(None)
            }
            Err(error) => Err(storage_failed(&error)),
        }
    }

    /// Opens a blob without waiting for anything; `None` if that takes a wait, or clients are sent elsewhere for it.
    pub fn opened(&self, digest: &Digest, is_manifest: bool) -> Option<Arc<StoredBlob>> {
        if !is_manifest && self.store.redirects() {
            return None;
        }
        self.store.opened(digest).filter(|blob| !blob.is_unreadable())
    }

    /// Opens linked content. Missing content, and content of the wrong size, is put out of the way, and `None` means to
    /// fetch it again.
    pub async fn open_linked(&self, digest: &Digest, size: u64) -> Result<Option<Arc<StoredBlob>>, OciError> {
        let found = self.open(digest).await?.map(|blob| (blob.size, blob));
        let (kind, found_bytes) = match found {
            Some((found, blob)) if found == size => return Ok(Some(blob)),
            Some((found, _)) => (CorruptionKind::Size, found),
            None => (CorruptionKind::Missing, 0),
        };
        self.corruption.notice(digest, kind, found_bytes).await;
        // Where only this node's copy was damaged, the store has it.
        Ok(self.open(digest).await?.filter(|blob| blob.size == size))
    }

    /// Answers with a stored blob or manifest and notes that it was pulled.
    pub fn serve(
        &self,
        wanted: &Wanted,
        digest: &Digest,
        blob: &Arc<StoredBlob>,
        media_type: HeaderValue,
        freshness: Freshness,
    ) -> Answer {
        let content = Content::of_stored(blob, media_type, freshness);
        let answer = if wanted.permitted.read == Read::Head {
            content.described(blob.size)
        } else {
            content.stored(blob, &wanted.conditions(), self.counter(wanted))
        };
        self.count(wanted, digest, freshness.status, answer)
    }

    /// Answers with a stored blob, or sends the client to the object store for it.
    pub async fn serve_blob(
        &self,
        wanted: &Wanted,
        digest: &Digest,
        blob: &Arc<StoredBlob>,
        freshness: Freshness,
    ) -> Answer {
        if self.store.redirects() && wanted.permitted.read == Read::Get && !wanted.is_prefetch {
            match self.store.redirect(digest).await {
                Ok(Some(url)) => {
                    if let Some(answer) = Content::redirected(digest, &url, freshness.status) {
                        return self.count(wanted, digest, freshness.status, answer);
                    }
                }
                Ok(None) => {}
                // What this node has is as good.
                Err(error) => tracing::warn!(blob.digest = %digest, %error, "no URL for a blob; served from here"),
            }
        }
        self.serve(wanted, digest, blob, OCTET_STREAM, freshness)
    }

    /// Counts the bytes of a body, if they go to a client.
    pub fn counter(&self, wanted: &Wanted) -> BodyBytes {
        if wanted.is_prefetch { Metrics::no_client() } else { self.metrics.client_bytes() }
    }

    /// Counts an answer with content, and notes in it what that is; only GETs are pulls.
    pub fn count(&self, wanted: &Wanted, digest: &Digest, status: CacheStatus, mut answer: Answer) -> Answer {
        if wanted.is_prefetch {
            return answer;
        }
        let served = Some(Served { status, digest: *digest });
        answer.body_mut().describe(Contents { served, trouble: wanted.take_trouble() });
        self.metrics.served(wanted.route(), status);
        if wanted.permitted.read == Read::Get {
            let outcome = if status.is_served_from_cache() { control::Pull::Hit } else { control::Pull::Miss };
            self.usage.record(&wanted.repository, digest, outcome);
        }
        answer
    }
}
