//! Lists of manifests and of blobs.

use roadstead_proto::{ContentKind, Digest, RepositoryRef};
use sqlx::{AnyConnection, Row as _, any::AnyRow};

use super::{Filter, Order, Page, Position, narrow, order_and_limit, position, repository};
use crate::store::{StoreResult, engine::sql::Sql, parse};

/// Placeholder platforms of an index: signatures and the like.
const NO_PLATFORM: &str = "unknown/unknown";

/// A cached manifest.
#[derive(Clone, Debug)]
pub struct ManifestItem {
    /// The repository.
    pub repository: RepositoryRef,
    /// Its digest.
    pub digest: Digest,
    /// Its media type.
    pub media_type: String,
    /// Tags that are served as it, in order.
    pub tags: Vec<String>,
    /// Platforms of an index, in order.
    pub platforms: Vec<String>,
    /// Bytes of it and of all that is cached of what it refers to.
    pub size_bytes: i64,
    /// When the group cached it.
    pub cached_at_ms: i64,
    /// When it was last pulled.
    pub last_pulled_at_ms: Option<i64>,
    /// The number of pulls.
    pub pulls: i64,
}

/// A cached blob.
#[derive(Clone, Debug)]
pub struct BlobItem {
    /// The repository.
    pub repository: RepositoryRef,
    /// Its digest.
    pub digest: Digest,
    /// Its size.
    pub size_bytes: i64,
    /// Manifests beside it that refer to it.
    pub links: i64,
    /// When the group cached it.
    pub cached_at_ms: i64,
    /// When it was last pulled.
    pub last_pulled_at_ms: Option<i64>,
    /// The number of pulls.
    pub pulls: i64,
}

fn rank(order: Order, size_bytes: i64, last_pulled_at_ms: Option<i64>, pulls: i64) -> i64 {
    match order {
        Order::Name => 0,
        Order::Size => size_bytes,
        Order::LastPulled => last_pulled_at_ms.unwrap_or_default(),
        Order::Pulls => pulls,
    }
}

impl ManifestItem {
    /// Returns its position in a list of this order.
    pub fn position(&self, order: Order) -> Position {
        let rank = rank(order, self.size_bytes, self.last_pulled_at_ms, self.pulls);
        position(&self.repository, Some(&self.digest), rank)
    }
}

impl BlobItem {
    /// Returns its position in a list of this order.
    pub fn position(&self, order: Order) -> Position {
        let rank = rank(order, self.size_bytes, self.last_pulled_at_ms, self.pulls);
        position(&self.repository, Some(&self.digest), rank)
    }
}

/// A page of manifests.
pub async fn manifests(db: &mut AnyConnection, page: &Page<'_>, filter: &Filter) -> StoreResult<Vec<ManifestItem>> {
    let rows = manifests_sql(page, filter).fetch_all(db).await?;
    rows.iter().map(|row| read_manifest(page.group_id, row)).collect()
}

/// A page of blobs.
pub async fn blobs(db: &mut AnyConnection, page: &Page<'_>, filter: &Filter) -> StoreResult<Vec<BlobItem>> {
    let rows = blobs_sql(page, filter).fetch_all(db).await?;
    rows.iter().map(|row| read_blob(page.group_id, row)).collect()
}

