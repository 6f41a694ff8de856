//! What a group holds: lists for people, figures, and whole repositories for the purge rule.

use roadstead_proto::{Digest, RepositoryName, UpstreamHost};
use sqlx::{AnyConnection, Row as _, any::AnyRow};

use super::{StoreResult, at, parse};
use crate::{
    content::{ContentKind, GroupRepository},
    purge::{Held, Inventory},
};

/// A link as lists show it.
#[derive(Clone, Debug)]
pub struct Item {
    /// Where.
    pub place: GroupRepository,
    /// The content.
    pub digest: Digest,
    /// Its own size.
    pub size_bytes: i64,
    /// Of manifests.
    pub media_type: String,
    /// When the group cached it.
    pub cached_at_ms: i64,
    /// When it was last pulled.
    pub last_pulled_at_ms: Option<i64>,
}

/// A group's figures.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Distinct repositories.
    pub images: i64,
    /// Links to manifests.
    pub manifests: i64,
    /// Distinct blobs.
    pub blobs: i64,
    /// Bytes of distinct content.
    pub bytes: i64,
}

/// Where a list goes on: after this upstream, repository and digest. Empty texts come before everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Position {
    /// The upstream's host.
    pub upstream: String,
    /// The repository.
    pub repository: String,
    /// The digest.
    pub digest: String,
}

/// A group's links of one kind after a position, in the order of upstream, repository and digest; of one repository
/// where that is given.
pub async fn page(
    db: &mut AnyConnection,
    group_id: &str,
    kind: ContentKind,
    image: Option<&(UpstreamHost, RepositoryName)>,
    after: &Position,
    limit: i64,
) -> StoreResult<Vec<Item>> {
    let (host, repository) = image.map_or_else(Default::default, |(host, name)| (host.to_string(), name.to_string()));
    let rows = sqlx::query(
        "SELECT upstream, repository, links.digest AS digest, size_bytes, media_type, cached_at, last_pulled_at
         FROM links JOIN contents ON contents.digest = links.digest
         WHERE group_id = $1 AND kind = $2 AND (upstream, repository, links.digest) > ($3, $4, $5)
             AND ($6 = '' OR upstream = $6) AND ($7 = '' OR repository = $7)
         ORDER BY upstream, repository, links.digest LIMIT $8",
    )
    .bind(group_id.to_owned())
    .bind(kind.as_str())
    .bind(after.upstream.clone())
    .bind(after.repository.clone())
    .bind(after.digest.clone())
    .bind(host)
    .bind(repository)
    .bind(limit)
    .fetch_all(db)
    .await?;
    rows.iter().map(|row| read(group_id, row)).collect()
}

fn read(group_id: &str, row: &AnyRow) -> StoreResult<Item> {
    Ok(Item {
        place: GroupRepository {
            group_id: group_id.to_owned(),
            upstream: parse("upstream host", row.try_get("upstream")?)?,
            repository: parse("repository", row.try_get("repository")?)?,
        },
        digest: parse("digest", row.try_get("digest")?)?,
        size_bytes: row.try_get("size_bytes")?,
        media_type: row.try_get("media_type")?,
        cached_at_ms: row.try_get("cached_at")?,
        last_pulled_at_ms: row.try_get("last_pulled_at")?,
    })
}

/// Tags that mean this manifest, in order.
pub async fn tags_of(db: &mut AnyConnection, place: &GroupRepository, manifest: &Digest) -> StoreResult<Vec<String>> {
    let rows = at(
        place,
        "SELECT tag FROM tags WHERE group_id = $1 AND upstream = $2 AND repository = $3 AND digest = $4 ORDER BY tag",
    )
    .bind(manifest.to_string())
    .fetch_all(db)
    .await?;
    rows.iter().map(|row| Ok(row.try_get(0)?)).collect()
}

/// Bytes of a manifest and of everything the group has linked that it refers to, directly or through other manifests,
/// each counted once.
pub async fn image_bytes(db: &mut AnyConnection, place: &GroupRepository, manifest: &Digest) -> StoreResult<i64> {
    let row = at(
        place,
        "WITH RECURSIVE held (digest) AS (
             SELECT digest FROM contents WHERE digest = $4
             UNION
             SELECT links.digest FROM held
             JOIN manifest_references ON manifest_references.manifest = held.digest
             JOIN links ON links.digest = manifest_references.child
                 AND group_id = $1 AND upstream = $2 AND repository = $3)
         SELECT CAST(COALESCE(SUM(size_bytes), 0) AS BIGINT) FROM contents WHERE digest IN (SELECT digest FROM held)",
    )
    .bind(manifest.to_string())
    .fetch_one(db)
    .await?;
    Ok(row.try_get(0)?)
}

