//! Totals beside the links, so that lists and figures need not add anything up: the size of whole images and how
//! many manifests need some content (in the links themselves), the figures of each image, and those of each group.
//! Only [`links`](crate::store::cache::link) calls these, whenever a link comes or goes. If the order of tables
//! decides between a few lookups and a full scan, they are joined by `CROSS JOIN`,
//! which SQLite takes as the order.

use roadstead_proto::{ContentKind, Digest, Link, RepositoryRef};
use sqlx::{AnyConnection, Row as _};

use crate::store::{StoreResult, query_for};

/// Up to how many manifests of an image are gone through to find those that refer to something. With more of them, it
/// is faster to go through everything that refers to it.
const FEW_MANIFESTS: i64 = 200;

/// The manifests of one repository from which one comes to `$4`, itself among them. Which of the two is quick depends
/// on what there is more of: manifests in the repository, or manifests anywhere that refer to the content.
macro_rules! above {
    (by_repository) => {
        "WITH RECURSIVE above (digest) AS (
             SELECT digest FROM contents WHERE digest = $4
             UNION
             SELECT beside.digest FROM above
             CROSS JOIN links AS beside CROSS JOIN manifest_references
             WHERE beside.group_id = $1 AND beside.kind = 'manifest' AND beside.upstream = $2 AND beside.repository = $3
                 AND manifest_references.manifest = beside.digest AND manifest_references.child = above.digest)
         SELECT digest FROM above"
    };
    (by_reference) => {
        "WITH RECURSIVE above (digest) AS (
             SELECT digest FROM contents WHERE digest = $4
             UNION
             SELECT beside.digest FROM above
             CROSS JOIN manifest_references CROSS JOIN links AS beside
             WHERE manifest_references.child = above.digest AND beside.digest = manifest_references.manifest
                 AND beside.group_id = $1 AND beside.upstream = $2 AND beside.repository = $3 AND beside.kind = 'manifest')
         SELECT digest FROM above"
    };
}

/// Updates of links around one.
macro_rules! update {
    ($set:literal, $how:ident) => {
        concat!(
            "UPDATE links SET ",
            $set,
            " WHERE group_id = $1 AND upstream = $2 AND repository = $3 AND digest IN (",
            above!($how),
            ")"
        )
    };
}

/// The bytes of a manifest and of all linked beside it that it refers to, each once.
macro_rules! measure {
    ($how:ident) => {
        update!(
            "held_bytes = (
                 WITH RECURSIVE held (digest, kind) AS (
                     SELECT own.digest, own.kind FROM links AS own WHERE own.group_id = $1 AND own.upstream = $2
                         AND own.repository = $3 AND own.digest = links.digest
                     UNION
                     SELECT beside.digest, beside.kind FROM held
                     CROSS JOIN manifest_references CROSS JOIN links AS beside
                     WHERE held.kind = 'manifest' AND manifest_references.manifest = held.digest
                         AND beside.group_id = $1 AND beside.upstream = $2 AND beside.repository = $3
                         AND beside.digest = manifest_references.child)
                 SELECT CAST(COALESCE(SUM(contents.size_bytes), 0) AS BIGINT) FROM held
                 JOIN contents ON contents.digest = held.digest)",
            $how
        )
    };
}

/// True if a group has links to some content, whatever the repository.
#[derive(Clone, Copy, Debug)]
pub struct Held {
    /// The size of the content.
    pub size_bytes: i64,
    /// As anything.
    pub at_all: bool,
    /// As a blob.
    pub as_blob: bool,
}

