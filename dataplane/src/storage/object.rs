//! Blobs in an object store (S3 and what speaks like it, Google Cloud Storage, Azure), which many nodes may share.
//!
//! Arriving content is staged on this node's disk, for its readers, and uploaded to the bucket meanwhile; it becomes visible
//! there only with `commit`. Reads come from the node cache, from a download into it, or by ranged requests. The store's own
//! 404 is a miss; everything else that goes wrong is an error.

mod bucket;
mod connect;
mod download;
mod node_cache;
mod quarantine;
mod remote;
mod upload;

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

use async_trait::async_trait;
use bytes::Bytes;
use roadstead_proto::Digest;
use url::Url;
use uuid::Uuid;

pub use self::bucket::Bucket;
pub use self::connect::ObjectStoreUrl;
pub use self::remote::RemoteBlob;
pub use self::upload::Upload;

use self::download::Downloads;
use self::node_cache::NodeCache;
use self::remote::Pieces;
use self::upload::Uploads;
use super::{
    BlobStore, Content, DiskSpace, StagedFile, StorageError, StoredBlob, StoredFile,
    local::{self, IN_MEMORY_BYTES, create_folder},
    metrics::StorageMetrics,
    open_blobs::OpenBlobs,
};

/// Lifetime of a URL for clients: long enough to begin, and S3 checks only then.
const REDIRECT_GOOD_FOR: Duration = Duration::from_secs(5 * 60);
/// Interval at which stale uploads and quarantined blobs are cleaned up.
const TIDY_EVERY: Duration = Duration::from_secs(10 * 60);

/// Time for which a successful probe counts: each costs two requests.
const PROBE_GOOD_FOR: Duration = Duration::from_secs(15);

/// The settings of an object store on this node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectSettings {
    /// The store's URL.
    pub url: ObjectStoreUrl,
    /// The folder of arriving content, and of the node cache.
    pub data_dir: PathBuf,
    /// Bound on the node cache, in bytes; 0 for none.
    pub node_cache_bytes: u64,
    /// Clients are sent to the store for blobs.
    pub redirect: bool,
}

/// A bucket with what this node keeps in front of it. One process at a time uses a data directory.
pub struct ObjectBlobStore {
    bucket: Arc<Bucket>,
    uploads: Arc<Uploads>,
    downloads: Option<Arc<Downloads>>,
    pieces: Arc<Pieces>,
    open: OpenBlobs,
    staging: PathBuf,
    redirect: bool,
    /// The object that shows that the bucket can be written to; a name of its own, so that nodes do not meet.
    probe: object_store::path::Path,
    began: Instant,
    /// Seconds after `began` until which the last probe is good.
    probe_at: AtomicU64,
    /// Seconds after `began` at which it is next tidied.
    tidy_at: AtomicU64,
    _lock: File,
}

impl ObjectBlobStore {
    /// Opens the folders, deletes what a crash left half-arrived, and asks the store whether it would have us.
    pub async fn open(settings: &ObjectSettings, metrics: StorageMetrics) -> Result<Self, StorageError> {
        let bucket = settings.url.bucket(metrics)?;
        settings.url.check_credentials().await?;
        Self::with_bucket(bucket, settings).await
    }

    /// Does the same with a given client.
    pub(super) async fn with_bucket(bucket: Bucket, settings: &ObjectSettings) -> Result<Self, StorageError> {
        let bucket = Arc::new(bucket);
        connect::greet(&bucket, &settings.url.url).await?;
        let owned = settings.clone();
        blocking(move || Self::prepare(bucket, &owned)).await
    }