/// Counts what a group holds.
pub async fn figures(db: &mut AnyConnection, group_id: &str) -> StoreResult<Figures> {
    let row = sqlx::query(
        "SELECT
             (SELECT COUNT(*) FROM (SELECT DISTINCT upstream, repository FROM links WHERE group_id = $1) AS images),
             (SELECT COUNT(*) FROM links WHERE group_id = $1 AND kind = 'manifest'),
             (SELECT COUNT(DISTINCT digest) FROM links WHERE group_id = $1 AND kind = 'blob'),
             (SELECT CAST(COALESCE(SUM(size_bytes), 0) AS BIGINT) FROM contents
              WHERE digest IN (SELECT digest FROM links WHERE group_id = $1))",
    )
    .bind(group_id.to_owned())
    .fetch_one(db)
    .await?;
    Ok(Figures { images: row.try_get(0)?, manifests: row.try_get(1)?, blobs: row.try_get(2)?, bytes: row.try_get(3)? })
}

/// How many links to manifests and to blobs a group has.
pub async fn count_links(db: &mut AnyConnection, group_id: &str) -> StoreResult<(i64, i64)> {
    let row = sqlx::query(
        "SELECT (SELECT COUNT(*) FROM links WHERE group_id = $1 AND kind = 'manifest'),
                (SELECT COUNT(*) FROM links WHERE group_id = $1 AND kind = 'blob')",
    )
    .bind(group_id.to_owned())
    .fetch_one(db)
    .await?;
    Ok((row.try_get(0)?, row.try_get(1)?))
}

/// The repositories that a group holds something of.
pub async fn repositories(db: &mut AnyConnection, group_id: &str) -> StoreResult<Vec<GroupRepository>> {
    let rows = sqlx::query(
        "SELECT DISTINCT upstream, repository FROM links WHERE group_id = $1 ORDER BY upstream, repository",
    )
    .bind(group_id.to_owned())
    .fetch_all(db)
    .await?;
    rows.iter().map(|row| read_place(group_id, row)).collect()
}

/// The repositories of which a group holds something that was neither pulled nor cached since that time.
pub async fn repositories_unused_since(
    db: &mut AnyConnection,
    group_id: &str,
    since_ms: i64,
) -> StoreResult<Vec<GroupRepository>> {
    let rows = sqlx::query(
        "SELECT DISTINCT upstream, repository FROM links
         WHERE group_id = $1 AND COALESCE(last_pulled_at, cached_at) < $2 ORDER BY upstream, repository",
    )
    .bind(group_id.to_owned())
    .bind(since_ms)
    .fetch_all(db)
    .await?;
    rows.iter().map(|row| read_place(group_id, row)).collect()
}

fn read_place(group_id: &str, row: &AnyRow) -> StoreResult<GroupRepository> {
    Ok(GroupRepository {
        group_id: group_id.to_owned(),
        upstream: parse("upstream host", row.try_get(0)?)?,
        repository: parse("repository", row.try_get(1)?)?,
    })
}

/// All that a group holds of one repository.
pub async fn load(db: &mut AnyConnection, place: &GroupRepository) -> StoreResult<Inventory> {
    let mut inventory = Inventory::default();
    let links = at(
        place,
        "SELECT digest, kind, cached_at, last_pulled_at FROM links
         WHERE group_id = $1 AND upstream = $2 AND repository = $3",
    );
    for row in links.fetch_all(&mut *db).await? {
        let pulled: Option<i64> = row.try_get(3)?;
        let held =
            Held { kind: parse("kind of content", row.try_get(1)?)?, last_used_ms: pulled.unwrap_or(row.try_get(2)?) };
        inventory.links.insert(parse("digest", row.try_get(0)?)?, held);
    }
    let tags = at(
        place,
        "SELECT tag, digest FROM tags WHERE group_id = $1 AND upstream = $2 AND repository = $3 AND digest <> ''",
    );
    for row in tags.fetch_all(&mut *db).await? {
        inventory.tags.insert(row.try_get(0)?, parse("digest", row.try_get(1)?)?);
    }
    let references = at(
        place,
        "SELECT manifest, child FROM manifest_references
         JOIN links ON links.digest = manifest_references.manifest
         WHERE group_id = $1 AND upstream = $2 AND repository = $3",
    );
    for row in references.fetch_all(db).await? {
        inventory.references.insert((parse("digest", row.try_get(0)?)?, parse("digest", row.try_get(1)?)?));
    }
    Ok(inventory)
}
