//! The input of retention: sizes and kinds of linked content, pins, and totals.

use std::collections::{BTreeSet, HashMap};

use roadstead_proto::{Digest, RepositoryRef};
use sqlx::{AnyConnection, Row as _};

use crate::{
    rules::cache::retention::Content,
    store::{StoreResult, parse, query_for},
};

/// The content that a group holds of one repository.
pub async fn contents(db: &mut AnyConnection, repository: &RepositoryRef) -> StoreResult<HashMap<Digest, Content>> {
    let rows = query_for(repository,
        "SELECT links.digest AS digest, size_bytes, kind, last_pulled_at FROM links JOIN contents ON contents.digest = links.digest
         WHERE group_id = $1 AND upstream = $2 AND repository = $3",
    )
    .fetch_all(db)
    .await?;
    rows.iter()
        .map(|row| {
            let content = Content {
                size_bytes: row.try_get("size_bytes")?,
                kind: parse("kind of content", row.try_get("kind")?)?,
                last_pulled_ms: row.try_get("last_pulled_at")?,
            };
            Ok((parse("digest", row.try_get("digest")?)?, content))
        })
        .collect()
}

/// Returns the digests that tags of the repository are pinned to.
pub async fn pinned(db: &mut AnyConnection, repository: &RepositoryRef) -> StoreResult<BTreeSet<Digest>> {
    let rows =
        query_for(repository, "SELECT digest FROM tag_pins WHERE group_id = $1 AND upstream = $2 AND repository = $3")
            .fetch_all(db)
            .await?;
    rows.iter().map(|row| parse("digest", row.try_get(0)?)).collect()
}

/// Bytes of distinct content that a group holds.
pub async fn bytes_of_group(db: &mut AnyConnection, group_id: &str) -> StoreResult<i64> {
    let row = sqlx::query("SELECT bytes FROM group_totals WHERE group_id = $1")
        .bind(group_id.to_owned())
        .fetch_optional(db)
        .await?;
    Ok(row.map(|row| row.try_get(0)).transpose()?.unwrap_or_default())
}

/// Bytes that all groups hold, where what several hold counts for each: never less than [`bytes_of_all`], and by a row
/// for each group.
pub async fn most_bytes_of_all(db: &mut AnyConnection) -> StoreResult<i64> {
    let row = sqlx::query("SELECT CAST(COALESCE(SUM(bytes), 0) AS BIGINT) FROM group_totals").fetch_one(db).await?;
    Ok(row.try_get(0)?)
}

/// Bytes of all content that some group holds, once each. This goes through all of it.
pub async fn bytes_of_all(db: &mut AnyConnection) -> StoreResult<i64> {
    let row =
        sqlx::query("SELECT CAST(COALESCE(SUM(size_bytes), 0) AS BIGINT) FROM contents WHERE unlinked_at IS NULL")
            .fetch_one(db)
            .await?;
    Ok(row.try_get(0)?)
}

/// Returns whether a group holds anything that was neither pulled nor cached since that time.
pub async fn has_unused_since(db: &mut AnyConnection, group_id: &str, since_ms: i64) -> StoreResult<bool> {
    let row =
        sqlx::query("SELECT 1 FROM links WHERE group_id = $1 AND COALESCE(last_pulled_at, cached_at) < $2 LIMIT 1")
            .bind(group_id.to_owned())
            .bind(since_ms)
            .fetch_optional(db)
            .await?;
    Ok(row.is_some())
}

/// The size of the smallest blob store of nodes that were heard since that time; `None` if none tells one.
pub async fn smallest_store(db: &mut AnyConnection, heard_since_ms: i64) -> StoreResult<Option<i64>> {
    let row = sqlx::query(
        "SELECT MIN(store_total_bytes) FROM nodes WHERE heard_at >= $1 AND stopped_at = 0 AND store_total_bytes > 0",
    )
    .bind(heard_since_ms)
    .fetch_one(db)
    .await?;
    Ok(row.try_get(0)?)
}
