//! Reading stored content and comparing it with its digest, no faster than allowed.

use std::time::Duration;

use roadstead_proto::{Digest, DigestHasher};
use tokio::{
    task::spawn_blocking,
    time::{Instant, sleep_until},
};

use crate::{
    control::{CorruptionKind, StoredContent},
    storage::{BlobStore, StorageError},
};

/// Most bytes of a piece that is read at once.
const MAX_PIECE_BYTES: usize = 4 * 1024 * 1024;
/// Fewest bytes of a piece, however slow the pace.
const MIN_PIECE_BYTES: usize = 64 * 1024;

/// Average rate at which bytes may be read.
pub struct Pace {
    bytes_per_second: Option<u64>,
    next: Instant,
}

impl Pace {
    /// So many bytes a second; as many as can be if `None`.
    pub fn new(bytes_per_second: Option<u64>) -> Self {
        Self { bytes_per_second, next: Instant::now() }
    }

    fn piece(&self) -> usize {
        let quarter = self.bytes_per_second.map_or(u64::MAX, |rate| rate / 4);
        usize::try_from(quarter).unwrap_or(usize::MAX).clamp(MIN_PIECE_BYTES, MAX_PIECE_BYTES)
    }

    /// Waits until more may be read after `bytes`. Time in which nothing was read is not made up for.
    async fn took(&mut self, bytes: usize) {
        let Some(rate) = self.bytes_per_second else { return };
        let cost = Duration::from_secs_f64(bytes as f64 / rate.max(1) as f64);
        self.next = self.next.max(Instant::now()) + cost;
        sleep_until(self.next).await;
    }
}

/// The kind of the content's corruption, and the found size; `None` if it is whole. `read` is told of each piece.
pub async fn damage_of(
    store: &dyn BlobStore,
    content: &StoredContent,
    pace: &mut Pace,
    read: impl Fn(u64),
) -> Result<Option<(CorruptionKind, u64)>, StorageError> {
    let StoredContent { digest, size_bytes } = content;
    let mut hasher = DigestHasher::new(digest.algorithm());
    let mut offset = 0;
    loop {
        let piece = match store.read(digest, offset, pace.piece()).await {
            Ok(Some(piece)) => piece,
            Ok(None) => return Ok(Some((CorruptionKind::Missing, 0))),
            // What cannot be read is as good as damaged.
            Err(error) if error.is_unreadable() => {
                tracing::error!(blob.digest = %digest, %error, "stored content cannot be read");
                return Ok(Some((CorruptionKind::Digest, offset)));
            }
            Err(error) => return Err(error),
        };
        if piece.is_empty() {
            break;
        }
        let len = piece.len();
        offset += len as u64;
        read(len as u64);
        hasher = spawn_blocking(move || {
            hasher.update(&piece);
            hasher
        })
        .await
        .map_err(|error| StorageError::from_io("hash stored content", std::io::Error::other(error)))?;
        pace.took(len).await;
    }
    let got: Digest = hasher.finish();
    Ok(match (offset == *size_bytes, got == *digest) {
        // Right bytes are right, whatever was recorded of their number.
        (_, true) => None,
        (false, false) => Some((CorruptionKind::Size, offset)),
        (true, false) => Some((CorruptionKind::Digest, offset)),
    })
}
