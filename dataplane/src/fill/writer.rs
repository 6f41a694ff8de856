//! Hashing and writing, off the async threads.

use std::sync::Arc;

use bytes::Bytes;
use roadstead_proto::{Digest, DigestHasher};
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinHandle,
};

use super::Fill;
use crate::storage::{StagedFile, StorageError};

/// Pieces that may wait for the disk; upstream is read no faster than that. Each can be as large as the client's read
/// buffer (some 400 KiB), so this is what a fill costs in memory.
const QUEUED_PIECES: usize = 2;
/// Followers are told of new bytes at least this often, in bytes.
const ANNOUNCE_BYTES: u64 = 1024 * 1024;

/// A piece of work for the writing task.
enum Handed {
    Piece(Bytes),
    /// The digest of everything so far is wanted.
    Question(oneshot::Sender<Digest>),
}

/// The one writer of a staged file. Dropping it ends the writing without a digest.
pub struct Writer {
    pieces: mpsc::Sender<Handed>,
    task: JoinHandle<Result<(Digest, u64), StorageError>>,
}

impl Writer {
    /// Starts writing to `staged`, announcing progress on `fill`.
    pub fn start(fill: Arc<Fill>, staged: Arc<StagedFile>) -> Self {
        let (pieces, queue) = mpsc::channel(QUEUED_PIECES);
        Self { pieces, task: tokio::task::spawn_blocking(move || write(&fill, &staged, queue)) }
    }

    /// Hands over the next piece. Fails if the disk did; [`Self::finish`] says how.
    pub async fn write(&self, piece: Bytes) -> Result<(), ()> {
        self.pieces.send(Handed::Piece(piece)).await.map_err(drop)
    }

    /// The digest of everything written so far; `None` if the disk failed.
    pub async fn digest_so_far(&self) -> Option<Digest> {
        let (answer, digest) = oneshot::channel();
        self.pieces.send(Handed::Question(answer)).await.ok()?;
        digest.await.ok()
    }

    /// Waits until all is written, and tells the digest and size of it.
    pub async fn finish(self) -> Result<(Digest, u64), StorageError> {
        drop(self.pieces);
        self.task.await.unwrap_or_else(|error| Err(StorageError::from_io("fill writer", std::io::Error::other(error))))
    }
}

fn write(fill: &Fill, staged: &StagedFile, mut queue: mpsc::Receiver<Handed>) -> Result<(Digest, u64), StorageError> {
    let mut hasher = DigestHasher::new(fill.digest.algorithm());
    let (mut written, mut announced) = (0, 0);
    while let Some(first) = queue.blocking_recv() {
        let mut next = Some(first);
        while let Some(handed) = next {
            match handed {
                Handed::Piece(piece) => {
                    staged.write_at(&piece, written)?;
                    hasher.update(&piece);
                    written += piece.len() as u64;
                }
                // Whether anybody still wants to know does not matter.
                Handed::Question(answer) => drop(answer.send(hasher.clone().finish())),
            }
            next = if written - announced < ANNOUNCE_BYTES { queue.try_recv().ok() } else { None };
        }
        fill.progress.send_modify(|progress| progress.written = written);
        announced = written;
    }
    Ok((hasher.finish(), written))
}
