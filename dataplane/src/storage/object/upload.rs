//! A staged file's way into the bucket, begun while the file is still arriving.
//!
//! Full parts go up as they become complete, a few at a time; small content goes up whole at the end. Nothing is
//! visible before [`Upload::complete`], which the caller asks for once the digest is right. An upload that is dropped
//! is aborted; one that a crash leaves behind is noted in the staging folder and aborted at the next start.

use std::{
    fs::{self, File},
    io,
    os::unix::fs::FileExt,
    path::PathBuf,
    sync::Arc,
};

use bytes::Bytes;
use object_store::{multipart::PartId, path::Path};
use parking_lot::{Mutex, MutexGuard};
use tokio::{
    sync::{Semaphore, watch},
    task::{JoinHandle, JoinSet},
};
use uuid::Uuid;

use super::bucket::{Bucket, Multipart};
use crate::storage::StorageError;

/// Size of a part, in bytes, of content up to 10,000 parts (S3's bound); parts of larger content are larger.
const PART_BYTES: u64 = 8 * 1024 * 1024;
/// Most parts of one upload, by S3's rules; a little is left for sizes that were told wrong.
const MOST_PARTS: u64 = 9_500;
/// Parts of one upload under way at a time.
const PARTS_AT_ONCE: usize = 3;

/// Uploads of one node: bounds what all of them hold in memory.
pub struct Uploads {
    bucket: Arc<Bucket>,
    /// Folder of the notes about unfinished uploads.
    notes: PathBuf,
    /// Notes of uploads that were neither completed nor aborted: before a crash, or while the store was away.
    left_over: Mutex<Vec<PathBuf>>,
    /// One permit a part in memory.
    room: Arc<Semaphore>,
}

/// Most parts in memory on one node.
const PARTS_IN_MEMORY: usize = 16;

/// The messages to the upload's task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum News {
    /// So many bytes are in the file.
    Written(u64),
    /// The file is whole and right.
    Complete(u64),
}

/// One upload. Dropping it aborts it.
#[derive(Debug)]
pub struct Upload {
    news: watch::Sender<News>,
    task: Mutex<Option<JoinHandle<Result<(), StorageError>>>>,
}

impl Upload {
    /// Tells how many bytes, from the first on, are in the file.
    pub fn written(&self, bytes: u64) {
        self.news.send_if_modified(|news| match news {
            News::Written(before) if *before < bytes => {
                *before = bytes;
                true
            }
            _ => false,
        });
    }

    /// Makes the first `size` bytes visible. May be called once.
    async fn complete(&self, size: u64) -> Result<(), StorageError> {
        self.news.send_replace(News::Complete(size));
        let task = self.task.lock().take();
        let gone = |error: Box<dyn std::error::Error + Send + Sync>| StorageError::Remote {
            action: "upload".to_owned(),
            source: error,
        };
        match task {
            Some(task) => task.await.unwrap_or_else(|error| Err(gone(error.into()))),
            None => Err(gone("it has ended already".into())),
        }
    }
}

impl Uploads {
    /// `left_over` are notes of an earlier process.
    pub fn new(bucket: Arc<Bucket>, notes: PathBuf, left_over: Vec<PathBuf>) -> Arc<Self> {
        let room = Arc::new(Semaphore::new(PARTS_IN_MEMORY));
        Arc::new(Self { bucket, notes, left_over: Mutex::new(left_over), room })
    }

    /// Begins to upload `file` as the object at `path`.
    pub fn begin(self: &Arc<Self>, path: Path, file: Arc<File>, expected: Option<u64>) -> Upload {
        let (news, heard) = watch::channel(News::Written(0));
        let part_bytes = expected.map_or(PART_BYTES, |size| PART_BYTES.max(size.div_ceil(MOST_PARTS)));
        let run = Run { uploads: Arc::clone(self), path, file, part_bytes, begun: None };
        Upload { news, task: Mutex::new(Some(tokio::spawn(run.follow(heard)))) }
    }

    /// Completes `begun`; if that fails, or without it, uploads the file from its first byte, once.
    pub async fn finish(
        self: &Arc<Self>,
        begun: Option<&Upload>,
        path: Path,
        file: Arc<File>,
        size: u64,
    ) -> Result<(), StorageError> {
        if let Some(upload) = begun {
            match upload.complete(size).await {
                Ok(()) => return Ok(()),
                Err(error) => tracing::info!(%path, %error, "an upload broke off; trying once more"),
            }
        }
        self.begin(path, file, Some(size)).complete(size).await
    }

    /// Aborts what was left over; what cannot be aborted now is left for the next time.
    pub async fn abort_left_over(&self) {
        let notes = std::mem::take(&mut *self.left_over());
        for note in notes {
            match read_note(&note) {
                Some(upload) => self.abort(&upload, note).await,
                None => remove_note(&note),
            }
        }
    }

    async fn abort(&self, upload: &Multipart, note: PathBuf) {
        match self.bucket.abort(upload).await {
            Ok(()) => remove_note(&note),
            Err(error) => {
                tracing::warn!(path = %upload.path, %error, "an upload could not be aborted yet");
                self.left_over().push(note);
            }
        }
    }

    fn left_over(&self) -> MutexGuard<'_, Vec<PathBuf>> {
        self.left_over.lock()
    }
}

/// Checks whether a file in the staging folder is the note of an upload.
pub fn is_note(path: &std::path::Path) -> bool {
    path.extension().is_some_and(|extension| extension == "upload")
}

