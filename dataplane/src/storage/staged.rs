//! A file that is still arriving: one writer at its end, any number of readers behind it.

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
};

use arc_swap::ArcSwap;
use bytes::Bytes;
use rustix::{
    fs::{FallocateFlags, fallocate, fstatvfs},
    io::Errno,
};

use super::{StorageError, mapping::Mapping, object::Upload};

/// First room for content of unknown size; it doubles as needed. Files are sparse, so room not used costs nothing.
const FIRST_ROOM_BYTES: u64 = 4 * 1024 * 1024;

/// A staged file. Dropping it, unless it was committed, deletes it; readers that still hold pieces keep those.
/// It is never made shorter while it is staged, so that readers' pieces stay good. An upload of it is aborted with it.
#[derive(Debug)]
pub struct StagedFile {
    path: PathBuf,
    file: Arc<File>,
    mapping: ArcSwap<Mapping>,
    committed: AtomicBool,
    /// Takes the content along to an object store; ends with this file.
    upload: OnceLock<Upload>,
    /// Another node has the same content, and commits it to the same store.
    is_copy: AtomicBool,
}

impl StagedFile {
    /// Creates the file and reserves room for `size` bytes. Blocks.
    pub(super) fn create(path: PathBuf, size: Option<u64>) -> Result<Self, StorageError> {
        let failed = |source| StorageError::from_io(format!("stage {}", path.display()), source);
        let file = OpenOptions::new().read(true).write(true).create_new(true).open(&path).map_err(failed)?;
        let staged = Self {
            mapping: ArcSwap::from_pointee(
                Mapping::new(Arc::new(file.try_clone().map_err(failed)?), 0).map_err(failed)?,
            ),
            file: Arc::new(file),
            path: path.clone(),
            committed: AtomicBool::new(false),
            upload: OnceLock::new(),
            is_copy: AtomicBool::new(false),
        };
        match size {
            Some(0) => {}
            Some(size) => {
                reserve(&staged.file, size).map_err(|errno| failed(errno.into()))?;
                staged.make_room(size).map_err(failed)?;
            }
            None => staged.make_room(FIRST_ROOM_BYTES).map_err(failed)?,
        }
        Ok(staged)
    }

    fn make_room(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)?;
        self.mapping.store(Arc::new(Mapping::new(Arc::clone(&self.file), len)?));
        Ok(())
    }

    /// Writes `piece` at `offset`. Blocks. Only after this may readers be told of these bytes.
    pub fn write_at(&self, piece: &[u8], offset: u64) -> Result<(), StorageError> {
        let failed = |source| StorageError::from_io(format!("write {}", self.path.display()), source);
        let end = offset + piece.len() as u64;
        let room = self.mapping.load().len();
        if end > room {
            self.make_room(end.max(room.saturating_mul(2))).map_err(failed)?;
        }
        self.file.write_all_at(piece, offset).map_err(failed)?;
        if let Some(upload) = self.upload.get() {
            upload.written(end);
        }
        Ok(())
    }

    /// Has the content uploaded from now on, as it is written: from its first byte to its last, in order.
    pub(super) fn uploaded_by(&self, begin: impl FnOnce(Arc<File>) -> Upload) {
        self.upload.get_or_init(|| begin(Arc::clone(&self.file)));
    }

    /// The upload, if there is one.
    pub(super) fn upload(&self) -> Option<&Upload> {
        self.upload.get()
    }

    /// Notes that another node commits the same.
    pub(super) fn be_copy(&self) {
        self.is_copy.store(true, Ordering::Relaxed);
    }

    /// True if another node commits the same.
    pub(super) fn is_copy(&self) -> bool {
        self.is_copy.load(Ordering::Relaxed)
    }

    /// The file itself, which outlives its name.
    pub(super) fn file(&self) -> Arc<File> {
        Arc::clone(&self.file)
    }

    /// The next piece of `offset..end`, if it is in the page cache. All of it must have been written.
    pub fn ready(&self, offset: u64, end: u64) -> Option<Bytes> {
        self.mapping.load().ready(offset, end)
    }

    /// The next piece of `offset..end`, read off the async threads. All of it must have been written.
    pub async fn load(&self, offset: u64, end: u64) -> io::Result<Bytes> {
        self.mapping.load_full().load(offset, end).await
    }

    /// Makes the first `size` bytes durable under `target`, atomically. Blocks.
    pub(super) fn publish(&self, target: &Path, size: u64) -> io::Result<Arc<File>> {
        // Cuts off room that was never written and so never handed to a reader.
        self.file.set_len(size)?;
        self.file.sync_all()?;
        fs::rename(&self.path, target)?;
        self.committed.store(true, Ordering::Release);
        crate::failpoint::reached("store_renamed");
        if let Some(folder) = target.parent() {
            File::open(folder)?.sync_all()?;
        }
        Ok(Arc::clone(&self.file))
    }
}

/// Reserves room for `size` bytes. If the space is clearly too small, nothing is tried: ext4 takes all that is left before
/// it gives up, and for that moment every other write on the disk would fail.
fn reserve(file: &File, size: u64) -> Result<(), Errno> {
    let disk = fstatvfs(file)?;
    if size > disk.f_bavail.saturating_mul(disk.f_frsize) {
        return Err(Errno::NOSPC);
    }
    match fallocate(file, FallocateFlags::empty(), 0, size) {
        // Not every file system can reserve room; then a full disk shows at the write.
        Err(Errno::OPNOTSUPP | Errno::NOSYS) => Ok(()),
        other => other,
    }
}

impl Drop for StagedFile {
    fn drop(&mut self) {
        if !self.committed.load(Ordering::Acquire)
            && let Err(error) = fs::remove_file(&self.path)
        {
            tracing::warn!(path = %self.path.display(), %error, "a staged file could not be removed");
        }
    }
}
