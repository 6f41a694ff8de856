//! Linked content that is not in the store as it should be, and whose turn it is to be looked at.

use roadstead_proto::{Digest, RepositoryName, UpstreamHost};
use sqlx::{AnyConnection, Row as _};

use crate::rules::cache::corruption::{Corruption, Noticed, Stored};
use crate::store::{StoreResult, parse};

/// Records what was noticed about content that somebody links. Answers whether somebody does.
pub async fn put(db: &mut AnyConnection, noticed: &Noticed, now_ms: i64) -> StoreResult<bool> {
    let done = sqlx::query(
        "INSERT INTO corruptions (digest, kind, found_bytes, noticed_at)
         SELECT digest, $2, $3, $4 FROM contents WHERE digest = $1 AND unlinked_at IS NULL
         ON CONFLICT (digest) DO UPDATE SET kind = $2, found_bytes = $3, noticed_at = $4, healed_at = NULL",
    )
    .bind(noticed.digest.to_string())
    .bind(noticed.kind.as_str())
    .bind(noticed.found_bytes)
    .bind(now_ms)
    .execute(db)
    .await?;
    Ok(done.rows_affected() > 0)
}

/// Returns whether all nodes that were heard since share this store.
pub async fn is_sole_store(db: &mut AnyConnection, store_id: &str, heard_since_ms: i64) -> StoreResult<bool> {
    let row = sqlx::query("SELECT 1 FROM nodes WHERE store_id <> $1 AND store_id <> '' AND heard_at >= $2 LIMIT 1")
        .bind(store_id.to_owned())
        .bind(heard_since_ms)
        .fetch_optional(db)
        .await?;
    Ok(row.is_none())
}

/// Notes that content is whole again, if it was not.
pub async fn heal(db: &mut AnyConnection, digest: &Digest, now_ms: i64) -> StoreResult<()> {
    sqlx::query("UPDATE corruptions SET healed_at = $2 WHERE digest = $1 AND healed_at IS NULL")
        .bind(digest.to_string())
        .bind(now_ms)
        .execute(db)
        .await?;
    Ok(())
}

/// Forgets what was healed before.
pub async fn prune(db: &mut AnyConnection, healed_before_ms: i64) -> StoreResult<()> {
    sqlx::query("DELETE FROM corruptions WHERE healed_at <= $1").bind(healed_before_ms).execute(db).await?;
    Ok(())
}

/// Corruption to what a group links, noticed at `since_ms` or later, healed or not.
pub async fn of_group(db: &mut AnyConnection, group_id: &str, since_ms: i64) -> StoreResult<Vec<Corruption>> {
    let rows = sqlx::query(
        "SELECT corruptions.digest AS digest, corruptions.kind AS kind, found_bytes, noticed_at, healed_at, size_bytes
         FROM corruptions JOIN contents ON contents.digest = corruptions.digest
         WHERE noticed_at >= $2
             AND EXISTS (SELECT 1 FROM links WHERE links.digest = corruptions.digest AND links.group_id = $1)
         ORDER BY corruptions.digest",
    )
    .bind(group_id.to_owned())
    .bind(since_ms)
    .fetch_all(&mut *db)
    .await?;
    let mut damages = Vec::with_capacity(rows.len());
    for row in rows {
        let digest: Digest = parse("digest", row.try_get("digest")?)?;
        damages.push(Corruption {
            noticed: Noticed {
                digest,
                kind: parse("kind of damage", row.try_get("kind")?)?,
                found_bytes: row.try_get("found_bytes")?,
            },
            size_bytes: row.try_get("size_bytes")?,
            images: images(db, group_id, &digest).await?,
            noticed_at_ms: row.try_get("noticed_at")?,
            healed_at_ms: row.try_get("healed_at")?,
        });
    }
    Ok(damages)
}

/// Images of the group that have the content.
async fn images(db: &mut AnyConnection, group_id: &str, digest: &Digest) -> StoreResult<Vec<String>> {
    let rows = sqlx::query(
        "SELECT DISTINCT upstream, repository FROM links WHERE digest = $1 AND group_id = $2
         ORDER BY upstream, repository",
    )
    .bind(digest.to_string())
    .bind(group_id.to_owned())
    .fetch_all(db)
    .await?;
    let image = |row: &sqlx::any::AnyRow| {
        let upstream: UpstreamHost = parse("upstream", row.try_get(0)?)?;
        let repository: RepositoryName = parse("repository", row.try_get(1)?)?;
        Ok(format!("{upstream}/{repository}"))
    };
    rows.iter().map(image).collect()
}

/// Hands out linked contents that were not looked at since `before_ms`; the longest ago first.
pub async fn claim_scrub(db: &mut AnyConnection, before_ms: i64, limit: i64, now_ms: i64) -> StoreResult<Vec<Stored>> {
    let rows = sqlx::query(
        "UPDATE contents SET scrubbed_at = $3 WHERE digest IN (
             SELECT digest FROM contents WHERE scrubbed_at <= $1 AND unlinked_at IS NULL
             ORDER BY scrubbed_at LIMIT $2)
         RETURNING digest, size_bytes",
    )
    .bind(before_ms)
    .bind(limit)
    .bind(now_ms)
    .fetch_all(db)
    .await?;
    rows.iter().map(read).collect()
}

/// Distinct contents that a group links, in the order of digests.
pub async fn contents_of_group(
    db: &mut AnyConnection,
    group_id: &str,
    after: &str,
    limit: i64,
) -> StoreResult<Vec<Stored>> {
    let rows = sqlx::query(
        "SELECT contents.digest AS digest, size_bytes FROM (
             SELECT DISTINCT digest FROM links WHERE group_id = $1 AND digest > $2 ORDER BY digest LIMIT $3
         ) AS held JOIN contents ON contents.digest = held.digest ORDER BY contents.digest",
    )
    .bind(group_id.to_owned())
    .bind(after.to_owned())
    .bind(limit)
    .fetch_all(db)
    .await?;
    rows.iter().map(read).collect()
}

/// Counts the distinct contents that a group links.
pub async fn count_of_group(db: &mut AnyConnection, group_id: &str) -> StoreResult<i64> {
    let row = sqlx::query("SELECT COUNT(DISTINCT digest) FROM links WHERE group_id = $1")
        .bind(group_id.to_owned())
        .fetch_one(db)
        .await?;
    Ok(row.try_get(0)?)
}

fn read(row: &sqlx::any::AnyRow) -> StoreResult<Stored> {
    Ok(Stored { digest: parse("digest", row.try_get("digest")?)?, size_bytes: row.try_get("size_bytes")? })
}