/// The way in which a group holds some content, if it does.
pub async fn held(db: &mut AnyConnection, group_id: &str, digest: &Digest) -> StoreResult<Held> {
    let row = sqlx::query(
        "SELECT size_bytes,
                CAST(CASE WHEN EXISTS (SELECT 1 FROM links WHERE digest = $2 AND group_id = $1)
                    THEN 1 ELSE 0 END AS BIGINT),
                CAST(CASE WHEN EXISTS (SELECT 1 FROM links WHERE digest = $2 AND group_id = $1 AND kind = 'blob')
                    THEN 1 ELSE 0 END AS BIGINT)
         FROM contents WHERE digest = $2",
    )
    .bind(group_id.to_owned())
    .bind(digest.to_string())
    .fetch_one(db)
    .await?;
    Ok(Held {
        size_bytes: row.try_get(0)?,
        at_all: row.try_get::<i64, _>(1)? != 0,
        as_blob: row.try_get::<i64, _>(2)? != 0,
    })
}

/// Counts a link that has just come. `before`: what the group held until then.
pub async fn link_added(
    db: &mut AnyConnection,
    repository: &RepositoryRef,
    link: &Link,
    before: Held,
    now_ms: i64,
) -> StoreResult<()> {
    let manifests = add_to_image(db, repository, link.kind, 1, before.size_bytes, now_ms).await?;
    let is_blob = link.kind == ContentKind::Blob;
    let (blobs, bytes) = (i64::from(is_blob && !before.as_blob), if before.at_all { 0 } else { before.size_bytes });
    add_to_group(db, repository.group.as_str(), blobs, bytes).await?;
    count_parents(db, repository, &link.digest, manifests).await?;
    spread(db, repository, link, before.size_bytes, 1, manifests).await
}

/// Counts a link that has just gone. `after`: what the group still holds.
pub async fn link_removed(
    db: &mut AnyConnection,
    repository: &RepositoryRef,
    link: &Link,
    after: Held,
    now_ms: i64,
) -> StoreResult<()> {
    let manifests = add_to_image(db, repository, link.kind, -1, -after.size_bytes, now_ms).await?;
    query_for(
        repository,
        "DELETE FROM images
         WHERE group_id = $1 AND upstream = $2 AND repository = $3 AND manifests = 0 AND blobs = 0",
    )
    .execute(&mut *db)
    .await?;
    let is_blob = link.kind == ContentKind::Blob;
    let (blobs, bytes) = (i64::from(is_blob && !after.as_blob), if after.at_all { 0 } else { after.size_bytes });
    add_to_group(db, repository.group.as_str(), -blobs, -bytes).await?;
    spread(db, repository, link, after.size_bytes, -1, manifests).await
}

/// Counts that what was linked as a blob turned out to be a manifest. `after`: what the group holds now.
pub async fn became_manifest(
    db: &mut AnyConnection,
    repository: &RepositoryRef,
    link: &Link,
    after: Held,
    now_ms: i64,
) -> StoreResult<()> {
    add_to_image(db, repository, ContentKind::Blob, -1, 0, now_ms).await?;
    let manifests = add_to_image(db, repository, ContentKind::Manifest, 1, 0, now_ms).await?;
    add_to_group(db, repository.group.as_str(), if after.as_blob { 0 } else { -1 }, 0).await?;
    spread(db, repository, link, after.size_bytes, 1, manifests).await
}

/// Forgets what was counted of a group's links, all of which are gone.
pub async fn all_links_removed(db: &mut AnyConnection, group_id: &str) -> StoreResult<()> {
    for sql in ["DELETE FROM images WHERE group_id = $1", "DELETE FROM group_totals WHERE group_id = $1"] {
        sqlx::query(sql).bind(group_id.to_owned()).execute(&mut *db).await?;
    }
    Ok(())
}

/// Adds to an image's figures. Answers how many manifests it has now.
async fn add_to_image(
    db: &mut AnyConnection,
    repository: &RepositoryRef,
    kind: ContentKind,
    links: i64,
    bytes: i64,
    now_ms: i64,
) -> StoreResult<i64> {
    let (manifests, blobs) = if kind == ContentKind::Manifest { (links, 0) } else { (0, links) };
    let row = query_for(
        repository,
        "INSERT INTO images (group_id, upstream, repository, manifests, blobs, size_bytes, pulls, pulled_at, cached_at)
         VALUES ($1, $2, $3, $4, $5, $6, 0, 0, $7)
         ON CONFLICT (group_id, upstream, repository) DO UPDATE SET manifests = images.manifests + $4,
             blobs = images.blobs + $5, size_bytes = images.size_bytes + $6
         RETURNING manifests",
    )
    .bind(manifests)
    .bind(blobs)
    .bind(bytes)
    .bind(now_ms)
    .fetch_one(db)
    .await?;
    Ok(row.try_get(0)?)
}

