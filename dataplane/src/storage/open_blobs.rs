//! Blobs that were opened lately, kept open: hot content costs no system call to find.

use std::sync::Arc;

use quick_cache::{Weighter, sync::Cache};
use roadstead_proto::Digest;

use super::StoredBlob;

/// Limits of all open blobs: 256 files, or this many bytes of small content.
const HELD_BYTES: u64 = 32 * 1024 * 1024;
/// Expected number of open blobs, which sizes the table; not a limit.
const EXPECTED: usize = 4096;

#[derive(Clone)]
struct HeldBytes;

impl Weighter<Digest, Arc<StoredBlob>> for HeldBytes {
    fn weight(&self, _: &Digest, blob: &Arc<StoredBlob>) -> u64 {
        blob.held_bytes()
    }
}

/// A bounded memory of open blobs, least recently used out first.
/// Clones are the same memory.
#[derive(Clone)]
pub struct OpenBlobs(Arc<Cache<Digest, Arc<StoredBlob>, HeldBytes>>);

impl OpenBlobs {
    pub fn new() -> Self {
        Self(Arc::new(Cache::with_weighter(EXPECTED, HELD_BYTES, HeldBytes)))
    }

    pub fn get(&self, digest: &Digest) -> Option<Arc<StoredBlob>> {
        self.0.get(digest)
    }

    pub fn insert(&self, digest: Digest, blob: Arc<StoredBlob>) {
        self.0.insert(digest, blob);
    }

    pub fn forget(&self, digest: &Digest) {
        self.0.remove(digest);
    }
}
