//! A file read in pieces: at once what the page cache holds, by a blocking thread what has to come from the disk.
//!
//! Pieces are copies of bounded size. A file that somebody truncates, or that the disk cannot read, fails that read; mapped memory
//! would end the process by SIGBUS.

#![allow(unsafe_code)]

use std::{
    fs::File,
    io,
    os::{fd::AsRawFd, unix::fs::FileExt},
    sync::Arc,
};

use bytes::Bytes;

/// Most bytes copied at once on an async thread, out of the page cache. Each slow client holds one such piece.
const READY_BYTES: u64 = 256 * 1024;
/// Most bytes read from the disk at once.
const LOAD_BYTES: u64 = 512 * 1024;

/// A file that is read from anywhere, by any number of readers.
#[derive(Clone, Debug)]
pub struct FileView(Arc<File>);

impl FileView {
    /// Reads `file`.
    pub const fn new(file: Arc<File>) -> Self {
        Self(file)
    }

    /// The next piece of `offset..end`, if its first bytes are in the page cache; it is as long as what is there.
    pub fn ready(&self, offset: u64, end: u64) -> Option<Bytes> {
        let len = end.saturating_sub(offset).min(READY_BYTES) as usize;
        if len == 0 {
            return Some(Bytes::new());
        }
        let mut piece = Vec::<u8>::with_capacity(len);
        let buffer = libc::iovec { iov_base: piece.as_mut_ptr().cast(), iov_len: len };
        let start = libc::off64_t::try_from(offset).ok()?;
        // SAFETY: the buffer has room for `len` bytes, and outlives the call.
        let read = unsafe { libc::preadv2(self.0.as_raw_fd(), &raw const buffer, 1, start, libc::RWF_NOWAIT) };
        // Nothing in memory, a file system that does not say, an error, the end: the other way tells.
        let read = usize::try_from(read).ok().filter(|read| *read > 0)?;
        // SAFETY: so many bytes were written to the buffer, from its start on.
        unsafe { piece.set_len(read.min(len)) };
        Some(piece.into())
    }

    /// The next piece of `offset..end`, read by a blocking thread; never empty, unless the range is.
    pub async fn load(&self, offset: u64, end: u64) -> io::Result<Bytes> {
        let (file, len) = (Arc::clone(&self.0), end.saturating_sub(offset).min(LOAD_BYTES));
        tokio::task::spawn_blocking(move || {
            let mut piece = vec![0; usize::try_from(len).map_err(io::Error::other)?];
            file.read_exact_at(&mut piece, offset)?;
            Ok(piece.into())
        })
        .await
        .unwrap_or_else(|error| Err(io::Error::other(error)))
    }
}

#[cfg(test)]
mod tests;
