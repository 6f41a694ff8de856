//! Copying one blob store to another: resumable, because what is there in the right size is left alone, and never trusting,
//! because every byte is hashed on its way.

use std::{
    fs,
    path::PathBuf,
    sync::Arc,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use futures_util::{StreamExt as _, stream};
use prometheus_client::registry::Registry;
use roadstead_proto::{Digest, DigestHasher};

use crate::{
    config::StorageUrl,
    storage::{BlobStore, LocalStore, ObjectBlobStore, ObjectSettings, StorageError, StorageMetrics, StoredFile},
};

/// Blobs looked up at a time in the source.
const PAGE: usize = 1000;
/// Bytes read at a time.
const PIECE_BYTES: usize = 4 * 1024 * 1024;

/// Longest wait until the uploads of an interrupted copy are aborted, and the interval of the looks.
const SETTLE_TIME: Duration = Duration::from_secs(15);
const SETTLE_PAUSE: Duration = Duration::from_millis(50);

/// The source, the target and the options of a copy.
#[derive(Clone, Debug)]
pub struct StoreCopy {
    /// The store to read. A local folder may be in use by a node.
    pub from: StorageUrl,
    /// The store to write. A local folder must not be in use.
    pub to: StorageUrl,
    /// A folder with room for as many blobs as are copied at a time, where `to` is an object store: the same one for each
    /// run, so that a run cleans up what the last one could not.
    pub staging: PathBuf,
    /// Blobs copied at a time; at least one.
    pub jobs: usize,
}

/// The progress of a copy, and in the end its result.
#[derive(Debug, Default)]
pub struct CopyProgress {
    /// Blobs and bytes of the source, once they are counted.
    pub total: Count,
    /// Copied.
    pub copied: Count,
    /// There already.
    pub skipped: Count,
    /// Not copied, because their bytes are not what they are called or are gone.
    pub damaged: Count,
}

/// Blobs and their bytes.
#[derive(Debug, Default)]
pub struct Count {
    /// Blobs.
    pub blobs: AtomicU64,
    /// Bytes.
    pub bytes: AtomicU64,
}

impl Count {
    fn add(&self, bytes: u64) {
        self.blobs.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Blobs and bytes as they are now.
    pub fn get(&self) -> (u64, u64) {
        (self.blobs.load(Ordering::Relaxed), self.bytes.load(Ordering::Relaxed))
    }
}

/// A copy had to stop; what was copied stays and is skipped the next time.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// The store that is read fails.
    #[error("--from: {0}")]
    From(StorageError),
    /// The store that is written fails.
    #[error("--to: {0}")]
    To(StorageError),
}

impl StoreCopy {
    /// Copies everything; `progress` can be looked at meanwhile. `damaged` tells of each blob that was left out.
    pub async fn run(&self, progress: &CopyProgress, damaged: &dyn Fn(&Digest, &str)) -> Result<(), CopyError> {
        let from = self.source().await.map_err(CopyError::From)?;
        let to = self.target().await.map_err(CopyError::To)?;
        // Shows that it can be written, and aborts what an earlier run had begun to upload.
        to.probe().await.map_err(CopyError::To)?;
        let mut after = None;
        while let Some(last) = each_page(&*from, after.as_ref(), |file| progress.total.add(file.size)).await? {
            after = Some(last);
        }
        let mut after = None;
        loop {
            let page = from.list(after.as_ref(), PAGE).await.map_err(CopyError::From)?;
            let Some(last) = page.last() else { return Ok(()) };
            after = Some(last.digest);
            let mut copies = stream::iter(page)
                .map(|file| copy(Arc::clone(&from), Arc::clone(&to), file))
                .buffer_unordered(self.jobs.max(1));
            while let Some((file, outcome)) = copies.next().await {
                match outcome? {
                    Outcome::Copied => progress.copied.add(file.size),
                    Outcome::Skipped => progress.skipped.add(file.size),
                    Outcome::Damaged(why) => {
                        progress.damaged.add(file.size);
                        damaged(&file.digest, why);
                    }
                }
            }
        }
    }

    /// To be called after `run` has ended or was dropped: waits until what it had begun to upload is aborted, and removes
    /// the staging folder. Uploads that cannot be aborted now are noted there, for the next run; then it stays.
    pub async fn settle(&self) {
        let is_settled = || ["from", "to"].iter().all(|side| !ObjectBlobStore::has_left_over(&self.staging.join(side)));
        let settled = async {
            loop {
                tokio::time::sleep(SETTLE_PAUSE).await;
                if is_settled() {
                    break;
                }
            }
        };
        if tokio::time::timeout(SETTLE_TIME, settled).await.is_ok() {
            // It may be that there is none: nothing is staged on the way to a local disk.
            let _ = fs::remove_dir_all(&self.staging);
        }
    }

    async fn source(&self) -> Result<Arc<dyn BlobStore>, StorageError> {
        match &self.from {
            StorageUrl::Local(path) => Ok(Arc::new(LocalStore::open_beside_its_user(path)?)),
            StorageUrl::Object(_) => self.object(&self.from, "from").await,
        }
    }

    async fn target(&self) -> Result<Arc<dyn BlobStore>, StorageError> {
        match &self.to {
            StorageUrl::Local(path) => Ok(Arc::new(LocalStore::open(path)?)),
            StorageUrl::Object(_) => self.object(&self.to, "to").await,
        }
    }

    async fn object(&self, url: &StorageUrl, side: &str) -> Result<Arc<dyn BlobStore>, StorageError> {
        let StorageUrl::Object(url) = url else {
            return Err(StorageError::Settings("no object store".to_owned()));
        };
        let data_dir = self.staging.join(side);
        let settings = ObjectSettings { url: url.clone(), data_dir, node_cache_bytes: 0, redirect: false };
        let store = ObjectBlobStore::open(&settings, StorageMetrics::register(&mut Registry::default())).await?;
        Ok(Arc::new(store))
    }
}

/// Looks at a page of the source; answers where to go on.
async fn each_page(
    from: &dyn BlobStore,
    after: Option<&Digest>,
    mut look: impl FnMut(&StoredFile),
) -> Result<Option<Digest>, CopyError> {
    let page = from.list(after, PAGE).await.map_err(CopyError::From)?;
    page.iter().for_each(&mut look);
    Ok(page.last().map(|file| file.digest))
}

enum Outcome {
    Copied,
    Skipped,
    Damaged(&'static str),
}

async fn copy(
    from: Arc<dyn BlobStore>,
    to: Arc<dyn BlobStore>,
    file: StoredFile,
) -> (StoredFile, Result<Outcome, CopyError>) {
    let outcome = copy_one(&*from, &*to, &file).await;
    (file, outcome)
}

async fn copy_one(from: &dyn BlobStore, to: &dyn BlobStore, file: &StoredFile) -> Result<Outcome, CopyError> {
    match to.look(&file.digest).await.map_err(CopyError::To)? {
        Some(there) if there.size == file.size => return Ok(Outcome::Skipped),
        // Short or long: out of the way, so that what is right takes its place.
        Some(_) => to.quarantine(&file.digest).await.map_err(CopyError::To)?,
        None => {}
    }
    let staged = to.stage_upload(&file.digest, Some(file.size)).await.map_err(CopyError::To)?;
    let mut hasher = DigestHasher::new(file.digest.algorithm());
    let mut offset = 0;
    loop {
        let piece = match from.read(&file.digest, offset, PIECE_BYTES).await {
            Ok(Some(piece)) => piece,
            Ok(None) => return Ok(Outcome::Damaged("it has gone meanwhile")),
            Err(error) => return Err(CopyError::From(error)),
        };
        if piece.is_empty() {
            break;
        }
        staged.write_at(&piece, offset).map_err(CopyError::To)?;
        hasher.update(&piece);
        offset += piece.len() as u64;
    }
    if hasher.finish() != file.digest {
        return Ok(Outcome::Damaged("its bytes do not hash to its digest"));
    }
    to.commit(&staged, &file.digest, offset).await.map_err(CopyError::To)?;
    Ok(Outcome::Copied)
}

#[cfg(test)]
mod tests;
