//! The content that groups hold: figures, and whole repositories for the purge rule.

use roadstead_proto::RepositoryRef;

use sqlx::{AnyConnection, Row as _, any::AnyRow};

use crate::{
    rules::cache::purge::{Held, Inventory},
    store::{StoreResult, parse, query_for},
};

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

/// Counts what a group holds.
pub async fn figures(db: &mut AnyConnection, group_id: &str) -> StoreResult<Figures> {
    let row = sqlx::query(
        "SELECT COUNT(*), CAST(COALESCE(SUM(manifests), 0) AS BIGINT),
             COALESCE((SELECT blobs FROM group_totals WHERE group_id = $1), 0),
             COALESCE((SELECT bytes FROM group_totals WHERE group_id = $1), 0)
         FROM images WHERE group_id = $1",
    )
    .bind(group_id.to_owned())
    .fetch_one(db)
    .await?;
    Ok(Figures { images: row.try_get(0)?, manifests: row.try_get(1)?, blobs: row.try_get(2)?, bytes: row.try_get(3)? })
}

/// The repositories that a group holds something of.
pub async fn repositories(db: &mut AnyConnection, group_id: &str) -> StoreResult<Vec<RepositoryRef>> {
    let rows = sqlx::query("SELECT upstream, repository FROM images WHERE group_id = $1 ORDER BY upstream, repository")
        .bind(group_id.to_owned())
        .fetch_all(db)
        .await?;
    rows.iter().map(|row| read_repository(group_id, row)).collect()
}

/// The repositories that a group holds something of, or knows tags of.
pub async fn repositories_with_tags(db: &mut AnyConnection, group_id: &str) -> StoreResult<Vec<RepositoryRef>> {
    let rows = sqlx::query(
        "SELECT upstream, repository FROM images WHERE group_id = $1
         UNION SELECT upstream, repository FROM tags WHERE group_id = $1
         UNION SELECT upstream, repository FROM tag_history WHERE group_id = $1
         ORDER BY upstream, repository",
    )
    .bind(group_id.to_owned())
    .fetch_all(db)
    .await?;
    rows.iter().map(|row| read_repository(group_id, row)).collect()
}

fn read_repository(group_id: &str, row: &AnyRow) -> StoreResult<RepositoryRef> {
    Ok(RepositoryRef {
        group: group_id.into(),
        upstream: parse("upstream host", row.try_get(0)?)?,
        repository: parse("repository", row.try_get(1)?)?,
    })
}

/// All that a group holds of one repository.
pub async fn load(db: &mut AnyConnection, repository: &RepositoryRef) -> StoreResult<Inventory> {
    let mut inventory = Inventory::default();
    let links = query_for(
        repository,
        "SELECT digest, kind, cached_at, last_pulled_at FROM links
         WHERE group_id = $1 AND upstream = $2 AND repository = $3",
    );
    for row in links.fetch_all(&mut *db).await? {
        let pulled: Option<i64> = row.try_get(3)?;
        let held =
            Held { kind: parse("kind of content", row.try_get(1)?)?, last_used_ms: pulled.unwrap_or(row.try_get(2)?) };
        inventory.links.insert(parse("digest", row.try_get(0)?)?, held);
    }
    let tags = query_for(
        repository,
        "SELECT tag, digest FROM tags WHERE group_id = $1 AND upstream = $2 AND repository = $3 AND digest <> ''",
    );
    for row in tags.fetch_all(&mut *db).await? {
        inventory.tags.insert(row.try_get(0)?, parse("digest", row.try_get(1)?)?);
    }
    let references = query_for(
        repository,
        "SELECT manifest, child FROM manifest_references
         JOIN links ON links.digest = manifest_references.manifest
         WHERE group_id = $1 AND upstream = $2 AND repository = $3",
    );
    for row in references.fetch_all(db).await? {
        inventory.references.insert((parse("digest", row.try_get(0)?)?, parse("digest", row.try_get(1)?)?));
    }
    Ok(inventory)
}
