//! One bucket, or a prefix of it: every request to an object store goes through here, bounded in time and counted.
//!
//! An error is never "not there": only the store's own 404 is. The client retries what is worth retrying (5xx, lost
//! connections), a few times and not for long; then it is an error, and whoever asked says so.

use std::{
    ops::Range,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream::BoxStream};
use http::Method;
use object_store::{
    GetOptions, ObjectMeta, ObjectStore, ObjectStoreExt, PutPayload,
    multipart::{MultipartStore, PartId},
    path::Path,
    signer::Signer,
};
use roadstead_proto::{Algorithm, Digest};
use url::Url;

use crate::{
    backoff::Backoff,
    storage::{StorageError, StoredFile, metrics::StorageMetrics},
};

/// Longest that a small request may take, its retries included: less than clients wait for headers.
const SHORT: Duration = Duration::from_secs(12);
/// Longest that one part of an upload may take, and putting parts together.
const LONG: Duration = Duration::from_secs(120);

/// Longest time for another node's commit, whatever its size; and its minimum rate for bytes that are still to be uploaded.
const OTHERS_COMMIT_TAKES: Duration = Duration::from_secs(5);
const OTHERS_BYTES_PER_SECOND: u64 = 32 * 1024 * 1024;
/// The pauses between looks for it: at first, and at most.
const FIRST_LOOK: Duration = Duration::from_millis(100);
const LAST_LOOK: Duration = Duration::from_secs(2);

/// A part of an object store that holds blobs the way [`super::super::LocalStore`] does: `PREFIX/sha256/ab/abcd…`.
pub struct Bucket {
    name: String,
    prefix: Path,
    store: Arc<dyn ObjectStore>,
    parts: Arc<dyn MultipartStore>,
    signer: Option<Arc<dyn Signer>>,
    metrics: StorageMetrics,
}

/// An upload in parts that is under way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Multipart {
    pub path: Path,
    pub id: String,
}

type Outcome<T> = Result<T, object_store::Error>;

impl Bucket {
    /// `name` is the URL that people know it by.
    pub fn new<S: ObjectStore + MultipartStore>(
        name: String,
        prefix: Path,
        store: Arc<S>,
        signer: Option<Arc<dyn Signer>>,
        metrics: StorageMetrics,
    ) -> Self {
        Self { name, prefix, parts: Arc::clone(&store) as _, store, signer, metrics }
    }

    /// Its metrics.
    pub const fn metrics(&self) -> &StorageMetrics {
        &self.metrics
    }

    /// Returns the path of a blob.
    pub fn path(&self, digest: &Digest) -> Path {
        let hex = digest.hex();
        self.below(&[digest.algorithm().name(), &hex[..2], &hex])
    }

    /// A path of ours.
    pub fn below(&self, names: &[&str]) -> Path {
        names.iter().fold(self.prefix.clone(), |path, name| path.join(*name))
    }

    async fn request<T>(
        &self,
        operation: &'static str,
        subject: &(dyn std::fmt::Display + Sync),
        limit: Duration,
        work: impl Future<Output = Outcome<T>> + Send,
    ) -> Result<Option<T>, StorageError> {
        let failed = |source: Box<dyn std::error::Error + Send + Sync>| {
            self.metrics.request(operation, "error");
            let action = format!("{operation} {subject} in {}", self.name);
            StorageError::Remote { action, source }
        };
        match tokio::time::timeout(limit, work).await {
            Ok(Ok(value)) => {
                self.metrics.request(operation, "ok");
                Ok(Some(value))
            }
            Ok(Err(object_store::Error::NotFound { .. })) => {
                self.metrics.request(operation, "not_found");
                Ok(None)
            }
            Ok(Err(error)) => Err(failed(error.into())),
            Err(_) => Err(failed(format!("no answer within {} s", limit.as_secs()).into())),
        }
    }

    /// For requests that "not found" is an error of: the bucket is gone, or the upload.
    async fn must<T>(
        &self,
        operation: &'static str,
        subject: &(dyn std::fmt::Display + Sync),
        limit: Duration,
        work: impl Future<Output = Outcome<T>> + Send,
    ) -> Result<T, StorageError> {
        self.request(operation, subject, limit, work).await?.ok_or_else(|| StorageError::Remote {
            action: format!("{operation} {subject} in {}", self.name),
            source: "the bucket, or the upload, is not there".into(),
        })
    }

    /// Size and time of a blob.
    pub async fn head(&self, digest: &Digest) -> Result<Option<StoredFile>, StorageError> {
        let path = self.path(digest);
        let meta = self.request("head", digest, SHORT, self.store.head(&path)).await?;
        Ok(meta.map(|meta| stored_file(*digest, &meta)))
    }

    /// Waits for another node's commit, which begins when that node has the last byte, as long as it may well take.
    pub async fn await_other(&self, digest: &Digest, size: u64) -> Result<Option<StoredFile>, StorageError> {
        let until = Instant::now() + OTHERS_COMMIT_TAKES + Duration::from_secs(size / OTHERS_BYTES_PER_SECOND);
        let mut pauses = Backoff::new(FIRST_LOOK, LAST_LOOK);
        loop {
            let there = self.head(digest).await?;
            if there.is_some() || Instant::now() >= until {
                return Ok(there);
            }
            tokio::time::sleep(pauses.pause()).await;
        }
    }