pub(super) fn manifests_sql(page: &Page<'_>, filter: &Filter) -> Sql {
    let mut sql = Sql::new(
        "SELECT links.upstream, links.repository, links.digest, held_bytes, media_type, cached_at, last_pulled_at, pulls,
             COALESCE((SELECT string_agg(tags.tag, ' ') FROM tags
                 WHERE tags.group_id = links.group_id AND tags.upstream = links.upstream
                     AND tags.repository = links.repository AND tags.served = links.digest), '') AS tags,
             COALESCE((SELECT string_agg(manifest_references.platform, ' ') FROM manifest_references
                 WHERE manifest_references.manifest = links.digest), '') AS platforms",
    );
    from(&mut sql, page, filter, ContentKind::Manifest);
    if let Some(platform) = &filter.platform {
        for (at, (found, own)) in [("manifest", "child"), ("child", "manifest")].into_iter().enumerate() {
            // An index that names the platform, or what an index beside it names for the platform.
            sql.push(if at == 0 { " AND (" } else { " OR " });
            sql.push("EXISTS (SELECT 1 FROM manifest_references");
            if at > 0 {
                sql.push(
                    " JOIN links AS above ON above.group_id = links.group_id AND above.upstream = links.upstream
                        AND above.repository = links.repository AND above.kind = 'manifest' AND above.digest = ",
                );
                sql.push("manifest_references.").push(own);
            }
            sql.push(" WHERE manifest_references.").push(found).push(" = links.digest AND (platform = ");
            sql.bind(platform.as_str()).push(" OR platform LIKE ");
            sql.bind(format!("{}/%", super::like_escaped(platform))).push(" ESCAPE '\\'))");
        }
        sql.push(")");
    }
    end(&mut sql, page, filter);
    sql
}

pub(super) fn blobs_sql(page: &Page<'_>, filter: &Filter) -> Sql {
    let mut sql = Sql::new(
        "SELECT links.upstream, links.repository, links.digest, held_bytes, parents, cached_at, last_pulled_at, pulls",
    );
    from(&mut sql, page, filter, ContentKind::Blob);
    end(&mut sql, page, filter);
    sql
}

fn from(sql: &mut Sql, page: &Page<'_>, filter: &Filter, kind: ContentKind) {
    sql.push(" FROM links WHERE links.group_id = ").bind(page.group_id);
    sql.push(" AND links.kind = ").bind(kind.as_str());
    narrow(sql, "links", filter, page.order);
    if let Some(before_ms) = filter.used_before_ms {
        sql.push(" AND COALESCE(last_pulled_at, cached_at) < ").bind(before_ms);
        if page.order == Order::LastPulled {
            // Says no more, but lets the list begin there.
            sql.push(" AND pulled_at < ").bind(before_ms);
        }
    }
}

fn end(sql: &mut Sql, page: &Page<'_>, filter: &Filter) {
    let rank = match page.order {
        Order::Name => None,
        Order::Size => Some("held_bytes"),
        Order::LastPulled => Some("pulled_at"),
        Order::Pulls => Some("pulls"),
    };
    let after = page.after.cloned().unwrap_or_default();
    let keys = [
        ("links.upstream", after.upstream.into()),
        ("links.repository", after.repository.into()),
        ("links.digest", after.digest.into()),
    ];
    order_and_limit(sql, page, filter, rank, &keys);
}

fn read_manifest(group_id: &str, row: &AnyRow) -> StoreResult<ManifestItem> {
    let words = |text: String| -> Vec<String> {
        let mut words: Vec<_> = text.split_ascii_whitespace().map(ToOwned::to_owned).collect();
        words.sort();
        words.dedup();
        words
    };
    let mut platforms = words(row.try_get("platforms")?);
    platforms.retain(|platform| platform != NO_PLATFORM);
    Ok(ManifestItem {
        repository: repository(group_id, row)?,
        digest: parse("digest", row.try_get("digest")?)?,
        media_type: row.try_get("media_type")?,
        tags: words(row.try_get("tags")?),
        platforms,
        size_bytes: row.try_get("held_bytes")?,
        cached_at_ms: row.try_get("cached_at")?,
        last_pulled_at_ms: row.try_get("last_pulled_at")?,
        pulls: row.try_get("pulls")?,
    })
}

fn read_blob(group_id: &str, row: &AnyRow) -> StoreResult<BlobItem> {
    Ok(BlobItem {
        repository: repository(group_id, row)?,
        digest: parse("digest", row.try_get("digest")?)?,
        size_bytes: row.try_get("held_bytes")?,
        links: row.try_get("parents")?,
        cached_at_ms: row.try_get("cached_at")?,
        last_pulled_at_ms: row.try_get("last_pulled_at")?,
        pulls: row.try_get("pulls")?,
    })
}
