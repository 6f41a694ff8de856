//! The blob seam: where verified content is kept, and where content that is still arriving is staged.
//!
//! Guarantees of every [`BlobStore`]: a blob is visible whole or not at all, from `commit` on and across crashes at any
//! point; what is visible was verified by whoever committed it; an error of the store is never a miss. The store does not
//! decide which group may see a blob.

#[cfg(test)]
mod conformance;
mod file_view;
mod local;
mod metrics;
mod object;
mod open_blobs;
mod staged;

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::SystemTime,
};

use async_trait::async_trait;
use bytes::Bytes;
use http::HeaderValue;
use roadstead_proto::Digest;
use url::Url;

pub use self::local::LocalStore;
pub use self::metrics::StorageMetrics;
pub use self::object::{ObjectBlobStore, ObjectSettings, ObjectStoreUrl};
pub use self::staged::StagedFile;

use self::file_view::FileView;
use self::object::RemoteBlob;

/// The store failed; nothing is said about whether the content is there.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// No room for new content. Stored content can still be read.
    #[error("the blob store is full")]
    Full,
    /// Nothing can be written. Stored content can still be read.
    #[error("the blob store is read-only")]
    ReadOnly,
    /// Another process uses the folder.
    #[error("{0} is in use by another node")]
    InUse(String),
    /// The object store will not have us as we are set up: no such bucket, wrong credentials.
    #[error("{0}")]
    Settings(String),
    /// The object store failed, or was silent.
    #[error("{action}: {source}")]
    Remote {
        /// The operation, with its subject.
        action: String,
        /// Its message.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Stored content does not match its digest.
    #[error("{0}")]
    Damaged(String),
    /// Stored bytes are there and cannot be read: a bad block, a file that was cut short.
    #[error("{action}: {source}")]
    Unreadable {
        /// The operation, with its subject.
        action: String,
        /// The message of the operating system.
        source: io::Error,
    },
    /// Anything else the operating system said.
    #[error("{action}: {source}")]
    Io {
        /// The operation, with its subject.
        action: String,
        /// The message of the operating system.
        source: io::Error,
    },
}

impl StorageError {
    /// True if the content itself is wrong, so that a retry does not help.
    pub const fn is_damage(&self) -> bool {
        matches!(self, Self::Damaged(_))
    }

    /// Returns whether stored bytes cannot be read, so that they are as good as damaged.
    pub const fn is_unreadable(&self) -> bool {
        matches!(self, Self::Unreadable { .. })
    }

    /// Wraps an error of reading stored content, telling bytes that cannot be read from the rest.
    pub fn from_read(action: impl Into<String>, source: io::Error) -> Self {
        if is_unreadable(&source) {
            Self::Unreadable { action: action.into(), source }
        } else {
            Self::from_io(action, source)
        }
    }

    /// Wraps an error of the operating system, telling a full disk (or quota) from the rest.
    pub fn from_io(action: impl Into<String>, source: io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::Full,
            io::ErrorKind::ReadOnlyFilesystem => Self::ReadOnly,
            _ => Self::Io { action: action.into(), source },
        }
    }
}

/// Returns whether the disk cannot read a file, or the file is not what the file system says: EIO, EBADMSG (a checksum), EUCLEAN (a
/// corrupt structure), or an end before its end.
fn is_unreadable(error: &io::Error) -> bool {
    let by_number = matches!(error.raw_os_error(), Some(libc::EIO | libc::EBADMSG | libc::EUCLEAN));
    by_number || error.kind() == io::ErrorKind::UnexpectedEof
}

/// Room in the store, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DiskSpace {
    /// Size of the file system; 0 for a store without a size.
    pub total_bytes: u64,
    /// The free part that this process can use.
    pub available_bytes: u64,
}

/// A blob as the store holds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoredFile {
    /// Its digest, by the name that it is kept under: nobody has hashed it now.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
    /// When it was committed.
    pub stored_at: SystemTime,
}

