//! Blobs on a local disk: `ROOT/sha256/ab/abcd…`, what is still arriving in `ROOT/staging/`, what was found damaged in
//! `ROOT/quarantine/`.

pub mod scan;

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read},
    os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::Arc,
};

use async_trait::async_trait;
use bytes::Bytes;
use roadstead_proto::{Algorithm, Digest};
use uuid::Uuid;

use super::{
    BlobStore, Content, DiskSpace, StagedFile, StorageError, StoredBlob, StoredFile, file_view::FileView,
    open_blobs::OpenBlobs,
};

/// Largest blob that is kept in memory while hot, in bytes: manifests, configs and the smallest layers.
pub(super) const IN_MEMORY_BYTES: u64 = 64 * 1024;

/// The file that says that a folder is in use.
pub(super) const LOCK: &str = "lock";

/// A folder of blobs, used by one process at a time.
pub struct LocalStore {
    disk: Arc<Disk>,
    open: OpenBlobs,
}

/// The blocking part.
struct Disk {
    root: PathBuf,
    /// Held locked for as long as the store is used; `None` where it is only read.
    _lock: Option<File>,
}

impl LocalStore {
    /// Opens the folder, creating it (0700) where it is missing, and deletes what a crash left half-arrived.
    pub fn open(root: &Path) -> Result<Self, StorageError> {
        let failed = |source| StorageError::from_io(format!("open blob store {}", root.display()), source);
        create_folder(root).map_err(failed)?;
        for algorithm in [Algorithm::Sha256, Algorithm::Sha512] {
            create_folder(&root.join(algorithm.name())).map_err(failed)?;
        }
        let lock = lock(root)?;
        let staging = root.join("staging");
        create_folder(&staging).map_err(failed)?;
        for entry in fs::read_dir(&staging).map_err(failed)? {
            fs::remove_file(entry.map_err(failed)?.path()).map_err(failed)?;
        }
        Ok(Self { disk: Arc::new(Disk { root: root.to_owned(), _lock: Some(lock) }), open: OpenBlobs::new() })
    }

    /// Opens a folder only to read what is committed there, whether or not a node uses it; nothing is made or deleted.
    pub fn open_beside_its_user(root: &Path) -> Result<Self, StorageError> {
        let failed = |source| StorageError::from_io(format!("open blob store {}", root.display()), source);
        fs::read_dir(root).map_err(failed)?;
        Ok(Self { disk: Arc::new(Disk { root: root.to_owned(), _lock: None }), open: OpenBlobs::new() })
    }

    /// Runs `work` where blocking is allowed.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Disk) -> Result<T, StorageError> + Send + 'static,
    ) -> Result<T, StorageError> {
        let disk = Arc::clone(&self.disk);
        tokio::task::spawn_blocking(move || work(&disk))
            .await
            .unwrap_or_else(|error| Err(StorageError::from_io("blob store task", io::Error::other(error))))
    }
}

/// Takes a folder for this process, for as long as the file is open.
pub(super) fn lock(folder: &Path) -> Result<File, StorageError> {
    let failed = |source| StorageError::from_io(format!("lock {}", folder.display()), source);
    let path = folder.join(LOCK);
    OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(&path).map_err(failed)?;
    // Held for reading only, so that it does not keep anybody from making the file system read-only.
    let file = File::open(&path).map_err(failed)?;
    if file.try_lock().is_err() {
        return Err(StorageError::InUse(folder.display().to_string()));
    }
    Ok(file)
}

/// Returns the path of a blob, in a folder of blobs.
pub(super) fn path_below(root: &Path, digest: &Digest) -> PathBuf {
    let hex = digest.hex();
    root.join(digest.algorithm().name()).join(&hex[..2]).join(&hex)
}

