//! Records links to content that is in the store, and sees to it that it is there afterwards.
//!
//! Between the moment that content was found or committed and the moment that its link is recorded, a node that claimed it as
//! garbage may have deleted it and confirmed that. Once the link is recorded nobody deletes it any more: so one look then is
//! conclusive, and what is gone is written again from what is still open here.

use std::{collections::HashMap, sync::Arc, time::Duration};

use parking_lot::{Mutex, MutexGuard};
use roadstead_proto::{Digest, Tag};
use tokio::{
    task::spawn_blocking,
    time::{Instant, sleep},
};
use tracing::{info, warn};

use super::corruption_log::CorruptionLog;
use crate::{
    backoff::Backoff,
    control::{
        Control, ControlError, CorruptionKind, Link, Links, NodeClient, Proof, Recorded, Reference, RepositoryRef,
        StoredContent, Urgency,
    },
    failpoint,
    storage::{BlobStore, StorageError, StoredBlob},
};

/// Time for which content that could not be recorded is reported: longer than any claim lasts. Then the next walk finds it.
const LEFTOVER_TIME: Duration = Duration::from_secs(12 * 60);
/// Time for which recording the link of a new blob is repeated.
const LINK_TIME: Duration = Duration::from_secs(60);
/// The first pause between those tries; each further one is twice as long.
const FIRST_LINK_PAUSE: Duration = Duration::from_millis(500);
/// The longest of those pauses.
const MAX_LINK_PAUSE: Duration = Duration::from_secs(5);
/// Most contents that are told of so.
const MAX_LEFTOVERS: usize = 1000;

/// Records links.
pub struct LinkRecorder {
    client: Arc<NodeClient>,
    links: Arc<Links>,
    store: Arc<dyn BlobStore>,
    store_id: String,
    corruption: Arc<CorruptionLog>,
    /// In the store without a link, and until when to tell of it.
    leftovers: Mutex<HashMap<Digest, Instant>>,
}

impl LinkRecorder {
    /// Records links to what is in `store`.
    pub fn new(
        control: &Control,
        store: Arc<dyn BlobStore>,
        store_id: String,
        corruption: Arc<CorruptionLog>,
    ) -> Arc<Self> {
        let (client, links) = (Arc::clone(&control.client), Arc::clone(&control.links));
        Arc::new(Self { client, links, store, store_id, corruption, leftovers: Mutex::default() })
    }

    /// Records a right to a stored manifest with its proof; `blob` is that manifest, open. Content whose link could not be
    /// recorded stays in the store and is reported as garbage.
    pub async fn link(
        &self,
        at: &RepositoryRef,
        proof: Proof,
        link: &Link,
        references: &[Reference],
        tag: Option<&Tag>,
        blob: &Arc<StoredBlob>,
    ) -> Result<Recorded, ControlError> {
        failpoint::reached("link_asked");
        let recorded = self.links.record(at, link, references, tag, proof).await;
        self.recorded(recorded, &link.digest, blob).await
    }

    /// Does the same for a blob; a client waits for it.
    pub async fn link_blob(
        &self,
        at: &RepositoryRef,
        proof: Proof,
        link: &Link,
        blob: &Arc<StoredBlob>,
    ) -> Result<Recorded, ControlError> {
        self.record_blob(at, proof, link, blob, Urgency::Now).await
    }

    /// Does the same for a blob that has just arrived, for later pulls: while the control plane cannot be asked, tries again for a
    /// minute. The bytes are there, and only this record makes them worth something.
    pub async fn link_arrived(
        &self,
        at: &RepositoryRef,
        proof: Proof,
        link: &Link,
        blob: &Arc<StoredBlob>,
    ) -> Result<Recorded, ControlError> {
        let (began, mut pauses) = (Instant::now(), Backoff::new(FIRST_LINK_PAUSE, MAX_LINK_PAUSE));
        loop {
            match self.record_blob(at, proof, link, blob, Urgency::Soon).await {
                Err(error) if error.retryable() && began.elapsed() < LINK_TIME => {
                    info!(blob.digest = %link.digest, %error, "a link cannot be recorded yet");
                    sleep(pauses.pause()).await;
                }
                recorded => return recorded,
            }
        }
    }