    fn prepare(bucket: Arc<Bucket>, settings: &ObjectSettings) -> Result<Self, StorageError> {
        let staging = settings.data_dir.join("staging");
        let failed = |source| StorageError::from_io(format!("open {}", staging.display()), source);
        create_folder(&staging).map_err(failed)?;
        let lock = local::lock(&staging)?;
        let mut left_over = Vec::new();
        for entry in fs::read_dir(&staging).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            if upload::is_note(&path) {
                left_over.push(path);
            } else if path.file_name().is_some_and(|name| name != local::LOCK) {
                fs::remove_file(path).map_err(failed)?;
            }
        }
        let open = OpenBlobs::new();
        let downloads = if settings.node_cache_bytes == 0 {
            None
        } else {
            let folder = settings.data_dir.join("node-cache");
            let cache = NodeCache::open(&folder, settings.node_cache_bytes, bucket.metrics().clone())
                .map_err(|source| StorageError::from_io(format!("open {}", folder.display()), source))?;
            Some(Downloads::new(Arc::clone(&bucket), Arc::new(cache), open.clone(), staging.clone()))
        };
        Ok(Self {
            uploads: Uploads::new(Arc::clone(&bucket), staging.clone(), left_over),
            downloads,
            pieces: Pieces::new(Arc::clone(&bucket)),
            open,
            staging,
            redirect: settings.redirect,
            probe: bucket.below(&["probe", &Uuid::now_v7().to_string()]),
            began: Instant::now(),
            probe_at: AtomicU64::new(0),
            tidy_at: AtomicU64::new(0),
            bucket,
            _lock: lock,
        })
    }

    /// Checks whether a store of this data directory has uploads that are neither completed nor aborted yet.
    pub fn has_left_over(data_dir: &Path) -> bool {
        let notes = fs::read_dir(data_dir.join("staging"));
        notes.is_ok_and(|mut notes| notes.any(|entry| entry.is_ok_and(|entry| upload::is_note(&entry.path()))))
    }

    fn cache(&self) -> Option<&Arc<NodeCache>> {
        self.downloads.as_ref().map(|downloads| &downloads.cache)
    }

    /// Looks into the node cache.
    async fn cached(&self, digest: &Digest) -> Option<Arc<StoredBlob>> {
        let (cache, digest) = (Arc::clone(self.cache()?), *digest);
        let found =
            blocking(move || cache.get(&digest).map_err(|source| StorageError::from_io("read the node cache", source)));
        let found = found.await.unwrap_or_else(|error| {
            // The bucket has it too.
            tracing::warn!(blob.digest = %digest, %error, "the node cache failed");
            None
        });
        self.bucket.metrics().looked_up(found.is_some());
        found
    }

    /// Fetches small content, whole.
    async fn fetch_small(&self, found: &StoredFile) -> Result<Option<Arc<StoredBlob>>, StorageError> {
        let digest = &found.digest;
        let content =
            if found.size == 0 { Some(Bytes::new()) } else { self.bucket.range(digest, 0..found.size).await? };
        let Some(content) = content else { return Ok(None) };
        if Digest::of(digest.algorithm(), &content) != *digest {
            tracing::error!(blob.digest = %digest, "the bucket holds something else under this digest; it is put aside");
            quarantine::put_aside(&self.bucket, digest).await?;
            return Ok(None);
        }
        let staged = self.stage(Some(found.size)).await?;
        let (writer, body) = (Arc::clone(&staged), content.clone());
        blocking(move || writer.write_at(&body, 0)).await?;
        self.keep_in_cache(&staged, digest, found.size, found.stored_at).await;
        blob(digest, found.size, Content::Memory(content)).map(Some)
    }

    /// Makes a staged file an entry of the node cache, if there is one that takes it; false if not. That it fails costs
    /// later pulls a request to the bucket, and nobody anything else.
    async fn keep_in_cache(&self, staged: &Arc<StagedFile>, digest: &Digest, size: u64, stored_at: SystemTime) -> bool {
        let Some(cache) = self.cache().filter(|cache| cache.admits(size)) else { return false };
        let (cache, staged, digest) = (Arc::clone(cache), Arc::clone(staged), *digest);
        let kept = blocking(move || {
            let failed = |source| StorageError::from_io("keep a blob in the node cache", source);
            cache.keep(&staged, &digest, size, stored_at).map_err(failed)
        });
        match kept.await {
            Ok(gone) => {
                gone.iter().for_each(|digest| self.open.forget(digest));
                true
            }
            Err(error) => {
                tracing::warn!(blob.digest = %digest, %error, "a blob is not in the node cache");
                false
            }
        }
    }

    fn remote(&self, found: &StoredFile) -> Result<Arc<StoredBlob>, StorageError> {
        let downloads = self.downloads.clone().filter(|downloads| downloads.cache.admits(found.size));
        let remote = RemoteBlob::new(*found, Arc::clone(&self.pieces), downloads);
        blob(&found.digest, found.size, Content::Remote(remote))
    }

    /// Forgets a blob on this node.
    async fn forget(&self, digest: &Digest) -> Result<(), StorageError> {
        self.open.forget(digest);
        self.pieces.forget(digest);
        if let Some(cache) = self.cache() {
            let (cache, digest) = (Arc::clone(cache), *digest);
            blocking(move || {
                cache.remove(&digest);
                Ok(())
            })
            .await?;
            self.open.forget(&digest);
        }
        Ok(())
    }

    async fn tidy(&self) -> Result<(), StorageError> {
        let now = self.began.elapsed().as_secs();
        let due = self.tidy_at.load(Ordering::Relaxed);
        if now < due {
            return Ok(());
        }
        self.tidy_at.store(now + TIDY_EVERY.as_secs(), Ordering::Relaxed);
        self.uploads.abort_left_over().await;
        quarantine::tidy(&self.bucket).await
    }
}

