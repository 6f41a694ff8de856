//! Blobs that were opened lately, kept open: hot content costs no system call to find.

use std::sync::Arc;

use quick_cache::{Weighter, sync::Cache};
use roadstead_proto::Digest;

use super::StoredBlob;

/// What all open blobs may hold: about a thousand mappings, or so many bytes of small content.
const HELD_BYTES: u64 = 32 * 1024 * 1024;
/// How many blobs we expect to be open, to size the table; not a bound.
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
