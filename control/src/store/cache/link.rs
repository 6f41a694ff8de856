//! Links: which group may have which content of which repository. Whatever adds or removes them keeps the figures of
//! [`totals`](crate::store::cache::totals) right.

use std::collections::HashMap;

use roadstead_proto::{ContentKind, Digest, Link, RepositoryRef};
use sqlx::{AnyConnection, Row as _, any::AnyRow};

use crate::store::{StoreResult, cache::totals, engine::sql::Sql, parse, query_for, size};

fn read(row: &AnyRow) -> StoreResult<Link> {
    Ok(Link {
        digest: parse("digest", row.try_get("digest")?)?,
        kind: parse("kind of content", row.try_get("kind")?)?,
        size_bytes: size(row.try_get("size_bytes")?)?,
        media_type: row.try_get("media_type")?,
    })
}

/// The group's link to this digest in this repository.
pub async fn find(db: &mut AnyConnection, repository: &RepositoryRef, digest: &Digest) -> StoreResult<Option<Link>> {
    query_for(
        repository,
        "SELECT links.digest AS digest, kind, size_bytes, media_type FROM links
         JOIN contents ON contents.digest = links.digest
         WHERE group_id = $1 AND upstream = $2 AND repository = $3 AND links.digest = $4",
    )
    .bind(digest.to_string())
    .fetch_optional(db)
    .await?
    .as_ref()
    .map(read)
    .transpose()
}

/// Most of what a manifest refers to that is told of as not linked.
const MAX_UNLINKED: i64 = 1000;

/// Content that a group has no link to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unlinked {
    /// The content.
    pub digest: Digest,
    /// It is recorded, and was fetched whole from the repository's upstream before.
    pub from_upstream: bool,
}

/// A manifest of this repository that refers to the digest and that the group has a link to: the one linked last.
pub async fn referring(
    db: &mut AnyConnection,
    repository: &RepositoryRef,
    digest: &Digest,
) -> StoreResult<Option<Digest>> {
    let row = query_for(
        repository,
        "SELECT manifest FROM manifest_references CROSS JOIN links
         WHERE child = $4 AND group_id = $1 AND upstream = $2 AND repository = $3
             AND links.digest = manifest_references.manifest AND links.kind = 'manifest'
         ORDER BY cached_at DESC, manifest LIMIT 1",
    )
    .bind(digest.to_string())
    .fetch_optional(db)
    .await?;
    row.map(|row| parse("digest", row.try_get(0)?)).transpose()
}

/// Returns the content that the manifest refers to and the group has no link to in this repository.
pub async fn unlinked(
    db: &mut AnyConnection,
    repository: &RepositoryRef,
    manifest: &Digest,
) -> StoreResult<Vec<Unlinked>> {
    let rows = query_for(
        repository,
        "SELECT child, CAST(CASE WHEN EXISTS (
                 SELECT 1 FROM content_sources JOIN contents ON contents.digest = content_sources.digest
                 WHERE content_sources.digest = child AND content_sources.upstream = $2)
             THEN 1 ELSE 0 END AS BIGINT)
         FROM manifest_references
         WHERE manifest = $4 AND NOT EXISTS (
             SELECT 1 FROM links WHERE group_id = $1 AND upstream = $2 AND repository = $3 AND digest = child)
         ORDER BY child LIMIT $5",
    )
    .bind(manifest.to_string())
    .bind(MAX_UNLINKED)
    .fetch_all(db)
    .await?;
    let read = |row: &AnyRow| {
        Ok(Unlinked { digest: parse("digest", row.try_get(0)?)?, from_upstream: row.try_get::<i64, _>(1)? != 0 })
    };
    rows.iter().map(read).collect()
}

/// The group's links, in this repository, to what the manifest refers to.
pub async fn referenced(
    db: &mut AnyConnection,
    repository: &RepositoryRef,
    manifest: &Digest,
) -> StoreResult<Vec<Link>> {
    let rows = query_for(
        repository,
        "SELECT links.digest AS digest, links.kind AS kind, contents.size_bytes AS size_bytes, media_type
         FROM manifest_references CROSS JOIN links CROSS JOIN contents
         WHERE manifest = $4 AND group_id = $1 AND upstream = $2 AND repository = $3
             AND links.digest = manifest_references.child AND contents.digest = links.digest
         ORDER BY links.digest",
    )
    .bind(manifest.to_string())
    .fetch_all(db)
    .await?;
    rows.iter().map(read).collect()
}

/// Adds a link to content that is recorded, and of which it is recorded what it refers to. Content once served as a
/// manifest stays one, with the media type that it was recorded with last.
pub async fn put(db: &mut AnyConnection, repository: &RepositoryRef, link: &Link, now_ms: i64) -> StoreResult<()> {
    let known = find(db, repository, &link.digest).await?.map(|known| known.kind);
    let before = match known {
        None => Some(totals::held(db, repository.group.as_str(), &link.digest).await?),
        Some(_) => None,
    };
    query_for(
        repository,
        "INSERT INTO links (group_id, upstream, repository, digest, kind, media_type, cached_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7)
         ON CONFLICT (group_id, upstream, repository, digest) DO UPDATE SET kind = $5, media_type = $6
         WHERE links.kind <> 'manifest' OR $5 = 'manifest'",
    )
    .bind(link.digest.to_string())
    .bind(link.kind.as_str())
    .bind(link.media_type.clone())
    .bind(now_ms)
    .execute(&mut *db)
    .await?;
    match (before, known) {
        (Some(before), _) => totals::link_added(db, repository, link, before, now_ms).await,
        (None, Some(ContentKind::Blob)) if link.kind == ContentKind::Manifest => {
            let after = totals::held(db, repository.group.as_str(), &link.digest).await?;
            totals::became_manifest(db, repository, link, after, now_ms).await
        }
        (None, _) => Ok(()),
    }
}