async fn add_to_group(db: &mut AnyConnection, group_id: &str, blobs: i64, bytes: i64) -> StoreResult<()> {
    if blobs == 0 && bytes == 0 {
        return Ok(());
    }
    sqlx::query(
        "INSERT INTO group_totals (group_id, blobs, bytes) VALUES ($1, $2, $3)
         ON CONFLICT (group_id) DO UPDATE SET blobs = group_totals.blobs + $2, bytes = group_totals.bytes + $3",
    )
    .bind(group_id.to_owned())
    .bind(blobs)
    .bind(bytes)
    .execute(db)
    .await?;
    Ok(())
}

/// Notes in a new link how many manifests refer to it.
async fn count_parents(
    db: &mut AnyConnection,
    repository: &RepositoryRef,
    digest: &Digest,
    manifests: i64,
) -> StoreResult<()> {
    let sql = if manifests <= FEW_MANIFESTS {
        "UPDATE links SET parents = (
             SELECT COUNT(*) FROM links AS beside CROSS JOIN manifest_references
             WHERE beside.group_id = $1 AND beside.kind = 'manifest' AND beside.upstream = $2 AND beside.repository = $3
                 AND manifest_references.manifest = beside.digest AND manifest_references.child = $4
                 AND beside.digest <> $4)
         WHERE group_id = $1 AND upstream = $2 AND repository = $3 AND digest = $4"
    } else {
        "UPDATE links SET parents = (
             SELECT COUNT(*) FROM manifest_references CROSS JOIN links AS beside
             WHERE manifest_references.child = $4 AND manifest_references.manifest <> $4
                 AND beside.group_id = $1 AND beside.upstream = $2 AND beside.repository = $3
                 AND beside.digest = manifest_references.manifest AND beside.kind = 'manifest')
         WHERE group_id = $1 AND upstream = $2 AND repository = $3 AND digest = $4"
    };
    query_for(repository, sql).bind(digest.to_string()).execute(db).await?;
    Ok(())
}

/// Tells the links around a link that it came (1) or went (-1): the manifests above it hold more or less, and
/// what it refers to is needed by one more or less.
async fn spread(
    db: &mut AnyConnection,
    repository: &RepositoryRef,
    link: &Link,
    size_bytes: i64,
    sign: i64,
    manifests: i64,
) -> StoreResult<()> {
    let few = manifests <= FEW_MANIFESTS;
    if link.kind == ContentKind::Blob {
        let sql = if few {
            update!("held_bytes = CASE WHEN digest = $4 THEN $5 ELSE held_bytes + $5 END", by_repository)
        } else {
            update!("held_bytes = CASE WHEN digest = $4 THEN $5 ELSE held_bytes + $5 END", by_reference)
        };
        query_for(repository, sql).bind(link.digest.to_string()).bind(sign * size_bytes).execute(db).await?;
        return Ok(());
    }
    query_for(
        repository,
        "UPDATE links SET parents = parents + $5
         WHERE group_id = $1 AND upstream = $2 AND repository = $3 AND digest <> $4
             AND digest IN (SELECT child FROM manifest_references WHERE manifest = $4)",
    )
    .bind(link.digest.to_string())
    .bind(sign)
    .execute(&mut *db)
    .await?;
    let sql = if few { measure!(by_repository) } else { measure!(by_reference) };
    query_for(repository, sql).bind(link.digest.to_string()).execute(db).await?;
    Ok(())
}