fn blob(digest: &Digest, size: u64, content: Content) -> Result<Arc<StoredBlob>, StorageError> {
    StoredBlob::new(digest, size, content).map_err(|source| StorageError::from_io("open a blob", source))
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StorageError> + Send + 'static,
) -> Result<T, StorageError> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|error| Err(StorageError::from_io("blob store task", io::Error::other(error))))
}

#[async_trait]
impl BlobStore for ObjectBlobStore {
    async fn open(&self, digest: &Digest) -> Result<Option<Arc<StoredBlob>>, StorageError> {
        if let Some(blob) = self.opened(digest) {
            if !blob.is_unreadable() {
                return Ok(Some(blob));
            }
            // This node's copy; the bucket has it too.
            self.forget(digest).await?;
        }
        let found = match self.cached(digest).await {
            Some(blob) => Some(blob),
            None => match self.bucket.head(digest).await? {
                None => return Ok(None),
                Some(found) if found.size <= IN_MEMORY_BYTES => self.fetch_small(&found).await?,
                // Not remembered as open: another node may delete it, and this one would not hear of that.
                Some(found) => return self.remote(&found).map(Some),
            },
        };
        if let Some(blob) = &found
            && self.downloads.is_some()
        {
            self.open.insert(*digest, Arc::clone(blob));
        }
        Ok(found)
    }

    fn opened(&self, digest: &Digest) -> Option<Arc<StoredBlob>> {
        let blob = self.open.get(digest)?;
        if let Some(cache) = self.cache() {
            cache.touch(digest);
        }
        Some(blob)
    }

    async fn stage(&self, size: Option<u64>) -> Result<Arc<StagedFile>, StorageError> {
        let staging = self.staging.clone();
        blocking(move || {
            // Whoever deleted the data directory's folders meant no harm.
            create_folder(&staging).map_err(|source| StorageError::from_io("make the staging folder", source))?;
            StagedFile::create(staging.join(Uuid::now_v7().to_string()), size).map(Arc::new)
        })
        .await
    }

    async fn stage_upload(&self, digest: &Digest, size: Option<u64>) -> Result<Arc<StagedFile>, StorageError> {
        let staged = self.stage(size).await?;
        staged.uploaded_by(|file| self.uploads.begin(self.bucket.path(digest), file, size));
        Ok(staged)
    }

