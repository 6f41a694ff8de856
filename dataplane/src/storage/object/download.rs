//! One download per blob from the bucket into the node cache, shared by everybody who reads it meanwhile.
//!
//! It belongs to no reader. Its last byte is released only when the digest is right and the file is in the cache; wrong
//! content is taken out of sight in the bucket, so that it is fetched from upstream again.

use std::{
    collections::{HashMap, hash_map::Entry},
    io,
    path::PathBuf,
    sync::Arc,
    time::SystemTime,
};

use bytes::Bytes;
use futures_util::StreamExt;
use parking_lot::{Mutex, MutexGuard};
use roadstead_proto::{Digest, DigestHasher};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use uuid::Uuid;

use super::{bucket::Bucket, node_cache::NodeCache};
use crate::storage::{StagedFile, StorageError, open_blobs::OpenBlobs};

/// Downloads at a time; readers beyond them are served by ranged requests.
const AT_ONCE: usize = 64;
/// Pieces that may wait for the disk.
const QUEUED_PIECES: usize = 4;

/// The progress of a download.
#[derive(Clone, Debug)]
enum State {
    Arriving(u64),
    Complete,
    /// The error, and whether the content itself was wrong.
    Failed {
        is_damage: bool,
        why: Arc<str>,
    },
}

/// A download under way, or done.
pub struct Download {
    size: u64,
    staged: Arc<StagedFile>,
    state: watch::Sender<State>,
}

impl Download {
    /// The staged file.
    pub const fn staged(&self) -> &Arc<StagedFile> {
        &self.staged
    }

    /// The number of bytes that readers may have.
    pub fn released(&self) -> u64 {
        match &*self.state.borrow() {
            State::Arriving(written) => (*written).min(self.size.saturating_sub(1)),
            State::Complete => self.size,
            State::Failed { .. } => 0,
        }
    }

    /// Waits until bytes after `offset` are there and tells how many; `None` if that is more than `patience` bytes away.
    pub async fn wait(&self, offset: u64, patience: u64) -> Result<Option<u64>, StorageError> {
        let mut news = self.state.subscribe();
        loop {
            if let State::Failed { is_damage, why } = &*news.borrow_and_update() {
                return Err(if *is_damage {
                    StorageError::Damaged(why.to_string())
                } else {
                    StorageError::from_io("download", io::Error::other(why.to_string()))
                });
            }
            let released = self.released();
            if released > offset {
                return Ok(Some(released));
            }
            if offset - released > patience {
                return Ok(None);
            }
            if news.changed().await.is_err() {
                return Err(StorageError::from_io("download", io::Error::other("lost")));
            }
        }
    }
}

/// The downloads under way on this node.
pub struct Downloads {
    pub bucket: Arc<Bucket>,
    pub cache: Arc<NodeCache>,
    pub open: OpenBlobs,
    pub staging: PathBuf,
    running: Mutex<HashMap<Digest, Arc<Download>>>,
    turns: Arc<Semaphore>,
}

impl Downloads {
    pub fn new(bucket: Arc<Bucket>, cache: Arc<NodeCache>, open: OpenBlobs, staging: PathBuf) -> Arc<Self> {
        let turns = Arc::new(Semaphore::new(AT_ONCE));
        Arc::new(Self { bucket, cache, open, staging, running: Mutex::default(), turns })
    }

