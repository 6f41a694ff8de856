//! The environment of the suite: it opens a store, opens it again, looks into it past the store, and cuts it off.

use std::{
    fs,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use object_store::{ObjectStoreExt, PutPayload, aws::AmazonS3Builder, memory::InMemory, path::Path};
use roadstead_proto::Digest;
use roadstead_tests::{
    link::{Link, Mode},
    seaweed::{ACCESS_KEY, REGION, SECRET_KEY, Seaweed},
};
use tempfile::TempDir;

use super::super::{
    BlobStore, LocalStore, ObjectBlobStore, ObjectSettings, ObjectStoreUrl, StorageError, StorageMetrics,
    local::{self, path_below},
    object::Bucket,
};

/// A server whose places are buckets.
pub struct S3 {
    seaweed: Arc<Seaweed>,
    buckets: AtomicUsize,
}

impl S3 {
    pub async fn start() -> Self {
        Self { seaweed: Arc::new(Seaweed::start().await), buckets: AtomicUsize::new(0) }
    }

    /// An empty bucket.
    pub async fn place(&self, node_cache_bytes: u64) -> Place {
        let bucket = format!("bucket-{}", self.buckets.fetch_add(1, Ordering::Relaxed));
        self.seaweed.create_bucket(&bucket).await;
        let link = Link::to(self.seaweed.address()).await;
        let seaweed = Arc::clone(&self.seaweed);
        Place::new(Backing::S3 { seaweed, bucket, link }, node_cache_bytes)
    }
}

enum Backing {
    Disk,
    S3 { seaweed: Arc<Seaweed>, bucket: String, link: Link },
    Memory(Arc<InMemory>),
}

/// A place for one case.
pub struct Place {
    backing: Backing,
    node_cache_bytes: u64,
    folder: TempDir,
}

impl Place {
    fn new(backing: Backing, node_cache_bytes: u64) -> Self {
        Self { backing, node_cache_bytes, folder: tempfile::tempdir().unwrap() }
    }

    pub fn disk() -> Self {
        Self::new(Backing::Disk, 0)
    }

    pub fn memory() -> Self {
        Self::new(Backing::Memory(Arc::new(InMemory::new())), 1 << 30)
    }

    fn root(&self) -> PathBuf {
        self.folder.path().join("node")
    }

    /// Opens the store as a starting node does.
    pub async fn try_open(&self) -> Result<Arc<dyn BlobStore>, StorageError> {
        let (name, url) = match &self.backing {
            Backing::Disk => return Ok(Arc::new(LocalStore::open(&self.root())?)),
            Backing::S3 { bucket, .. } => (bucket.as_str(), format!("s3://{bucket}/cache")),
            Backing::Memory(_) => ("memory", "s3://memory/cache".to_owned()),
        };
        let mut url = ObjectStoreUrl { url: url.parse().unwrap(), endpoint: None };
        let metrics = StorageMetrics::default();
        let bucket = match &self.backing {
            Backing::S3 { link, .. } => {
                url.endpoint = Some(format!("http://{}", link.address()).parse().unwrap());
                let credentials = AmazonS3Builder::new()
                    .with_access_key_id(ACCESS_KEY)
                    .with_secret_access_key(SECRET_KEY)
                    .with_region(REGION);
                url.s3(credentials, metrics)?
            }
            Backing::Memory(memory) => {
                Bucket::new(name.to_owned(), Path::from("cache"), Arc::clone(memory), None, metrics)
            }
            Backing::Disk => unreachable!("opened above"),
        };
        let settings =
            ObjectSettings { url, data_dir: self.root(), node_cache_bytes: self.node_cache_bytes, redirect: false };
        Ok(Arc::new(ObjectBlobStore::with_bucket(bucket, &settings).await?))
    }

    pub async fn open(&self) -> Arc<dyn BlobStore> {
        self.try_open().await.unwrap()
    }

    /// True if readers finish a blob that is deleted under them; readers of remote stores see an error.
    pub fn readers_outlive_deletion(&self) -> bool {
        matches!(self.backing, Backing::Disk) || self.node_cache_bytes > 0
    }

    /// True if blobs that are read whole are hashed on the way.
    pub fn hashes_what_it_fetches(&self) -> bool {
        !matches!(self.backing, Backing::Disk) && self.node_cache_bytes > 0
    }

    /// Returns the number of pieces that are neither stored nor given up: staged files, uploads in parts.
    pub async fn half_stored(&self) -> usize {
        let staging = fs::read_dir(self.root().join("staging")).unwrap();
        let files = staging.filter(|entry| entry.as_ref().unwrap().file_name() != local::LOCK).count();
        let uploads = match &self.backing {
            Backing::S3 { seaweed, bucket, .. } => seaweed.uploads(bucket).await,
            Backing::Disk | Backing::Memory(_) => 0,
        };
        files + uploads
    }

    /// Uploads in parts that have begun.
    pub async fn uploads(&self) -> Option<usize> {
        match &self.backing {
            Backing::S3 { seaweed, bucket, .. } => Some(seaweed.uploads(bucket).await),
            Backing::Disk | Backing::Memory(_) => None,
        }
    }

    /// Waits for what is given up to be gone.
    pub async fn nothing_is_half_stored(&self) {
        for _ in 0..400 {
            if self.half_stored().await == 0 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("{} are left over", self.half_stored().await);
    }

    /// Puts other content in the place of a blob, past the store.
    pub async fn replace(&self, digest: &Digest, content: Vec<u8>) {
        let path = format!("cache/{}/{}/{}", digest.algorithm().name(), &digest.hex()[..2], digest.hex());
        match &self.backing {
            Backing::Disk => fs::write(path_below(&self.root(), digest), content).unwrap(),
            Backing::S3 { seaweed, bucket, .. } => seaweed.replace(bucket, &path, content).await,
            Backing::Memory(memory) => drop(memory.put(&Path::from(path), PutPayload::from(content)).await.unwrap()),
        }
    }

    /// Takes away what this node keeps of a bucket.
    pub fn forget_node_cache(&self) {
        let _ = fs::remove_dir_all(self.root().join("node-cache"));
    }

    /// Makes everything that is asked about this blob fail, or ends that; false where nothing can fail.
    pub async fn fail(&self, digest: &Digest, fails: bool) -> bool {
        match &self.backing {
            Backing::Disk => {
                let shelf = path_below(&self.root(), digest).parent().unwrap().to_owned();
                let aside = shelf.with_extension("aside");
                if fails {
                    fs::rename(&shelf, &aside).unwrap();
                    // No folder: whatever is opened below it is an error, for root as well.
                    fs::write(&shelf, "").unwrap();
                } else {
                    fs::remove_file(&shelf).unwrap();
                    fs::rename(&aside, &shelf).unwrap();
                }
            }
            Backing::S3 { link, .. } => link.set(if fails { Mode::status("503 Slow Down") } else { Mode::Pass }).await,
            Backing::Memory(_) => return false,
        }
        true
    }
}
