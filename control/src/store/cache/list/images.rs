//! The list of images.

use roadstead_proto::RepositoryRef;

use sqlx::{AnyConnection, Row as _};

use super::{Filter, Order, Page, Position, like_containing, narrow, order_and_limit, position, repository, time};
use crate::store::{StoreResult, engine::sql::Sql};

/// A cached image.
#[derive(Clone, Debug)]
pub struct ImageItem {
    /// Which.
    pub repository: RepositoryRef,
    /// Tags that can be served.
    pub tags: i64,
    /// Manifests.
    pub manifests: i64,
    /// Blobs.
    pub blobs: i64,
    /// Bytes of all of them.
    pub size_bytes: i64,
    /// The number of pulls of its manifests.
    pub pulls: i64,
    /// When the first of it was cached.
    pub cached_at_ms: i64,
    /// When a manifest of it was last pulled.
    pub last_pulled_at_ms: Option<i64>,
}

impl ImageItem {
    /// Returns its position in a list of this order.
    pub fn position(&self, order: Order) -> Position {
        let rank = match order {
            Order::Name => 0,
            Order::Size => self.size_bytes,
            Order::LastPulled => self.last_pulled_at_ms.unwrap_or_default(),
            Order::Pulls => self.pulls,
        };
        position(&self.repository, None, rank)
    }
}

/// A page of images.
pub async fn images(db: &mut AnyConnection, page: &Page<'_>, filter: &Filter) -> StoreResult<Vec<ImageItem>> {
    let rows = images_sql(page, filter).fetch_all(db).await?;
    rows.iter()
        .map(|row| {
            Ok(ImageItem {
                repository: repository(page.group_id, row)?,
                tags: row.try_get("tags")?,
                manifests: row.try_get("manifests")?,
                blobs: row.try_get("blobs")?,
                size_bytes: row.try_get("size_bytes")?,
                pulls: row.try_get("pulls")?,
                cached_at_ms: row.try_get("cached_at")?,
                last_pulled_at_ms: time(row.try_get("pulled_at")?),
            })
        })
        .collect()
}

pub(super) fn images_sql(page: &Page<'_>, filter: &Filter) -> Sql {
    let mut sql = Sql::new(
        "SELECT images.upstream, images.repository, manifests, blobs, size_bytes, pulls, pulled_at, cached_at,
             (SELECT COUNT(*) FROM tags
              JOIN links ON links.group_id = tags.group_id AND links.upstream = tags.upstream
                  AND links.repository = tags.repository AND links.digest = tags.served AND links.kind = 'manifest'
              WHERE tags.group_id = images.group_id AND tags.upstream = images.upstream
                  AND tags.repository = images.repository) AS tags
         FROM images WHERE images.group_id = ",
    );
    sql.bind(page.group_id);
    narrow(&mut sql, "images", filter, page.order);
    if let Some(text) = &filter.name_contains {
        sql.push(" AND images.upstream || '/' || images.repository LIKE ").bind(like_containing(text));
        sql.push(" ESCAPE '\\'");
    }
    let rank = match page.order {
        Order::Name => None,
        Order::Size => Some("size_bytes"),
        Order::LastPulled => Some("pulled_at"),
        Order::Pulls => Some("pulls"),
    };
    let after = page.after.cloned().unwrap_or_default();
    let keys = [("images.upstream", after.upstream.into()), ("images.repository", after.repository.into())];
    order_and_limit(&mut sql, page, filter, rank, &keys);
    sql
}