    fn running(&self) -> MutexGuard<'_, HashMap<Digest, Arc<Download>>> {
        self.running.lock()
    }

    /// Returns the download of a blob, and starts it if `starts`; `None` without one, or without space for one.
    pub async fn join(self: &Arc<Self>, digest: &Digest, size: u64, starts: bool) -> Option<Arc<Download>> {
        if let Some(there) = self.running().get(digest) {
            return Some(Arc::clone(there));
        }
        if !starts {
            return None;
        }
        let turn = Arc::clone(&self.turns).try_acquire_owned().ok()?;
        let path = self.staging.join(Uuid::now_v7().to_string());
        let staged = tokio::task::spawn_blocking(move || StagedFile::create(path, Some(size))).await.ok()?;
        let staged = staged.inspect_err(|error| tracing::warn!(%error, "no room to download a blob")).ok()?;
        let download =
            Arc::new(Download { size, staged: Arc::new(staged), state: watch::Sender::new(State::Arriving(0)) });
        match self.running().entry(*digest) {
            Entry::Occupied(there) => return Some(Arc::clone(there.get())),
            Entry::Vacant(free) => free.insert(Arc::clone(&download)),
        };
        tokio::spawn(Arc::clone(self).run(*digest, Arc::clone(&download), turn));
        Some(download)
    }

    async fn run(self: Arc<Self>, digest: Digest, download: Arc<Download>, _turn: OwnedSemaphorePermit) {
        let landing = Landing { downloads: &self, digest, download: &download };
        let state = match self.arrive(&digest, &download).await {
            Ok(()) => State::Complete,
            Err(error) => {
                let is_damage = error.is_damage();
                if is_damage {
                    self.put_aside(&digest).await;
                }
                State::Failed { is_damage, why: error.to_string().into() }
            }
        };
        download.state.send_replace(state);
        drop(landing);
    }

    async fn arrive(&self, digest: &Digest, download: &Arc<Download>) -> Result<(), StorageError> {
        let lost = |source: object_store::Error| StorageError::Remote {
            action: format!("download {digest}"),
            source: source.into(),
        };
        let Some(mut stream) = self.bucket.stream(digest).await? else {
            return Err(StorageError::from_io(format!("download {digest}"), io::ErrorKind::NotFound.into()));
        };
        let (pieces, queue) = mpsc::channel(QUEUED_PIECES);
        let (writer, algorithm) = (Arc::clone(download), digest.algorithm());
        let written = tokio::task::spawn_blocking(move || write(&writer, DigestHasher::new(algorithm), queue));
        while let Some(piece) = stream.next().await {
            if pieces.send(piece.map_err(lost)?).await.is_err() {
                break;
            }
        }
        drop(pieces);
        let ended = |error| StorageError::from_io("download writer", io::Error::other(error));
        let (got, read_bytes) = written.await.map_err(ended)??;
        if got != *digest || read_bytes != download.size {
            return Err(StorageError::Damaged(format!("blob {digest} in the bucket: {read_bytes} bytes of {got}")));
        }
        let (cache, kept, digest) = (Arc::clone(&self.cache), Arc::clone(download), *digest);
        let gone = tokio::task::spawn_blocking(move || cache.keep(&kept.staged, &digest, kept.size, SystemTime::now()));
        let gone = gone.await.map_err(ended)?.map_err(|source| StorageError::from_io("keep a blob", source));
        match gone {
            Ok(gone) => gone.iter().for_each(|digest| self.open.forget(digest)),
            // The content is right all the same, and its readers have the file open.
            Err(error) => tracing::warn!(blob.digest = %digest, %error, "a blob could not be kept in the node cache"),
        }
        Ok(())
    }

    /// Takes wrong content out of sight.
    async fn put_aside(&self, digest: &Digest) {
        tracing::error!(blob.digest = %digest, "the bucket holds something else under this digest; it is put aside");
        if let Err(error) = super::quarantine::put_aside(&self.bucket, digest).await {
            tracing::warn!(blob.digest = %digest, %error, "a damaged blob could not be put aside");
        }
    }
}

fn write(
    download: &Download,
    mut hasher: DigestHasher,
    mut queue: mpsc::Receiver<Bytes>,
) -> Result<(Digest, u64), StorageError> {
    let mut written = 0;
    while let Some(piece) = queue.blocking_recv() {
        if written + piece.len() as u64 > download.size {
            return Err(StorageError::Damaged("there is more of it in the bucket than its size".to_owned()));
        }
        download.staged.write_at(&piece, written)?;
        hasher.update(&piece);
        written += piece.len() as u64;
        download.state.send_replace(State::Arriving(written));
    }
    Ok((hasher.finish(), written))
}

/// Takes a download off the list, also when its task is lost; its readers hear of it.
struct Landing<'a> {
    downloads: &'a Downloads,
    digest: Digest,
    download: &'a Download,
}

impl Drop for Landing<'_> {
    fn drop(&mut self) {
        self.downloads.running().remove(&self.digest);
        self.download.state.send_if_modified(|state| {
            let lost = matches!(state, State::Arriving(_));
            if lost {
                *state = State::Failed { is_damage: false, why: "the download was lost".into() };
            }
            lost
        });
    }
}
