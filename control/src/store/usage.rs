//! Counts of pulls, taken in batches that may arrive twice.

use roadstead_proto::Digest;
use sqlx::AnyConnection;

use super::{StoreResult, at};
use crate::content::GroupRepository;

/// Notes that a batch was counted. Answers false if it was already.
pub async fn begin_batch(db: &mut AnyConnection, batch_id: &str, now_ms: i64) -> StoreResult<bool> {
    let done = sqlx::query("INSERT INTO usage_batches (id, received_at) VALUES ($1, $2) ON CONFLICT (id) DO NOTHING")
        .bind(batch_id.to_owned())
        .bind(now_ms)
        .execute(db)
        .await?;
    Ok(done.rows_affected() > 0)
}

/// Notes when a link was last used, if that is later than what is known.
pub async fn touch(db: &mut AnyConnection, place: &GroupRepository, digest: &Digest, at_ms: i64) -> StoreResult<()> {
    at(
        place,
        "UPDATE links SET last_pulled_at = $5
         WHERE group_id = $1 AND upstream = $2 AND repository = $3 AND digest = $4
             AND (last_pulled_at IS NULL OR last_pulled_at < $5)",
    )
    .bind(digest.to_string())
    .bind(at_ms)
    .execute(db)
    .await?;
    Ok(())
}

/// Adds to a group's counts; does nothing for a group that is gone.
pub async fn add(db: &mut AnyConnection, group_id: &str, hits: i64, misses: i64) -> StoreResult<()> {
    sqlx::query("UPDATE groups SET hits = hits + $2, misses = misses + $3 WHERE id = $1")
        .bind(group_id.to_owned())
        .bind(hits)
        .bind(misses)
        .execute(db)
        .await?;
    Ok(())
}

/// Forgets batches from before that time: nobody sends those again.
pub async fn prune_batches(db: &mut AnyConnection, before_ms: i64) -> StoreResult<()> {
    sqlx::query("DELETE FROM usage_batches WHERE received_at < $1").bind(before_ms).execute(db).await?;
    Ok(())
}
