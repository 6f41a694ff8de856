//! A bounded folder of whole, verified blobs in front of an object store, least recently used out first.
//!
//! Everything in it can be had again: the folder may be deleted at any time. Its content was hashed on its way in and
//! reached the disk before it got its name; content found after a restart is hashed again before its first use. Taking a
//! blob out takes nothing from whoever reads it.

use std::{
    collections::{BTreeMap, HashMap},
    fs::{self, File, FileTimes},
    io::{self, Read as _},
    path::{Path, PathBuf},
    sync::Arc,
    time::SystemTime,
};

use parking_lot::{Mutex, MutexGuard};
use roadstead_proto::{Digest, DigestHasher};

use crate::storage::{
    StagedFile, StoredBlob,
    local::{self, create_folder, scan},
    metrics::StorageMetrics,
};

/// Size of the reads for hashing a file, in bytes.
const HASHED_AT_ONCE: usize = 256 * 1024;

/// The folder and what is known of it. All functions block.
pub struct NodeCache {
    folder: PathBuf,
    capacity: u64,
    held: Mutex<Held>,
    metrics: StorageMetrics,
}

#[derive(Default)]
struct Held {
    blobs: HashMap<Digest, Entry>,
    /// By when they were used: the first is the next to go.
    order: BTreeMap<u64, Digest>,
    clock: u64,
    bytes: u64,
}

#[derive(Clone, Copy)]
struct Entry {
    size: u64,
    used: u64,
    /// This process has hashed it.
    verified: bool,
}

impl Held {
    fn touch(&mut self, digest: &Digest) {
        self.clock += 1;
        let now = self.clock;
        if let Some(entry) = self.blobs.get_mut(digest) {
            self.order.remove(&entry.used);
            entry.used = now;
            self.order.insert(now, *digest);
        }
    }

    fn add(&mut self, digest: Digest, size: u64, verified: bool) {
        self.remove(&digest);
        self.bytes += size;
        self.blobs.insert(digest, Entry { size, used: 0, verified });
        self.touch(&digest);
    }

    fn remove(&mut self, digest: &Digest) -> bool {
        let Some(entry) = self.blobs.remove(digest) else { return false };
        self.order.remove(&entry.used);
        self.bytes -= entry.size;
        true
    }
}

impl NodeCache {
    /// Opens the folder and finds what an earlier process left in it, the longest unused first out if it is too much.
    pub fn open(folder: &Path, capacity: u64, metrics: StorageMetrics) -> io::Result<Self> {
        create_folder(folder)?;
        let cache = Self { folder: folder.to_owned(), capacity, held: Mutex::default(), metrics };
        let mut found = Vec::new();
        for file in scan::list(folder, None, usize::MAX)? {
            let used = fs::metadata(cache.path(&file.digest)).and_then(|metadata| metadata.accessed());
            found.push((used.unwrap_or(SystemTime::UNIX_EPOCH), file.digest, file.size));
        }
        found.sort_unstable();
        let mut held = cache.held();
        found.into_iter().for_each(|(_, digest, size)| held.add(digest, size, false));
        drop(held);
        cache.make_room_for(None);
        Ok(cache)
    }

    fn path(&self, digest: &Digest) -> PathBuf {
        local::path_below(&self.folder, digest)
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock()
    }

    /// Checks whether a blob of this size may be kept.
    pub const fn admits(&self, size: u64) -> bool {
        size <= self.capacity
    }

    /// Notes that a blob was used.
    pub fn touch(&self, digest: &Digest) {
        self.held().touch(digest);
    }

