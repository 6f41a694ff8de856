//! Damaged blobs in a bucket: out of sight under `PREFIX/quarantine/`, for a day, a hundred at most.

use std::time::{Duration, SystemTime};

use object_store::ObjectMeta;
use roadstead_proto::Digest;
use uuid::Uuid;

use super::bucket::Bucket;
use crate::storage::StorageError;

const FOLDER: &str = "quarantine";
/// Time for which corrupt blobs are kept for examination: a day.
const KEEP: Duration = Duration::from_secs(24 * 3600);
/// Most damaged blobs that are kept.
const MOST: usize = 100;

/// Copies a blob away and deletes it; one that is not there is fine.
pub async fn put_aside(bucket: &Bucket, digest: &Digest) -> Result<(), StorageError> {
    // A UUIDv7 begins with the time: names sort by age.
    let name = format!("{}-{}-{}", Uuid::now_v7(), digest.algorithm().name(), digest.hex());
    let path = bucket.path(digest);
    match bucket.copy(&path, &bucket.below(&[FOLDER, &name])).await {
        Ok(false) => return Ok(()),
        Ok(true) => {}
        // To be rid of it matters more than to look into it.
        Err(error) => tracing::warn!(blob.digest = %digest, %error, "a damaged blob is deleted without a copy"),
    }
    bucket.delete(&path).await
}

/// Deletes what was put aside long ago, and the oldest of too many.
pub async fn tidy(bucket: &Bucket) -> Result<(), StorageError> {
    let mut aside = bucket.folder(FOLDER).await?;
    aside.sort_unstable_by(|a, b| a.location.cmp(&b.location));
    let surplus = aside.len().saturating_sub(MOST);
    for (position, object) in aside.iter().enumerate() {
        if position < surplus || age(object) >= KEEP {
            bucket.delete(&object.location).await?;
        }
    }
    Ok(())
}

fn age(object: &ObjectMeta) -> Duration {
    SystemTime::now().duration_since(object.last_modified.into()).unwrap_or_default()
}