/// Removes one link, and notes the time if it was the last to that content.
pub async fn delete(
    db: &mut AnyConnection,
    repository: &RepositoryRef,
    digest: &Digest,
    now_ms: i64,
) -> StoreResult<()> {
    let Some(link) = find(db, repository, digest).await? else { return Ok(()) };
    query_for(
        repository,
        "DELETE FROM links WHERE group_id = $1 AND upstream = $2 AND repository = $3 AND digest = $4",
    )
    .bind(digest.to_string())
    .execute(&mut *db)
    .await?;
    let after = totals::held(db, repository.group.as_str(), digest).await?;
    totals::link_removed(db, repository, &link, after, now_ms).await?;
    note_if_unlinked(db, digest, now_ms).await
}

/// The need for a link.
#[derive(Clone, Copy, Debug)]
pub struct Need {
    /// Manifests beside it that refer to it.
    pub parents: i64,
    /// When it was last pulled, or cached if it never was.
    pub last_used_ms: i64,
}

/// Returns the need for the group's link to a digest in this repository, if there is one.
pub async fn need(db: &mut AnyConnection, repository: &RepositoryRef, digest: &Digest) -> StoreResult<Option<Need>> {
    let row = query_for(
        repository,
        "SELECT parents, COALESCE(last_pulled_at, cached_at) FROM links
         WHERE group_id = $1 AND upstream = $2 AND repository = $3 AND digest = $4",
    )
    .bind(digest.to_string())
    .fetch_optional(db)
    .await?;
    row.map(|row| Ok(Need { parents: row.try_get(0)?, last_used_ms: row.try_get(1)? })).transpose()
}

/// Adds up the sizes of contents of which the group has no more links than these.
pub async fn bytes_if_unlinked(db: &mut AnyConnection, group_id: &str, links: &[(Digest, i64)]) -> StoreResult<i64> {
    let mut sql = Sql::new(
        "SELECT contents.digest, size_bytes, COUNT(*) FROM contents JOIN links ON links.digest = contents.digest",
    );
    sql.push(" WHERE links.group_id = ").bind(group_id).push(" AND contents.digest IN (");
    for (at, (digest, _)) in links.iter().enumerate() {
        sql.push(if at == 0 { "" } else { ", " }).bind(digest.to_string());
    }
    sql.push(") GROUP BY contents.digest, size_bytes");
    let mut bytes = 0;
    let taken: HashMap<_, _> = links.iter().map(|(digest, count)| (digest.to_string(), *count)).collect();
    for row in sql.fetch_all(db).await? {
        let (digest, size, count): (String, i64, i64) = (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
        if taken.get(&digest).is_some_and(|taken| *taken >= count) {
            bytes += size;
        }
    }
    Ok(bytes)
}

/// Notes the time for content that nobody links.
pub async fn note_if_unlinked(db: &mut AnyConnection, digest: &Digest, now_ms: i64) -> StoreResult<()> {
    sqlx::query(
        "UPDATE contents SET unlinked_at = $2
         WHERE digest = $1 AND unlinked_at IS NULL AND NOT EXISTS (SELECT 1 FROM links WHERE links.digest = contents.digest)",
    )
    .bind(digest.to_string())
    .bind(now_ms)
    .execute(db)
    .await?;
    Ok(())
}

/// Removes all links of a group, and notes the time for content that nobody else links. Answers how many there were.
pub async fn delete_of_group(db: &mut AnyConnection, group_id: &str, now_ms: i64) -> StoreResult<u64> {
    sqlx::query(
        "UPDATE contents SET unlinked_at = $2
         WHERE digest IN (SELECT digest FROM links WHERE group_id = $1)
           AND NOT EXISTS (SELECT 1 FROM links WHERE links.digest = contents.digest AND links.group_id <> $1)",
    )
    .bind(group_id.to_owned())
    .bind(now_ms)
    .execute(&mut *db)
    .await?;
    let done = sqlx::query("DELETE FROM links WHERE group_id = $1").bind(group_id.to_owned()).execute(&mut *db).await?;
    totals::all_links_removed(db, group_id).await?;
    Ok(done.rows_affected())
}

/// Size of the content if the group has no link to it in any repository, else 0.
pub async fn size_if_unheld(db: &mut AnyConnection, group_id: &str, digest: &Digest) -> StoreResult<i64> {
    let row = sqlx::query(
        "SELECT size_bytes FROM contents
         WHERE digest = $2 AND NOT EXISTS (SELECT 1 FROM links WHERE group_id = $1 AND digest = $2)",
    )
    .bind(group_id.to_owned())
    .bind(digest.to_string())
    .fetch_optional(db)
    .await?;
    Ok(row.map(|row| row.try_get(0)).transpose()?.unwrap_or_default())
}