    /// A piece of a blob.
    pub async fn range(&self, digest: &Digest, range: Range<u64>) -> Result<Option<Bytes>, StorageError> {
        let path = self.path(digest);
        self.request("get", digest, LONG, self.store.get_range(&path, range)).await
    }

    /// A whole blob, as it arrives.
    pub async fn stream(&self, digest: &Digest) -> Result<Option<BoxStream<'static, Outcome<Bytes>>>, StorageError> {
        let path = self.path(digest);
        let got = self.request("get", digest, SHORT, self.store.get_opts(&path, GetOptions::default())).await?;
        Ok(got.map(object_store::GetResult::into_stream))
    }

    /// Puts a small object, whole.
    pub async fn put(&self, path: &Path, content: Bytes) -> Result<(), StorageError> {
        self.must("put", path, LONG, self.store.put(path, PutPayload::from_bytes(content))).await.map(drop)
    }

    /// Deletes an object; one that is not there is fine.
    pub async fn delete(&self, path: &Path) -> Result<(), StorageError> {
        self.request("delete", path, SHORT, self.store.delete(path)).await.map(drop)
    }

    /// Copies an object within the bucket; false if it is not there.
    pub async fn copy(&self, from: &Path, to: &Path) -> Result<bool, StorageError> {
        Ok(self.request("copy", from, LONG, self.store.copy(from, to)).await?.is_some())
    }

    /// Begins an upload in parts.
    pub async fn begin(&self, path: &Path) -> Result<Multipart, StorageError> {
        let id = self.must("begin_upload", path, SHORT, self.parts.create_multipart(path)).await?;
        Ok(Multipart { path: path.clone(), id })
    }

    /// Uploads the part at `index`.
    pub async fn part(&self, upload: &Multipart, index: usize, content: Bytes) -> Result<PartId, StorageError> {
        let work = self.parts.put_part(&upload.path, &upload.id, index, PutPayload::from_bytes(content));
        self.must("put_part", &upload.path, LONG, work).await
    }

    /// Puts the parts together: from here on the object is visible, whole.
    pub async fn complete(&self, upload: &Multipart, parts: Vec<PartId>) -> Result<(), StorageError> {
        let work = self.parts.complete_multipart(&upload.path, &upload.id, parts);
        self.must("complete_upload", &upload.path, LONG, work).await.map(drop)
    }

    /// Gives an upload up; one that is not there (any more) is fine.
    pub async fn abort(&self, upload: &Multipart) -> Result<(), StorageError> {
        let work = self.parts.abort_multipart(&upload.path, &upload.id);
        self.request("abort_upload", &upload.path, SHORT, work).await.map(drop)
    }

    /// The next blobs after `after`, in the order of their digests.
    pub async fn list(&self, after: Option<&Digest>, limit: usize) -> Result<Vec<StoredFile>, StorageError> {
        let mut found = Vec::new();
        for algorithm in [Algorithm::Sha256, Algorithm::Sha512] {
            if after.is_some_and(|after| after.algorithm() > algorithm) || found.len() == limit {
                continue;
            }
            let folder = self.below(&[algorithm.name()]);
            let objects = match after.filter(|after| after.algorithm() == algorithm) {
                Some(after) => self.store.list_with_offset(Some(&folder), &self.path(after)),
                None => self.store.list(Some(&folder)),
            };
            let blobs = objects
                .try_filter_map(async |meta| {
                    Ok(self.digest_at(algorithm, &meta).map(|digest| stored_file(digest, &meta)))
                })
                .take(limit - found.len())
                .try_collect::<Vec<_>>();
            found.append(&mut self.must("list", &folder, LONG, blobs).await?);
        }
        Ok(found)
    }

    /// Returns the digest of an object; `None` if it is not named like a blob.
    fn digest_at(&self, algorithm: Algorithm, meta: &ObjectMeta) -> Option<Digest> {
        let digest: Digest = format!("{}:{}", algorithm.name(), meta.location.filename()?).parse().ok()?;
        (self.path(&digest) == meta.location).then_some(digest)
    }

    /// All objects in a folder of ours.
    pub async fn folder(&self, name: &str) -> Result<Vec<ObjectMeta>, StorageError> {
        let folder = self.below(&[name]);
        self.must("list", &folder, SHORT, self.store.list(Some(&folder)).try_collect()).await
    }

    /// Writes an object, for nothing but the answer: whether the bucket is there and we may write. Listings do not tell
    /// a refusal from other trouble.
    pub async fn greet(&self, path: &Path) -> Outcome<()> {
        match tokio::time::timeout(SHORT, self.store.put(path, PutPayload::from_static(b"roadstead"))).await {
            Ok(answer) => answer.map(drop),
            Err(_) => Err(object_store::Error::Generic { store: "bucket", source: "no answer".into() }),
        }
    }

    /// A URL that lets whoever has it get the blob for a while; `None` if this store cannot make one.
    pub async fn signed(&self, digest: &Digest, good_for: Duration) -> Result<Option<Url>, StorageError> {
        let Some(signer) = &self.signer else { return Ok(None) };
        let path = self.path(digest);
        self.request("sign", digest, SHORT, signer.signed_url(Method::GET, &path, good_for)).await
    }
}

fn stored_file(digest: Digest, meta: &ObjectMeta) -> StoredFile {
    StoredFile { digest, size: meta.size, stored_at: SystemTime::from(meta.last_modified) }
}
