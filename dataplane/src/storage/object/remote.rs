//! Reading a blob that is in the bucket and not on this node.
//!
//! Whoever reads (most of) it from the start sets off one download into the node cache, which everybody who reads it
//! follows; the last byte is released only when the digest is right. Parts that are far from the arrived ones, and
//! everything without a node cache, come by ranged requests, with the next piece requested ahead of time.

use std::{
    io,
    sync::{Arc, OnceLock},
    time::SystemTime,
};

use bytes::Bytes;
use parking_lot::Mutex;
use quick_cache::{Weighter, sync::Cache};
use roadstead_proto::Digest;
use tokio::sync::Semaphore;

use super::{
    bucket::Bucket,
    download::{Download, Downloads},
};
use crate::storage::{StorageError, StoredFile};

/// Size of a piece that is asked for at once, in bytes.
const PIECE_BYTES: u64 = 4 * 1024 * 1024;
/// Size of a piece for a reader, in bytes: each slow client holds that much.
const HANDED_BYTES: u64 = 256 * 1024;
/// Total size of all pieces in memory, besides those that are on their way.
const MEMORY_BYTES: u64 = 64 * 1024 * 1024;
/// Pieces on their way at a time.
const PIECES_AT_ONCE: usize = 16;
/// Readers wait for a download that is so many bytes short of them, or fewer.
const WAIT_BYTES: u64 = 2 * PIECE_BYTES;

/// A piece of an object. An object that took the place of a damaged one is another.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Key {
    digest: Digest,
    stored_at: SystemTime,
    index: u64,
}

#[derive(Clone)]
struct Length;

impl Weighter<Key, Bytes> for Length {
    fn weight(&self, _: &Key, piece: &Bytes) -> u64 {
        piece.len() as u64 + 64
    }
}

/// Pieces of remote blobs that were asked for lately; each is asked for once, whoever wants it.
pub struct Pieces {
    bucket: Arc<Bucket>,
    known: Cache<Key, Bytes, Length>,
    turns: Semaphore,
}

impl Pieces {
    pub fn new(bucket: Arc<Bucket>) -> Arc<Self> {
        let known = Cache::with_weighter((MEMORY_BYTES / PIECE_BYTES) as usize * 2, MEMORY_BYTES, Length);
        Arc::new(Self { bucket, known, turns: Semaphore::new(PIECES_AT_ONCE) })
    }

    async fn fetch(&self, digest: &Digest, start: u64, end: u64) -> io::Result<Bytes> {
        let _turn = self.turns.acquire().await.map_err(io::Error::other)?;
        let piece = self.bucket.range(digest, start..end).await.map_err(io::Error::other)?;
        match piece {
            Some(piece) if piece.len() as u64 == end - start => Ok(piece),
            Some(_) => Err(io::ErrorKind::UnexpectedEof.into()),
            None => {
                Err(io::Error::new(io::ErrorKind::NotFound, format!("blob {digest} is not in the bucket any more")))
            }
        }
    }

    /// Drops what is held of a blob.
    pub fn forget(&self, digest: &Digest) {
        self.known.retain(|key, _| key.digest != *digest);
    }

    /// The piece of a blob of `size` bytes.
    async fn piece(&self, key: Key, size: u64) -> io::Result<Bytes> {
        let (start, end) = (key.index * PIECE_BYTES, size.min((key.index + 1) * PIECE_BYTES));
        self.known.get_or_insert_async(&key, self.fetch(&key.digest, start, end)).await
    }

    /// The next bytes of `offset..end`.
    async fn read(self: &Arc<Self>, file: &StoredFile, offset: u64, end: u64) -> io::Result<Bytes> {
        let index = offset / PIECE_BYTES;
        let key = Key { digest: file.digest, stored_at: file.stored_at, index };
        let until = end.min((index + 1) * PIECE_BYTES);
        if until - offset < PIECE_BYTES / 4 && until == end && self.known.get(&key).is_none() {
            // A short range: no more than that is wanted.
            return self.fetch(&file.digest, offset, until).await;
        }
        let piece = self.piece(key, file.size).await?;
        let next = Key { index: index + 1, ..key };
        if end > until && self.known.get(&next).is_none() {
            let (pieces, size) = (Arc::clone(self), file.size);
            tokio::spawn(async move { pieces.piece(next, size).await });
        }
        let start = index * PIECE_BYTES;
        let until = until.min(offset + HANDED_BYTES);
        // A slice would keep all of the piece in memory for as long as a slow client takes for a little of it.
        Ok(Bytes::copy_from_slice(&piece[(offset - start) as usize..(until - start) as usize]))
    }
}

/// A blob in the bucket.
pub struct RemoteBlob {
    file: StoredFile,
    pieces: Arc<Pieces>,
    /// Leads into the node cache, for blobs that it admits.
    downloads: Option<Arc<Downloads>>,
    arriving: OnceLock<Arc<Download>>,
    /// Said once, not by every reader.
    failure_told: Mutex<bool>,
}

impl std::fmt::Debug for RemoteBlob {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RemoteBlob").field("digest", &self.file.digest).finish_non_exhaustive()
    }
}

impl RemoteBlob {
    pub fn new(file: StoredFile, pieces: Arc<Pieces>, downloads: Option<Arc<Downloads>>) -> Self {
        Self { file, pieces, downloads, arriving: OnceLock::new(), failure_told: Mutex::new(false) }
    }

    /// The next piece of `offset..end`, if it has arrived.
    pub fn ready(&self, offset: u64, end: u64) -> Option<Bytes> {
        let arriving = self.arriving.get()?;
        let limit = arriving.released().min(end);
        if limit > offset { arriving.staged().ready(offset, limit) } else { None }
    }

    /// The next piece of `offset..end`, wherever it has to be fetched from.
    pub async fn load(&self, offset: u64, end: u64) -> io::Result<Bytes> {
        if let Some(arriving) = self.join(offset, end).await {
            match arriving.wait(offset, WAIT_BYTES).await {
                Ok(Some(limit)) => return arriving.staged().load(offset, limit.min(end)).await,
                Ok(None) => {}
                Err(error) if error.is_damage() => return Err(io::Error::other(error)),
                Err(error) => self.tell(&error),
            }
        }
        self.pieces.read(&self.file, offset, end).await
    }

    /// The download that this reader follows. Reading most of the blob to its end sets one off; a part does not.
    async fn join(&self, offset: u64, end: u64) -> Option<Arc<Download>> {
        if let Some(arriving) = self.arriving.get() {
            return Some(Arc::clone(arriving));
        }
        let downloads = self.downloads.as_ref()?;
        let starts = end == self.file.size && offset <= self.file.size / 2;
        let arriving = downloads.join(&self.file.digest, self.file.size, starts).await?;
        Some(Arc::clone(self.arriving.get_or_init(|| arriving)))
    }

    fn tell(&self, error: &StorageError) {
        let mut told = self.failure_told.lock();
        if !std::mem::replace(&mut *told, true) {
            tracing::warn!(blob.digest = %self.file.digest, %error, "a blob does not get into the node cache");
        }
    }
}