    /// Opens a blob, if it is here.
    pub fn get(&self, digest: &Digest) -> io::Result<Option<Arc<StoredBlob>>> {
        let Some(entry) = self.held().blobs.get(digest).copied() else { return Ok(None) };
        let path = self.path(digest);
        if !entry.verified && !self.verify(&path, digest)? {
            tracing::warn!(path = %path.display(), "a cached blob is damaged; it is deleted");
            self.remove(digest);
            return Ok(None);
        }
        match local::open_blob(&path, digest)? {
            Some(blob) => {
                self.touch(digest);
                // For a later process, which knows only what files tell.
                let used = FileTimes::new().set_accessed(SystemTime::now());
                let _ = File::open(&path).and_then(|file| file.set_times(used));
                Ok(Some(blob))
            }
            None => {
                // Somebody deleted the folder, or this file.
                self.forget(digest);
                Ok(None)
            }
        }
    }

    /// Keeps the first `size` bytes of a staged file, which are the blob `digest`; answers which blobs went for it.
    pub fn keep(
        &self,
        staged: &StagedFile,
        digest: &Digest,
        size: u64,
        stored_at: SystemTime,
    ) -> io::Result<Vec<Digest>> {
        // Its room is taken at once: others that come meanwhile find the rest.
        let mut gone = self.make_room_for(Some((*digest, size)));
        let path = self.path(digest);
        let published = path.parent().map_or(Ok(()), create_folder).and_then(|()| staged.publish(&path, size));
        match published.and_then(|file| file.set_modified(stored_at)) {
            Ok(()) => {
                // Who looked for it too early has forgotten it, and who needed its room has taken that.
                if !self.held().blobs.contains_key(digest) {
                    gone.extend(self.make_room_for(Some((*digest, size))));
                }
                Ok(gone)
            }
            Err(error) => {
                self.remove(digest);
                Err(error)
            }
        }
    }

    /// Hashes a file that an earlier process left; one that is not there is left to whoever opens it.
    fn verify(&self, path: &Path, digest: &Digest) -> io::Result<bool> {
        let mut file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(true),
            Err(error) => return Err(error),
        };
        let mut hasher = DigestHasher::new(digest.algorithm());
        let mut buffer = vec![0; HASHED_AT_ONCE];
        loop {
            match file.read(&mut buffer)? {
                0 => break,
                len => hasher.update(&buffer[..len]),
            }
        }
        let right = hasher.finish() == *digest;
        if right && let Some(entry) = self.held().blobs.get_mut(digest) {
            entry.verified = true;
        }
        Ok(right)
    }

    /// Takes a blob out.
    pub fn remove(&self, digest: &Digest) {
        if self.forget(digest) {
            self.unlink(digest);
        }
    }

    fn forget(&self, digest: &Digest) -> bool {
        let mut held = self.held();
        let was_there = held.remove(digest);
        self.metrics.holds(held.bytes);
        was_there
    }

    /// Makes room for a blob and counts it as held; answers what went for it.
    fn make_room_for(&self, coming: Option<(Digest, u64)>) -> Vec<Digest> {
        let size = coming.map_or(0, |(_, size)| size);
        let mut gone = Vec::new();
        let mut held = self.held();
        if let Some((digest, _)) = coming {
            held.remove(&digest);
        }
        while held.bytes + size > self.capacity {
            let Some((_, digest)) = held.order.first_key_value().map(|(used, digest)| (*used, *digest)) else { break };
            held.remove(&digest);
            gone.push(digest);
        }
        if let Some((digest, size)) = coming {
            held.add(digest, size, true);
        }
        self.metrics.holds(held.bytes);
        drop(held);
        gone.iter().for_each(|digest| self.unlink(digest));
        gone
    }

    fn unlink(&self, digest: &Digest) {
        let path = self.path(digest);
        if let Err(error) = fs::remove_file(&path)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(path = %path.display(), %error, "a cached blob could not be removed");
        }
    }
}

#[cfg(test)]
mod tests {
    use roadstead_proto::Algorithm;

    use super::*;

    fn put(cache: &NodeCache, content: &[u8]) -> Digest {
        let digest = Digest::of(Algorithm::Sha256, content);
        let staged = StagedFile::create(cache.folder.with_extension(digest.hex()), Some(content.len() as u64)).unwrap();
        staged.write_at(content, 0).unwrap();
        cache.keep(&staged, &digest, content.len() as u64, SystemTime::now()).unwrap();
        digest
    }