/// A blob store.
#[async_trait]
pub trait BlobStore: Send + Sync + 'static {
    /// Opens a blob for reading; `None` if it is not stored.
    async fn open(&self, digest: &Digest) -> Result<Option<Arc<StoredBlob>>, StorageError>;

    /// A blob that is open already, without waiting for anything; `None` says nothing about whether it is stored.
    fn opened(&self, digest: &Digest) -> Option<Arc<StoredBlob>>;

    /// Starts a staged file. Room for `size` bytes, where that is known, is reserved at once, so that a full store
    /// is known before a client is promised anything.
    async fn stage(&self, size: Option<u64>) -> Result<Arc<StagedFile>, StorageError>;

    /// Does the same for what will be the blob `digest`: a store elsewhere takes it along while it is written, from its first
    /// byte on and in order. Nothing of it is visible before `commit`; dropping the file gives it up.
    async fn stage_upload(&self, digest: &Digest, size: Option<u64>) -> Result<Arc<StagedFile>, StorageError> {
        let _ = digest;
        self.stage(size).await
    }

    /// Does the same for what another node is fetching: where that one shares the store, `commit` gives it time to commit first.
    async fn stage_copy(&self, size: Option<u64>) -> Result<Arc<StagedFile>, StorageError> {
        self.stage(size).await
    }

    /// Makes a staged file the blob `digest`, durably and atomically: readers see all of it or none. The caller has
    /// verified that the first `size` bytes are that blob.
    async fn commit(
        &self,
        staged: &Arc<StagedFile>,
        digest: &Digest,
        size: u64,
    ) -> Result<Arc<StoredBlob>, StorageError>;

    /// Deletes a blob; readers that have it open finish. Deleting what is not there is fine.
    async fn delete(&self, digest: &Digest) -> Result<(), StorageError>;

    /// Looks a blob up, past everything that is held in memory; `None` if it is not stored.
    async fn look(&self, digest: &Digest) -> Result<Option<StoredFile>, StorageError>;

    /// Reads a piece of a blob from `offset` on, past everything that is held in memory: at most `len` bytes, fewer only at
    /// the end, none after it. `None` if the blob is not stored.
    async fn read(&self, digest: &Digest, offset: u64, len: usize) -> Result<Option<Bytes>, StorageError>;

    /// Returns the next blobs after `after`, at most `limit`, in the order of their digests; an empty list is the end. Blobs
    /// that come or go meanwhile may be among them or not.
    async fn list(&self, after: Option<&Digest>, limit: usize) -> Result<Vec<StoredFile>, StorageError>;

    /// Takes a damaged blob out of sight, so that it can be fetched again; readers that have it open finish. The corrupt
    /// content can be examined for about a day. Doing so to what is not there is fine.
    async fn quarantine(&self, digest: &Digest) -> Result<(), StorageError>;

    /// Gives up what this node holds of a blob in front of a store elsewhere; the store keeps it.
    async fn forget_copy(&self, digest: &Digest) -> Result<(), StorageError> {
        let _ = digest;
        Ok(())
    }

    /// True if all nodes share the store: content that it lacks is missing for all of them.
    fn is_elsewhere(&self) -> bool {
        false
    }

    /// Shows that the store can be written to, and how much room it has.
    async fn probe(&self) -> Result<DiskSpace, StorageError>;

    /// Returns a URL by which clients that may have the blob can get it for the next minutes, past this node; `None` if this
    /// node must serve it.
    async fn redirect(&self, digest: &Digest) -> Result<Option<Url>, StorageError> {
        let _ = digest;
        Ok(None)
    }

    /// True if clients are to be redirected for blobs, where that is possible.
    fn redirects(&self) -> bool {
        false
    }
}

/// A committed blob, open for reading. Immutable; outlives its deletion from the store.
#[derive(Debug)]
pub struct StoredBlob {
    /// Size in bytes.
    pub size: u64,
    /// Its digest as a header's value, made once.
    pub digest_header: HeaderValue,
    /// Its digest in quotes, made once.
    pub etag: HeaderValue,
    content: Content,
    /// A read of it has failed as reads of bad blocks do: it is not to be handed out again.
    is_unreadable: AtomicBool,
}

#[derive(Debug)]
enum Content {
    /// Small content, held in memory.
    Memory(Bytes),
    /// An open file.
    File(FileView),
    /// In an object store.
    Remote(RemoteBlob),
}

impl StoredBlob {
    fn new(digest: &Digest, size: u64, content: Content) -> io::Result<Arc<Self>> {
        let header = |text: String| HeaderValue::try_from(text).map_err(io::Error::other);
        Ok(Arc::new(Self {
            size,
            digest_header: header(digest.to_string())?,
            etag: header(format!("\"{digest}\""))?,
            content,
            is_unreadable: AtomicBool::new(false),
        }))
    }

    /// Returns whether a read of it has failed in a way that trying again does not mend.
    pub fn is_unreadable(&self) -> bool {
        self.is_unreadable.load(Ordering::Relaxed)
    }

    /// The whole content, if it is held in memory.
    pub fn in_memory(&self) -> Option<&Bytes> {
        match &self.content {
            Content::Memory(bytes) => Some(bytes),
            Content::File(_) | Content::Remote(_) => None,
        }
    }

    /// Reads the whole content; for manifests and other small things.
    pub async fn read_all(self: &Arc<Self>) -> io::Result<Bytes> {
        let mut all = Vec::with_capacity(usize::try_from(self.size).map_err(io::Error::other)?);
        while (all.len() as u64) < self.size {
            let offset = all.len() as u64;
            let piece = match self.ready(offset, self.size) {
                Some(piece) => piece,
                None => self.load(offset, self.size).await?,
            };
            all.extend_from_slice(&piece);
        }
        Ok(all.into())
    }

    /// The next piece of `offset..end`, if it can be had without waiting for a disk.
    pub fn ready(&self, offset: u64, end: u64) -> Option<Bytes> {
        match &self.content {
            Content::Memory(bytes) => Some(bytes.slice(offset as usize..end as usize)),
            Content::File(file) => file.ready(offset, end),
            Content::Remote(remote) => remote.ready(offset, end),
        }
    }

    /// The next piece of `offset..end`, read off the async threads.
    pub async fn load(self: &Arc<Self>, offset: u64, end: u64) -> io::Result<Bytes> {
        match &self.content {
            Content::Memory(bytes) => Ok(bytes.slice(offset as usize..end as usize)),
            Content::File(file) => file.load(offset, end).await.inspect_err(|error| {
                if is_unreadable(error) {
                    self.is_unreadable.store(true, Ordering::Relaxed);
                }
            }),
            Content::Remote(remote) => remote.load(offset, end).await,
        }
    }

    /// Roughly what holding it open costs in memory, for the bound on open blobs.
    fn held_bytes(&self) -> u64 {
        /// An open file's share of kernel structures and descriptors, made dear enough to bound their number too: 256.
        const FILE_BYTES: u64 = 128 * 1024;
        match &self.content {
            Content::Memory(bytes) => bytes.len() as u64 + 512,
            Content::File(_) | Content::Remote(_) => FILE_BYTES,
        }
    }
}