fn read_note(note: &std::path::Path) -> Option<Multipart> {
    let text = fs::read_to_string(note).ok()?;
    let (path, id) = text.split_once('\n')?;
    Some(Multipart { path: Path::parse(path).ok()?, id: id.to_owned() })
}

fn remove_note(note: &std::path::Path) {
    if let Err(error) = fs::remove_file(note)
        && error.kind() != io::ErrorKind::NotFound
    {
        tracing::warn!(path = %note.display(), %error, "the note of an upload could not be removed");
    }
}

/// The task of one upload.
struct Run {
    uploads: Arc<Uploads>,
    path: Path,
    file: Arc<File>,
    part_bytes: u64,
    begun: Option<Begun>,
}

/// An upload in parts.
struct Begun {
    upload: Multipart,
    note: PathBuf,
    parts: JoinSet<Result<(usize, PartId), StorageError>>,
    done: Vec<(usize, PartId)>,
    next: usize,
}

impl Run {
    async fn follow(mut self, mut news: watch::Receiver<News>) -> Result<(), StorageError> {
        let result = self.upload(&mut news).await;
        if result.is_err()
            && let Some(mut begun) = self.begun.take()
        {
            // Parts under way would arrive after the end.
            begun.parts.shutdown().await;
            self.uploads.abort(&begun.upload, begun.note).await;
        }
        result
    }

    async fn upload(&mut self, news: &mut watch::Receiver<News>) -> Result<(), StorageError> {
        let mut offset = 0;
        loop {
            let now = *news.borrow_and_update();
            let (News::Written(end) | News::Complete(end)) = now;
            if end < offset {
                // Parts that are up hold more than it turned out to be.
                return Err(self.given_up());
            }
            while end - offset >= self.part_bytes {
                if news.has_changed().is_err() {
                    return Err(self.given_up());
                }
                self.send(offset, self.part_bytes).await?;
                offset += self.part_bytes;
            }
            if let News::Complete(size) = now {
                return self.complete(offset, size).await;
            }
            news.changed().await.map_err(|_| self.given_up())?;
        }
    }

    fn given_up(&self) -> StorageError {
        StorageError::Remote { action: format!("upload {}", self.path), source: "the download was given up".into() }
    }

    /// Sends one part on its way, as soon as there is room for it.
    async fn send(&mut self, offset: u64, len: u64) -> Result<(), StorageError> {
        let bucket = Arc::clone(&self.uploads.bucket);
        let begun = match self.begun.take() {
            Some(begun) => self.begun.insert(begun),
            None => {
                let note = self.uploads.notes.join(format!("{}.upload", Uuid::now_v7()));
                let failed = |source| StorageError::from_io("note an upload", source);
                // Before it begins, so that whoever waits for the end of all uploads knows of it.
                fs::write(&note, "").map_err(failed)?;
                let upload = bucket.begin(&self.path).await.inspect_err(|_| remove_note(&note))?;
                let noted = fs::write(&note, format!("{}\n{}", upload.path, upload.id));
                let begun = Begun { upload, note, parts: JoinSet::new(), done: Vec::new(), next: 0 };
                let begun = self.begun.insert(begun);
                noted.map_err(failed)?;
                begun
            }
        };
        while begun.parts.len() >= PARTS_AT_ONCE {
            begun.collect_one().await?;
        }
        let room = Arc::clone(&self.uploads.room).acquire_owned().await;
        let (file, upload, index) = (Arc::clone(&self.file), begun.upload.clone(), begun.next);
        begun.next += 1;
        begun.parts.spawn(async move {
            let content = read(file, offset, len).await?;
            let part = bucket.part(&upload, index, content).await?;
            drop(room);
            Ok((index, part))
        });
        Ok(())
    }

    /// The rest, and the end.
    async fn complete(&mut self, offset: u64, size: u64) -> Result<(), StorageError> {
        if self.begun.is_none() {
            let _room = self.uploads.room.acquire().await;
            let content = read(Arc::clone(&self.file), 0, size).await?;
            return self.uploads.bucket.put(&self.path, content).await;
        }
        if size > offset {
            self.send(offset, size - offset).await?;
        }
        let Some(begun) = &mut self.begun else { return Ok(()) };
        while !begun.parts.is_empty() {
            begun.collect_one().await?;
        }
        begun.done.sort_unstable_by_key(|(index, _)| *index);
        let parts = begun.done.drain(..).map(|(_, part)| part).collect();
        self.uploads.bucket.complete(&begun.upload, parts).await?;
        remove_note(&begun.note);
        Ok(())
    }
}

impl Begun {
    async fn collect_one(&mut self) -> Result<(), StorageError> {
        if let Some(ended) = self.parts.join_next().await {
            let lost = |error| StorageError::from_io("upload", io::Error::other(error));
            self.done.push(ended.map_err(lost)??);
        }
        Ok(())
    }
}

async fn read(file: Arc<File>, offset: u64, len: u64) -> Result<Bytes, StorageError> {
    let failed = |source| StorageError::from_io("read a staged file", source);
    tokio::task::spawn_blocking(move || {
        let mut content = vec![0; usize::try_from(len).map_err(io::Error::other)?];
        file.read_exact_at(&mut content, offset)?;
        Ok(Bytes::from(content))
    })
    .await
    .unwrap_or_else(|error| Err(io::Error::other(error)))
    .map_err(failed)
}
