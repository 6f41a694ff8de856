//! A file that is still arriving: one writer at its end, any number of readers behind it.

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use rustix::{
    fs::{FallocateFlags, fallocate, fstatvfs},
    io::Errno,
};

use super::{StorageError, file_view::FileView, object::Upload};

/// Room is reserved in steps of so many bytes.
const STEP_BYTES: u64 = 16 * 1024 * 1024;
/// The room that stays free on a disk, in bytes: a fiftieth of it, within these bounds, and never more than a twentieth.
const MIN_FLOOR_BYTES: u64 = 4 * 1024 * 1024;
const MAX_FLOOR_BYTES: u64 = 1024 * 1024 * 1024;

/// A staged file. Dropping it, unless it was committed, deletes it; readers that still hold pieces keep those.
/// An upload of it is aborted with it.
#[derive(Debug)]
pub struct StagedFile {
    path: PathBuf,
    file: Arc<File>,
    committed: AtomicBool,
    /// Up to where room on the disk is reserved.
    reserved: AtomicU64,
    /// The size that was announced, if one was.
    announced: Option<u64>,
    /// Takes the content along to an object store; ends with this file.
    upload: OnceLock<Upload>,
    /// Another node has the same content, and commits it to the same store.
    is_copy: AtomicBool,
}

impl StagedFile {
    /// Creates the file. Fails if there is clearly no room for `size` bytes; reserves it step by step as they arrive. Blocks.
    pub(super) fn create(path: PathBuf, size: Option<u64>) -> Result<Self, StorageError> {
        let failed = |source| StorageError::from_io(format!("stage {}", path.display()), source);
        let file = OpenOptions::new().read(true).write(true).create_new(true).open(&path).map_err(failed)?;
        let staged = Self {
            file: Arc::new(file),
            path: path.clone(),
            committed: AtomicBool::new(false),
            reserved: AtomicU64::new(0),
            announced: size,
            upload: OnceLock::new(),
            is_copy: AtomicBool::new(false),
        };
        match size {
            Some(0) => {}
            Some(size) => {
                if size > available(&staged.file).map_err(|errno| failed(errno.into()))? {
                    return Err(StorageError::Full);
                }
                staged.reserve_until(1).map_err(failed)?;
            }
            None => {}
        }
        Ok(staged)
    }

    /// Writes `piece` at `offset`. Blocks. Only after this may readers be told of these bytes.
    pub fn write_at(&self, piece: &[u8], offset: u64) -> Result<(), StorageError> {
        let failed = |source| StorageError::from_io(format!("write {}", self.path.display()), source);
        let end = offset + piece.len() as u64;
        self.reserve_until(end).map_err(failed)?;
        self.file.write_all_at(piece, offset).map_err(failed)?;
        if let Some(upload) = self.upload.get() {
            upload.written(end);
        }
        Ok(())
    }

    /// Reserves the room of the first `end` bytes, in steps: who only announces a large size takes no room from others. There is one
    /// writer, so that nobody else moves the mark meanwhile.
    fn reserve_until(&self, end: u64) -> io::Result<()> {
        let reserved = self.reserved.load(Ordering::Relaxed);
        if end <= reserved {
            return Ok(());
        }
        let next = end.next_multiple_of(STEP_BYTES);
        let next = self.announced.map_or(next, |size| next.min(size.max(end)));
        reserve(&self.file, reserved, next - reserved)?;
        self.reserved.store(next, Ordering::Relaxed);
        Ok(())
    }

    /// Uploads the content from now on, as it is written: from its first byte to its last, in order.
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
        FileView::new(Arc::clone(&self.file)).ready(offset, end)
    }

    /// The next piece of `offset..end`, read off the async threads. All of it must have been written.
    pub async fn load(&self, offset: u64, end: u64) -> io::Result<Bytes> {
        FileView::new(Arc::clone(&self.file)).load(offset, end).await
    }

    /// Makes the first `size` bytes durable under `target`, atomically. Blocks.
    pub(super) fn publish(&self, target: &Path, size: u64) -> io::Result<Arc<File>> {
        // Gives back room that was reserved and never written.
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

/// The room that blobs may take of what is left on the disk, in bytes: a floor stays free, for the database that may be beside them.
fn available(file: &File) -> Result<u64, Errno> {
    let disk = fstatvfs(file)?;
    let total = disk.f_blocks.saturating_mul(disk.f_frsize);
    let floor = (total / 50).clamp(MIN_FLOOR_BYTES, MAX_FLOOR_BYTES).min(total / 20);
    Ok(disk.f_bavail.saturating_mul(disk.f_frsize).saturating_sub(floor))
}

/// Reserves room for `len` bytes. If the space is clearly too small, nothing is tried: ext4 takes all that is left before it
/// gives up, and for that moment every other write on the disk would fail.
fn reserve(file: &File, offset: u64, len: u64) -> Result<(), Errno> {
    if len > available(file)? {
        return Err(Errno::NOSPC);
    }
    match fallocate(file, FallocateFlags::KEEP_SIZE, offset, len) {
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