    async fn stage_copy(&self, size: Option<u64>) -> Result<Arc<StagedFile>, StorageError> {
        let staged = self.stage(size).await?;
        staged.be_copy();
        Ok(staged)
    }

    async fn commit(
        &self,
        staged: &Arc<StagedFile>,
        digest: &Digest,
        size: u64,
    ) -> Result<Arc<StoredBlob>, StorageError> {
        // Where no upload was begun, another node may have committed the same blob.
        let there = match staged.upload() {
            Some(_) => None,
            None if staged.is_copy() => self.bucket.await_other(digest, size).await?,
            None => self.bucket.head(digest).await?,
        };
        if there.is_none_or(|there| there.size != size) {
            self.uploads.finish(staged.upload(), self.bucket.path(digest), staged.file(), size).await?;
        }
        self.keep_in_cache(staged, digest, size, SystemTime::now()).await;
        if let Some(blob) = self.cached(digest).await {
            self.open.insert(*digest, Arc::clone(&blob));
            return Ok(blob);
        }
        self.remote(&StoredFile { digest: *digest, size, stored_at: SystemTime::now() })
    }

    async fn delete(&self, digest: &Digest) -> Result<(), StorageError> {
        self.forget(digest).await?;
        let deleted = self.bucket.delete(&self.bucket.path(digest)).await;
        // Whoever opened it in between must not keep it.
        self.forget(digest).await?;
        deleted
    }

    async fn forget_copy(&self, digest: &Digest) -> Result<(), StorageError> {
        self.forget(digest).await
    }

    fn is_elsewhere(&self) -> bool {
        true
    }

    async fn look(&self, digest: &Digest) -> Result<Option<StoredFile>, StorageError> {
        self.bucket.head(digest).await
    }

    async fn read(&self, digest: &Digest, offset: u64, len: usize) -> Result<Option<Bytes>, StorageError> {
        match self.bucket.range(digest, offset..offset.saturating_add(len as u64)).await {
            Ok(piece) => Ok(piece),
            // Stores refuse ranges that begin at the end.
            Err(error) => match self.bucket.head(digest).await? {
                Some(found) if offset >= found.size => Ok(Some(Bytes::new())),
                Some(_) => Err(error),
                None => Ok(None),
            },
        }
    }

    async fn list(&self, after: Option<&Digest>, limit: usize) -> Result<Vec<StoredFile>, StorageError> {
        self.bucket.list(after, limit).await
    }

    async fn quarantine(&self, digest: &Digest) -> Result<(), StorageError> {
        self.forget(digest).await?;
        let moved = quarantine::put_aside(&self.bucket, digest).await;
        self.forget(digest).await?;
        moved
    }

    async fn probe(&self) -> Result<DiskSpace, StorageError> {
        // A bucket has no size: nothing is purged for want of room in it.
        let space = DiskSpace { total_bytes: 0, available_bytes: 0 };
        let now = self.began.elapsed().as_secs();
        if now < self.probe_at.load(Ordering::Relaxed) {
            return Ok(space);
        }
        self.bucket.put(&self.probe, Bytes::from_static(b"roadstead")).await?;
        self.bucket.delete(&self.probe).await?;
        self.probe_at.store(now + PROBE_GOOD_FOR.as_secs(), Ordering::Relaxed);
        if let Err(error) = self.tidy().await {
            tracing::warn!(%error, "the object store could not be tidied");
        }
        Ok(space)
    }

    async fn redirect(&self, digest: &Digest) -> Result<Option<Url>, StorageError> {
        if !self.redirect || self.bucket.head(digest).await?.is_none() {
            return Ok(None);
        }
        self.bucket.signed(digest, REDIRECT_GOOD_FOR).await
    }

    fn redirects(&self) -> bool {
        self.redirect
    }
}