    async fn record_blob(
        &self,
        at: &RepositoryRef,
        proof: Proof,
        link: &Link,
        blob: &Arc<StoredBlob>,
        urgency: Urgency,
    ) -> Result<Recorded, ControlError> {
        failpoint::reached("link_asked");
        let recorded = self.links.record_blob(at, link, proof, urgency).await;
        self.recorded(recorded, &link.digest, blob).await
    }

    /// Sees to it that what was recorded is there.
    async fn recorded(
        &self,
        recorded: Result<Recorded, ControlError>,
        digest: &Digest,
        blob: &Arc<StoredBlob>,
    ) -> Result<Recorded, ControlError> {
        failpoint::reached("link_recorded");
        match &recorded {
            Ok(Recorded::Recorded) => {
                self.leftovers().remove(digest);
                self.still_there(digest, blob).await;
            }
            // Nobody links it, and the control plane knows of it.
            Ok(Recorded::Outdated | Recorded::Unproven) => {}
            // Deleting it here could take what somebody else links this moment.
            Ok(Recorded::BeingDeleted) | Err(_) => {
                let mut leftovers = self.leftovers();
                if leftovers.len() < MAX_LEFTOVERS {
                    leftovers.insert(*digest, Instant::now() + LEFTOVER_TIME);
                }
            }
        }
        recorded
    }

    async fn still_there(&self, digest: &Digest, blob: &Arc<StoredBlob>) {
        let missing = match self.store.look(digest).await {
            Ok(found) => found.is_none(),
            Err(error) => {
                warn!(blob.digest = %digest, %error, "whether linked content is stored could not be looked up");
                return;
            }
        };
        if missing {
            if let Err(error) = self.store_again(digest, blob).await {
                warn!(blob.digest = %digest, %error, "content was deleted while it was linked, and could not be stored again");
                return self.corruption.notice(digest, CorruptionKind::Missing, 0).await;
            }
            info!(blob.digest = %digest, "content was deleted while it was linked; stored again");
        }
        self.corruption.is_whole(digest);
    }

    /// Open content outlives its deletion.
    async fn store_again(&self, digest: &Digest, blob: &Arc<StoredBlob>) -> Result<(), StorageError> {
        let failed = |source| StorageError::from_io(format!("store blob {digest} again"), source);
        let staged = self.store.stage(Some(blob.size)).await?;
        let mut offset = 0;
        while offset < blob.size {
            let piece = blob.load(offset, blob.size).await.map_err(failed)?;
            let (writer, len) = (Arc::clone(&staged), piece.len() as u64);
            spawn_blocking(move || writer.write_at(&piece, offset))
                .await
                .map_err(|error| failed(std::io::Error::other(error)))??;
            offset += len;
        }
        self.store.commit(&staged, digest, blob.size).await.map(drop)
    }

    /// Tells of content that is in the store and could not be linked: unless somebody links it, it is garbage.
    pub async fn tell_leftovers(&self) -> Result<(), ControlError> {
        let leftovers: Vec<Digest> = self.leftovers().keys().copied().collect();
        let mut found = Vec::new();
        for digest in &leftovers {
            match self.store.look(digest).await {
                Ok(Some(file)) => found.push(StoredContent { digest: file.digest, size_bytes: file.size }),
                Ok(None) => drop(self.leftovers().remove(digest)),
                Err(error) => warn!(blob.digest = %digest, %error, "content that is not linked cannot be looked up"),
            }
        }
        if !found.is_empty() {
            // As long as somebody has claimed it, it is known; it is told of until that claim is over in any case.
            self.client.adopt_contents(&self.store_id, found).await?;
        }
        self.leftovers().retain(|_, until| *until > Instant::now());
        Ok(())
    }

    fn leftovers(&self) -> MutexGuard<'_, HashMap<Digest, Instant>> {
        self.leftovers.lock()
    }
}
