//! Tags: what they mean here, and what upstream said of them last.

use roadstead_proto::{Digest, RepositoryRef, Tag};
use sqlx::{AnyConnection, Row as _};

use crate::{
    rules::tags::freshness::{Observation, TagRecord},
    store::{StoreResult, parse, query_for},
};

/// Returns the record of a tag. Its manifest counts as cached only while the group has a link to it.
pub async fn get(db: &mut AnyConnection, repository: &RepositoryRef, tag: &Tag) -> StoreResult<TagRecord> {
    let row = query_for(
        repository,
        "SELECT COALESCE(links.digest, '') AS digest, confirmed_at, seen_digest, seen_at, checked_at FROM tags
         LEFT JOIN links ON links.group_id = tags.group_id AND links.upstream = tags.upstream
             AND links.repository = tags.repository AND links.digest = tags.digest AND links.kind = 'manifest'
         WHERE tags.group_id = $1 AND tags.upstream = $2 AND tags.repository = $3 AND tag = $4",
    )
    .bind(tag.as_str().to_owned())
    .fetch_optional(db)
    .await?;
    let Some(row) = row else { return Ok(TagRecord::default()) };
    Ok(TagRecord {
        cached: observation(row.try_get("digest")?, row.try_get("confirmed_at")?)?,
        seen: observation(row.try_get("seen_digest")?, row.try_get("seen_at")?)?,
        checked_at_ms: row.try_get("checked_at")?,
    })
}

fn observation(digest: String, at_ms: i64) -> StoreResult<Option<Observation>> {
    if digest.is_empty() {
        return Ok(None);
    }
    Ok(Some(Observation { digest: parse("digest", digest)?, at_ms }))
}

/// Stores what is known of a tag.
pub async fn put(
    db: &mut AnyConnection,
    repository: &RepositoryRef,
    tag: &Tag,
    record: &TagRecord,
    now_ms: i64,
) -> StoreResult<()> {
    let columns =
        |observation: Option<Observation>| observation.map_or((String::new(), 0), |s| (s.digest.to_string(), s.at_ms));
    let ((digest, confirmed_at), (seen_digest, seen_at)) = (columns(record.cached), columns(record.seen));
    query_for(
        repository,
        "INSERT INTO tags (group_id, upstream, repository, tag, digest, confirmed_at, seen_digest, seen_at, created_at,
             checked_at, served)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $5)
         ON CONFLICT (group_id, upstream, repository, tag)
         DO UPDATE SET digest = $5, confirmed_at = $6, seen_digest = $7, seen_at = $8, checked_at = $10,
             served = $5",
    )
    .bind(tag.as_str().to_owned())
    .bind(digest)
    .bind(confirmed_at)
    .bind(seen_digest)
    .bind(seen_at)
    .bind(now_ms)
    .bind(record.checked_at_ms)
    .execute(&mut *db)
    .await?;
    query_for(
        repository,
        "UPDATE tags SET served = (SELECT tag_pins.digest FROM tag_pins
             WHERE group_id = $1 AND upstream = $2 AND repository = $3 AND tag = $4)
         WHERE group_id = $1 AND upstream = $2 AND repository = $3 AND tag = $4 AND EXISTS (
             SELECT 1 FROM tag_pins WHERE group_id = $1 AND upstream = $2 AND repository = $3 AND tag = $4)",
    )
    .bind(tag.as_str().to_owned())
    .execute(db)
    .await?;
    Ok(())
}

/// Removes a tag.
pub async fn delete(db: &mut AnyConnection, repository: &RepositoryRef, tag: &str) -> StoreResult<()> {
    query_for(repository, "DELETE FROM tags WHERE group_id = $1 AND upstream = $2 AND repository = $3 AND tag = $4")
        .bind(tag.to_owned())
        .execute(db)
        .await?;
    Ok(())
}

/// Removes a tag if it resolves to this digest here. Answers whether it did.
pub async fn delete_if(
    db: &mut AnyConnection,
    repository: &RepositoryRef,
    tag: &str,
    digest: &Digest,
) -> StoreResult<bool> {
    let done = query_for(
        repository,
        "DELETE FROM tags WHERE group_id = $1 AND upstream = $2 AND repository = $3 AND tag = $4 AND digest = $5",
    )
    .bind(tag.to_owned())
    .bind(digest.to_string())
    .execute(db)
    .await?;
    Ok(done.rows_affected() > 0)
}

/// Tags of the repository that upstream last said means `digest`, and that do not mean it here yet.
pub async fn awaiting(db: &mut AnyConnection, repository: &RepositoryRef, digest: &Digest) -> StoreResult<Vec<Tag>> {
    let rows = query_for(
        repository,
        "SELECT tag FROM tags
         WHERE group_id = $1 AND upstream = $2 AND repository = $3 AND seen_digest = $4 AND digest <> seen_digest",
    )
    .bind(digest.to_string())
    .fetch_all(db)
    .await?;
    rows.iter().map(|row| parse("tag", row.try_get(0)?)).collect()
}

/// Removes all tags of a group, whether or not they mean something. Answers how many meant something.
pub async fn delete_of_group(db: &mut AnyConnection, group_id: &str) -> StoreResult<u64> {
    let rows = sqlx::query("DELETE FROM tags WHERE group_id = $1 AND digest = ''").bind(group_id.to_owned());
    rows.execute(&mut *db).await?;
    let done = sqlx::query("DELETE FROM tags WHERE group_id = $1").bind(group_id.to_owned()).execute(db).await?;
    Ok(done.rows_affected())
}

/// Forgets what upstream said of tags of the repository that mean nothing here.
pub async fn delete_meaningless(db: &mut AnyConnection, repository: &RepositoryRef) -> StoreResult<()> {
    query_for(repository, "DELETE FROM tags WHERE group_id = $1 AND upstream = $2 AND repository = $3 AND digest = ''")
        .execute(db)
        .await?;
    Ok(())
}
