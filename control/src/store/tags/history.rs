//! The history of tags: the digests that they resolved to upstream, and pins.

use roadstead_proto::{Digest, RepositoryRef, Tag};
use sqlx::{AnyConnection, Row as _};

use crate::{
    rules::tags::freshness::{Observation, Pin},
    store::{StoreResult, parse, query_for},
};

/// Digests that are kept for each tag.
const KEPT: i64 = 100;

/// A digest that a tag has meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Meaning {
    /// The digest.
    pub digest: Digest,
    /// When it was first seen.
    pub first_seen_ms: i64,
    /// When it was last seen, as far as it was noted.
    pub last_seen_ms: i64,
    /// True if the group has it.
    pub cached: bool,
}

/// Notes that a tag was seen to mean a digest, and forgets the oldest where there are too many.
pub async fn note(db: &mut AnyConnection, repository: &RepositoryRef, tag: &Tag, seen: Observation) -> StoreResult<()> {
    query_for(
        repository,
        "INSERT INTO tag_history (group_id, upstream, repository, tag, digest, first_seen, last_seen)
         VALUES ($1, $2, $3, $4, $5, $6, $6)
         ON CONFLICT (group_id, upstream, repository, tag, digest) DO UPDATE SET last_seen = $6
         WHERE tag_history.last_seen < $6",
    )
    .bind(tag.as_str().to_owned())
    .bind(seen.digest.to_string())
    .bind(seen.at_ms)
    .execute(&mut *db)
    .await?;
    query_for(
        repository,
        "DELETE FROM tag_history WHERE group_id = $1 AND upstream = $2 AND repository = $3 AND tag = $4
             AND digest NOT IN (
                 SELECT digest FROM tag_history WHERE group_id = $1 AND upstream = $2 AND repository = $3 AND tag = $4
                 ORDER BY last_seen DESC, first_seen DESC, digest LIMIT $5)",
    )
    .bind(tag.as_str().to_owned())
    .bind(KEPT)
    .execute(db)
    .await?;
    Ok(())
}

/// Returns the history of a tag, the latest digest first.
pub async fn all(db: &mut AnyConnection, repository: &RepositoryRef, tag: &Tag) -> StoreResult<Vec<Meaning>> {
    let rows = query_for(
        repository,
        "SELECT tag_history.digest AS digest, first_seen, last_seen, COALESCE(links.kind, '') AS kind FROM tag_history
         LEFT JOIN links ON links.group_id = tag_history.group_id AND links.upstream = tag_history.upstream
             AND links.repository = tag_history.repository AND links.digest = tag_history.digest
             AND links.kind = 'manifest'
         WHERE tag_history.group_id = $1 AND tag_history.upstream = $2 AND tag_history.repository = $3 AND tag = $4
         ORDER BY last_seen DESC, first_seen DESC, tag_history.digest",
    )
    .bind(tag.as_str().to_owned())
    .fetch_all(db)
    .await?;
    rows.iter()
        .map(|row| {
            Ok(Meaning {
                digest: parse("digest", row.try_get("digest")?)?,
                first_seen_ms: row.try_get("first_seen")?,
                last_seen_ms: row.try_get("last_seen")?,
                cached: !row.try_get::<String, _>("kind")?.is_empty(),
            })
        })
        .collect()
}

/// When a tag was first seen to mean a digest.
pub async fn first_seen(
    db: &mut AnyConnection,
    repository: &RepositoryRef,
    tag: &Tag,
    digest: &Digest,
) -> StoreResult<Option<i64>> {
    let row = query_for(
        repository,
        "SELECT first_seen FROM tag_history
         WHERE group_id = $1 AND upstream = $2 AND repository = $3 AND tag = $4 AND digest = $5",
    )
    .bind(tag.as_str().to_owned())
    .bind(digest.to_string())
    .fetch_optional(db)
    .await?;
    Ok(row.map(|row| row.try_get(0)).transpose()?)
}

/// Forgets what tags of a repository have meant.
pub async fn forget(db: &mut AnyConnection, repository: &RepositoryRef) -> StoreResult<()> {
    query_for(repository, "DELETE FROM tag_history WHERE group_id = $1 AND upstream = $2 AND repository = $3")
        .execute(db)
        .await?;
    Ok(())
}

/// Fixes a tag to a digest.
pub async fn pin(
    db: &mut AnyConnection,
    repository: &RepositoryRef,
    tag: &Tag,
    digest: &Digest,
    now_ms: i64,
) -> StoreResult<()> {
    query_for(
        repository,
        "INSERT INTO tag_pins (group_id, upstream, repository, tag, digest, pinned_at) VALUES ($1, $2, $3, $4, $5, $6)
         ON CONFLICT (group_id, upstream, repository, tag) DO UPDATE SET digest = $5, pinned_at = $6",
    )
    .bind(tag.as_str().to_owned())
    .bind(digest.to_string())
    .bind(now_ms)
    .execute(&mut *db)
    .await?;
    query_for(
        repository,
        "UPDATE tags SET served = $5 WHERE group_id = $1 AND upstream = $2 AND repository = $3 AND tag = $4",
    )
    .bind(tag.as_str().to_owned())
    .bind(digest.to_string())
    .execute(db)
    .await?;
    Ok(())
}

/// Returns the number of a group's pinned tags.
pub async fn count(db: &mut AnyConnection, group_id: &str) -> StoreResult<i64> {
    let row = sqlx::query("SELECT COUNT(*) FROM tag_pins WHERE group_id = $1").bind(group_id.to_owned());
    Ok(row.fetch_one(db).await?.try_get(0)?)
}

/// Unpins a tag. Returns whether it was pinned.
pub async fn unpin(db: &mut AnyConnection, repository: &RepositoryRef, tag: &Tag) -> StoreResult<bool> {
    let done = query_for(
        repository,
        "DELETE FROM tag_pins WHERE group_id = $1 AND upstream = $2 AND repository = $3 AND tag = $4",
    )
    .bind(tag.as_str().to_owned())
    .execute(&mut *db)
    .await?;
    query_for(
        repository,
        "UPDATE tags SET served = digest WHERE group_id = $1 AND upstream = $2 AND repository = $3 AND tag = $4",
    )
    .bind(tag.as_str().to_owned())
    .execute(db)
    .await?;
    Ok(done.rows_affected() > 0)
}

/// Returns the pin of a tag.
pub async fn pinned(db: &mut AnyConnection, repository: &RepositoryRef, tag: &Tag) -> StoreResult<Option<Pin>> {
    let row = query_for(
        repository,
        "SELECT tag_pins.digest AS digest, pinned_at, COALESCE(links.kind, '') AS kind FROM tag_pins
         LEFT JOIN links ON links.group_id = tag_pins.group_id AND links.upstream = tag_pins.upstream
             AND links.repository = tag_pins.repository AND links.digest = tag_pins.digest AND links.kind = 'manifest'
         WHERE tag_pins.group_id = $1 AND tag_pins.upstream = $2 AND tag_pins.repository = $3 AND tag = $4",
    )
    .bind(tag.as_str().to_owned())
    .fetch_optional(db)
    .await?;
    row.map(|row| {
        Ok(Pin {
            digest: parse("digest", row.try_get("digest")?)?,
            linked: !row.try_get::<String, _>("kind")?.is_empty(),
            at_ms: row.try_get("pinned_at")?,
        })
    })
    .transpose()
}
