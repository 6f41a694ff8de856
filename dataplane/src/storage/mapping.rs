//! A file seen through memory: pieces of it go from the page cache to sockets without a copy in between.
//!
//! A mapping is only ever made of a file that nobody shortens while it is mapped: committed blobs are immutable, and
//! staged files only grow. The bytes are handed to the kernel (a socket write), which answers a page it cannot read
//! with an error; only TLS and HTTP/2 framing read them in this process.

#![allow(unsafe_code)]

use std::{fs::File, io, ops::Range, os::unix::fs::FileExt, sync::Arc};

use bytes::Bytes;
use memmap2::{Mmap, MmapOptions};

/// Size of a page. 4 KiB is the smallest there is; on machines with larger ones the residency check asks about more
/// pages than there are and hears about those there are.
const PAGE_BYTES: usize = 4096;

/// Most bytes handed out at once of what is in memory. Larger pieces cost less processor time per byte (a trial with
/// 300 MiB blobs: 64 KiB 1.5 times what 4 MiB cost); this is large enough for that and bounds the check below.
const READY_BYTES: usize = 4 * 1024 * 1024;
/// Most bytes read from the disk at once, into a buffer that lives for that long.
const LOAD_BYTES: usize = 512 * 1024;

/// A read-only view of the first bytes of a file.
#[derive(Debug)]
pub struct Mapping {
    file: Arc<File>,
    bytes: Bytes,
}

impl Mapping {
    /// Maps the first `len` bytes of `file`, which must not get shorter than that while the mapping lives.
    pub fn new(file: Arc<File>, len: u64) -> io::Result<Self> {
        let len = usize::try_from(len).map_err(io::Error::other)?;
        if len == 0 {
            return Ok(Self { file, bytes: Bytes::new() });
        }
        // SAFETY: the module's contract: files of the store are never shortened while mapped, and what is read of a
        // growing file was written before its length was announced.
        let map: Mmap = unsafe { MmapOptions::new().len(len).map(&*file)? };
        Ok(Self { file, bytes: Bytes::from_owner(map) })
    }

    /// Length of the view in bytes.
    pub fn len(&self) -> u64 {
        self.bytes.len() as u64
    }

    /// The next piece of `offset..end`: as much of it as is in the page cache; `None` if its first byte is not.
    pub fn ready(&self, offset: u64, end: u64) -> Option<Bytes> {
        let range = piece(offset, end, READY_BYTES);
        let resident = self.resident(&range);
        (resident > 0 || range.is_empty()).then(|| self.bytes.slice(range.start..range.start + resident))
    }

    /// The next piece of `offset..end`, brought into the page cache by a blocking thread first.
    pub async fn load(&self, offset: u64, end: u64) -> io::Result<Bytes> {
        let range = piece(offset, end, LOAD_BYTES);
        let (file, start, len) = (Arc::clone(&self.file), range.start as u64, range.len());
        tokio::task::spawn_blocking(move || file.read_exact_at(&mut vec![0; len], start))
            .await
            .map_err(io::Error::other)??;
        Ok(self.bytes.slice(range))
    }

    /// Returns the number of bytes from the start of `range` that are in the page cache.
    fn resident(&self, range: &Range<usize>) -> usize {
        const MOST_PAGES: usize = READY_BYTES / PAGE_BYTES + 2;
        let start = range.start - range.start % PAGE_BYTES;
        let len = range.end - start;
        if range.is_empty() {
            return 0;
        }
        let mut pages = [0_u8; MOST_PAGES];
        let pages = &mut pages[..len.div_ceil(PAGE_BYTES)];
        // SAFETY: `start..start + len` lies in the mapping, which starts on a page; `pages` has a byte for each page.
        let answer =
            unsafe { libc::mincore(self.bytes.as_ptr().add(start).cast_mut().cast(), len, pages.as_mut_ptr()) };
        if answer != 0 {
            return 0;
        }
        let count = pages.iter().take_while(|page| *page & 1 == 1).count();
        (start + count * PAGE_BYTES).min(range.end).saturating_sub(range.start)
    }
}

/// The first piece of `offset..end`, of at most `most` bytes.
fn piece(offset: u64, end: u64, most: usize) -> Range<usize> {
    let start = offset as usize;
    start..start.saturating_add(most).min(end as usize)
}