    fn files(cache: &NodeCache) -> u64 {
        scan::list(&cache.folder, None, 1000).unwrap().iter().map(|file| file.size).sum()
    }

    #[tokio::test]
    async fn it_never_holds_more_than_its_size_and_gives_up_what_was_used_longest_ago() {
        let root = tempfile::tempdir().unwrap();
        let cache = NodeCache::open(&root.path().join("cache"), 100_000, StorageMetrics::default()).unwrap();
        let [a, b] = [put(&cache, &[1; 40_000]), put(&cache, &[2; 40_000])];
        let large = put(&cache, &[9; 80_000]);
        assert!(cache.get(&a).unwrap().is_none() && cache.get(&b).unwrap().is_none());
        let reader = cache.get(&large).unwrap().unwrap();
        let [a, b] = [put(&cache, &[1; 40_000]), put(&cache, &[2; 40_000])];
        assert_eq!(files(&cache), 80_000);
        assert_eq!(reader.read_all().await.unwrap(), vec![9; 80_000], "a reader keeps what it reads");
        assert!(cache.get(&a).unwrap().is_some());
        let c = put(&cache, &[3; 40_000]);
        let there = [a, b, c].map(|digest| cache.get(&digest).unwrap().is_some());
        assert_eq!(there, [true, false, true], "b was used longest ago");
        assert!(!cache.admits(100_001));
    }

    #[test]
    fn it_survives_a_restart_and_the_loss_of_its_folder() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("cache");
        let cache = NodeCache::open(&folder, 100, StorageMetrics::default()).unwrap();
        let [old, new] = [put(&cache, &[1; 40]), put(&cache, &[2; 40])];
        let past = FileTimes::new().set_accessed(SystemTime::UNIX_EPOCH);
        File::open(cache.path(&old)).unwrap().set_times(past).unwrap();
        drop(cache);
        let cache = NodeCache::open(&folder, 60, StorageMetrics::default()).unwrap();
        assert!(cache.get(&old).unwrap().is_none() && cache.get(&new).unwrap().is_some());
        fs::remove_dir_all(&folder).unwrap();
        assert!(cache.get(&new).unwrap().is_none());
        let again = put(&cache, &[2; 40]);
        assert!(cache.get(&again).unwrap().is_some());
    }

    #[test]
    fn a_file_that_was_damaged_between_two_processes_is_deleted_at_its_first_use() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("cache");
        let cache = NodeCache::open(&folder, 1000, StorageMetrics::default()).unwrap();
        let [whole, short, other] = [put(&cache, &[1; 40]), put(&cache, &[2; 40]), put(&cache, &[3; 40])];
        fs::write(cache.path(&short), [2; 39]).unwrap();
        fs::write(cache.path(&other), [4; 40]).unwrap();
        drop(cache);
        let cache = NodeCache::open(&folder, 1000, StorageMetrics::default()).unwrap();
        let there = [whole, short, other].map(|digest| cache.get(&digest).unwrap().is_some());
        assert_eq!(there, [true, false, false]);
        assert_eq!(files(&cache), 40);
    }

    #[test]
    fn blobs_that_come_at_once_take_no_more_room_than_one_after_the_other() {
        let root = tempfile::tempdir().unwrap();
        let cache = NodeCache::open(&root.path().join("cache"), 100_000, StorageMetrics::default()).unwrap();
        std::thread::scope(|scope| {
            for n in 0..8_u8 {
                let cache = &cache;
                scope.spawn(move || {
                    for round in 0..10_u8 {
                        put(cache, &[[n; 20_000], [round; 20_000]].concat());
                        assert!(cache.held().bytes <= 100_000);
                    }
                });
            }
        });
        assert!(files(&cache) <= 100_000, "{}", files(&cache));
    }
}