/// Opens the file of a blob; `None` if it does not exist. Blocks.
pub(super) fn open_blob(path: &Path, digest: &Digest) -> io::Result<Option<Arc<StoredBlob>>> {
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let metadata = file.metadata()?;
    let size = metadata.len();
    let content = if size <= IN_MEMORY_BYTES {
        let mut bytes = Vec::with_capacity(size as usize);
        file.read_to_end(&mut bytes)?;
        if bytes.len() as u64 != size {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Content::Memory(bytes.into())
    } else {
        Content::File(FileView::new(Arc::new(file)))
    };
    StoredBlob::new(digest, size, content).map(Some)
}

pub(super) fn create_folder(path: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

impl Disk {
    fn path(&self, digest: &Digest) -> PathBuf {
        path_below(&self.root, digest)
    }

    fn open(&self, digest: &Digest) -> io::Result<Option<Arc<StoredBlob>>> {
        open_blob(&self.path(digest), digest)
    }

    fn commit(&self, staged: &StagedFile, digest: &Digest, size: u64) -> io::Result<()> {
        let target = self.path(digest);
        if let Some(folder) = target.parent()
            && !folder.exists()
        {
            create_folder(folder)?;
            folder.parent().map_or(Ok(()), |above| File::open(above)?.sync_all())?;
        }
        staged.publish(&target, size).map(drop)
    }
}

#[async_trait]
impl BlobStore for LocalStore {
    async fn open(&self, digest: &Digest) -> Result<Option<Arc<StoredBlob>>, StorageError> {
        if let Some(blob) = self.open.get(digest) {
            if !blob.is_unreadable() {
                return Ok(Some(blob));
            }
            self.open.forget(digest);
            return Err(StorageError::from_read(
                format!("read blob {digest}"),
                io::Error::from_raw_os_error(libc::EIO),
            ));
        }
        let digest = *digest;
        let blob = self
            .blocking(move |disk| {
                disk.open(&digest).map_err(|source| StorageError::from_read(format!("open blob {digest}"), source))
            })
            .await?;
        if let Some(blob) = &blob {
            self.open.insert(digest, Arc::clone(blob));
        }
        Ok(blob)
    }

    fn opened(&self, digest: &Digest) -> Option<Arc<StoredBlob>> {
        self.open.get(digest).filter(|blob| !blob.is_unreadable())
    }

    async fn stage(&self, size: Option<u64>) -> Result<Arc<StagedFile>, StorageError> {
        self.blocking(move |disk| {
            let path = disk.root.join("staging").join(Uuid::now_v7().to_string());
            StagedFile::create(path, size).map(Arc::new)
        })
        .await
    }

    async fn commit(
        &self,
        staged: &Arc<StagedFile>,
        digest: &Digest,
        size: u64,
    ) -> Result<Arc<StoredBlob>, StorageError> {
        let (staged, digest) = (Arc::clone(staged), *digest);
        let blob = self
            .blocking(move |disk| {
                let failed = |source| StorageError::from_io(format!("commit blob {digest}"), source);
                disk.commit(&staged, &digest, size).map_err(failed)?;
                disk.open(&digest).map_err(failed)?.ok_or_else(|| failed(io::ErrorKind::NotFound.into()))
            })
            .await?;
        self.open.insert(digest, Arc::clone(&blob));
        Ok(blob)
    }

    async fn delete(&self, digest: &Digest) -> Result<(), StorageError> {
        let digest = *digest;
        self.open.forget(&digest);
        let deleted = self
            .blocking(move |disk| match fs::remove_file(disk.path(&digest)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    Err(StorageError::from_io(format!("delete blob {digest}"), error))
                }
                _ => Ok(()),
            })
            .await;
        // Whoever opened it in between must not keep it remembered.
        self.open.forget(&digest);
        deleted
    }

    async fn look(&self, digest: &Digest) -> Result<Option<StoredFile>, StorageError> {
        let digest = *digest;
        self.blocking(move |disk| {
            let failed = |source| StorageError::from_io(format!("look up blob {digest}"), source);
            match fs::metadata(disk.path(&digest)) {
                Ok(metadata) => {
                    let stored_at = metadata.modified().map_err(failed)?;
                    Ok(Some(StoredFile { digest, size: metadata.len(), stored_at }))
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
                Err(error) => Err(failed(error)),
            }
        })
        .await
    }

    async fn read(&self, digest: &Digest, offset: u64, len: usize) -> Result<Option<Bytes>, StorageError> {
        let digest = *digest;
        self.blocking(move |disk| {
            let failed = |source| StorageError::from_read(format!("read blob {digest}"), source);
            let file = match File::open(disk.path(&digest)) {
                Ok(file) => file,
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
                Err(error) => return Err(failed(error)),
            };
            let (mut piece, mut filled) = (vec![0; len], 0);
            while filled < len {
                match file.read_at(&mut piece[filled..], offset + filled as u64).map_err(failed)? {
                    0 => break,
                    read => filled += read,
                }
            }
            piece.truncate(filled);
            Ok(Some(piece.into()))
        })
        .await
    }

    async fn list(&self, after: Option<&Digest>, limit: usize) -> Result<Vec<StoredFile>, StorageError> {
        let after = after.copied();
        self.blocking(move |disk| {
            let failed = |source| StorageError::from_io(format!("list {}", disk.root.display()), source);
            if after.is_none() {
                scan::tidy_quarantine(&disk.root).map_err(failed)?;
            }
            scan::list(&disk.root, after.as_ref(), limit).map_err(failed)
        })
        .await
    }

    async fn quarantine(&self, digest: &Digest) -> Result<(), StorageError> {
        let digest = *digest;
        self.open.forget(&digest);
        let moved = self
            .blocking(move |disk| {
                scan::quarantine(&disk.root, &disk.path(&digest), &digest)
                    .map_err(|source| StorageError::from_io(format!("put blob {digest} aside"), source))
            })
            .await;
        // Whoever opened it in between must not keep it remembered.
        self.open.forget(&digest);
        moved
    }

    async fn probe(&self) -> Result<DiskSpace, StorageError> {
        self.blocking(|disk| {
            let failed = |source| StorageError::from_io(format!("probe {}", disk.root.display()), source);
            let path = disk.root.join("staging").join(format!("probe-{}", Uuid::now_v7()));
            File::create_new(&path).map_err(failed)?;
            fs::remove_file(&path).map_err(failed)?;
            let stat = rustix::fs::statvfs(&disk.root).map_err(|errno| failed(errno.into()))?;
            Ok(DiskSpace {
                total_bytes: stat.f_blocks.saturating_mul(stat.f_frsize),
                available_bytes: stat.f_bavail.saturating_mul(stat.f_frsize),
            })
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    };

    use super::*;

    fn digest(content: &[u8]) -> Digest {
        Digest::of(Algorithm::Sha256, content)
    }

    async fn put(store: &LocalStore, content: &[u8]) -> Digest {
        let staged = store.stage(Some(content.len() as u64)).await.unwrap();
        staged.write_at(content, 0).unwrap();
        store.commit(&staged, &digest(content), content.len() as u64).await.unwrap();
        digest(content)
    }

    #[tokio::test]
    async fn a_blob_is_invisible_until_committed_and_whole_after() {
        let folder = tempfile::tempdir().unwrap();
        let store = LocalStore::open(folder.path()).unwrap();
        for content in [vec![], vec![7; 10], vec![9; 9 * 1024 * 1024 + 17]] {
            let staged = store.stage(None).await.unwrap();
            staged.write_at(&content, 0).unwrap();
            assert!(store.open(&digest(&content)).await.unwrap().is_none());
            store.commit(&staged, &digest(&content), content.len() as u64).await.unwrap();
            drop(staged);
            let blob = store.open(&digest(&content)).await.unwrap().expect("committed");
            assert_eq!(blob.read_all().await.unwrap(), content);
        }
        assert_eq!(fs::read_dir(folder.path().join("staging")).unwrap().count(), 0);
    }

    #[tokio::test]
    async fn what_was_half_arrived_is_gone_after_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let store = LocalStore::open(folder.path()).unwrap();
        let kept = put(&store, b"kept").await;
        let staged = store.stage(Some(100)).await.unwrap();
        staged.write_at(b"half", 0).unwrap();
        // A crash runs no destructor.
        std::mem::forget(staged);
        drop(store);
        let store = LocalStore::open(folder.path()).unwrap();
        assert_eq!(fs::read_dir(folder.path().join("staging")).unwrap().count(), 0);
        assert!(store.open(&kept).await.unwrap().is_some());
    }

    #[tokio::test]
    async fn a_folder_serves_one_process_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let _first = LocalStore::open(folder.path()).unwrap();
        assert!(matches!(LocalStore::open(folder.path()), Err(StorageError::InUse(_))));
    }

    #[tokio::test]
    async fn readers_finish_a_blob_that_is_deleted() {
        let folder = tempfile::tempdir().unwrap();
        let store = LocalStore::open(folder.path()).unwrap();
        let content = vec![3; 200_000];
        let digest = put(&store, &content).await;
        let open = store.open(&digest).await.unwrap().unwrap();
        store.delete(&digest).await.unwrap();
        store.delete(&digest).await.unwrap();
        assert!(store.open(&digest).await.unwrap().is_none());
        assert_eq!(open.read_all().await.unwrap(), content);
    }

    #[tokio::test]
    async fn a_damaged_blob_is_out_of_sight_and_can_be_stored_again() {
        let folder = tempfile::tempdir().unwrap();
        let store = LocalStore::open(folder.path()).unwrap();
        let content = vec![3; 200_000];
        let digest = put(&store, &content).await;
        let open = store.open(&digest).await.unwrap().unwrap();
        store.quarantine(&digest).await.unwrap();
        store.quarantine(&digest).await.unwrap();
        assert!(store.open(&digest).await.unwrap().is_none() && store.look(&digest).await.unwrap().is_none());
        assert!(store.read(&digest, 0, 10).await.unwrap().is_none());
        assert!(store.list(None, 10).await.unwrap().is_empty());
        assert_eq!(open.read_all().await.unwrap(), content);
        put(&store, &content).await;
        let listed = store.list(None, 10).await.unwrap();
        assert_eq!((listed[0].digest, listed[0].size, listed.len()), (digest, 200_000, 1));
        assert_eq!(store.look(&digest).await.unwrap(), Some(listed[0]));
        assert_eq!(store.read(&digest, 150_000, 100_000).await.unwrap().unwrap(), content[150_000..]);
        assert!(store.read(&digest, 200_000, 10).await.unwrap().unwrap().is_empty());
        assert!(store.list(Some(&digest), 10).await.unwrap().is_empty());
    }

    #[tokio::test]
    async fn a_staged_file_of_unknown_size_grows_under_its_readers() {
        let folder = tempfile::tempdir().unwrap();
        let store = LocalStore::open(folder.path()).unwrap();
        let staged = store.stage(None).await.unwrap();
        let piece = vec![5; 3 * 1024 * 1024];
        staged.write_at(&piece, 0).unwrap();
        let early = staged.ready(0, 100).unwrap();
        for turn in 1..6 {
            staged.write_at(&piece, turn * piece.len() as u64).unwrap();
        }
        assert_eq!(staged.load(5 * piece.len() as u64, 5 * piece.len() as u64 + 4).await.unwrap(), [5; 4].as_slice());
        assert_eq!(early, vec![5; 100]);
    }

    #[tokio::test]
    async fn more_than_the_disk_holds_is_full_at_once_and_takes_no_room_from_others() {
        let folder = tempfile::tempdir().unwrap();
        let other = folder.path().join("other");
        let store = LocalStore::open(folder.path()).unwrap();
        let space = store.probe().await.unwrap();
        let done = Arc::new(AtomicBool::new(false));
        let (started, begin) = std::sync::mpsc::channel();
        let writer = std::thread::spawn({
            let done = Arc::clone(&done);
            move || {
                while !done.load(Ordering::Relaxed) {
                    fs::write(&other, [5; 100_000]).unwrap();
                    started.send(()).unwrap();
                }
            }
        });
        begin.recv().unwrap();
        for _ in 0..5 {
            assert!(matches!(store.stage(Some(space.total_bytes * 2)).await, Err(StorageError::Full)));
        }
        done.store(true, Ordering::Relaxed);
        writer.join().unwrap();
        assert_eq!(fs::read_dir(folder.path().join("staging")).unwrap().count(), 0);
    }
}
