//! The list of tags that can be served. Sorted by anything but their names, they come as the manifests that they mean
//! do.

use roadstead_proto::{Digest, RepositoryRef};
use sqlx::{AnyConnection, Row as _, any::AnyRow};

use super::{Filter, Order, Page, Position, narrow, order_and_limit, position, repository, time};
use crate::store::{StoreResult, engine::sql::Sql, parse};

/// A cached tag.
#[derive(Clone, Debug)]
pub struct TagItem {
    /// The repository.
    pub repository: RepositoryRef,
    /// The tag.
    pub tag: String,
    /// The kind of content.
    pub digest: Digest,
    /// The digest that it resolved to before.
    pub previous: Option<Digest>,
    /// When the group first cached it.
    pub cached_at_ms: i64,
    /// When upstream last confirmed it.
    pub checked_at_ms: Option<i64>,
    /// When the manifest was last pulled.
    pub last_pulled_at_ms: Option<i64>,
    /// The number of pulls of the manifest.
    pub pulls: i64,
    /// Size of the manifest and of all that it refers to.
    pub size_bytes: i64,
    /// True if it is pinned.
    pub pinned: bool,
}

impl TagItem {
    /// Returns its position in a list of this order.
    pub fn position(&self, order: Order) -> Position {
        let rank = match order {
            Order::Name => 0,
            Order::Size => self.size_bytes,
            Order::LastPulled => self.last_pulled_at_ms.unwrap_or_default(),
            Order::Pulls => self.pulls,
        };
        Position { tag: self.tag.clone(), ..position(&self.repository, Some(&self.digest), rank) }
    }
}

/// A page of tags.
pub async fn tags(db: &mut AnyConnection, page: &Page<'_>, filter: &Filter) -> StoreResult<Vec<TagItem>> {
    let rows = tags_sql(page, filter).fetch_all(db).await?;
    rows.iter().map(|row| read(page.group_id, row)).collect()
}

/// The columns, and the two tables in the order in which they are gone through: an outer join, of which every row is
/// asked for its second half by `COALESCE`, is left in that order by both databases.
macro_rules! select {
    ($first:literal, $second:literal, $has_second:literal) => {
        concat!(
            "SELECT tags.upstream, tags.repository, tags.tag, tags.served, tags.created_at, tags.confirmed_at,
                 links.pulled_at, links.pulls, links.held_bytes,
                 CAST(CASE WHEN EXISTS (SELECT 1 FROM tag_pins
                     WHERE tag_pins.group_id = tags.group_id AND tag_pins.upstream = tags.upstream
                         AND tag_pins.repository = tags.repository AND tag_pins.tag = tags.tag)
                     THEN 1 ELSE 0 END AS BIGINT) AS pinned,
                 COALESCE((SELECT tag_history.digest FROM tag_history
                     WHERE tag_history.group_id = tags.group_id AND tag_history.upstream = tags.upstream
                         AND tag_history.repository = tags.repository AND tag_history.tag = tags.tag
                         AND tag_history.digest <> tags.served AND tag_history.digest <> tags.seen_digest
                     ORDER BY tag_history.last_seen DESC, tag_history.first_seen DESC, tag_history.digest LIMIT 1), '')
                     AS previous
             FROM ",
            $first,
            " LEFT JOIN ",
            $second,
            " ON links.group_id = tags.group_id AND links.upstream = tags.upstream
                 AND links.repository = tags.repository AND links.digest = tags.served AND links.kind = 'manifest'
             WHERE COALESCE(",
            $has_second,
            ", '') <> ''"
        )
    };
}

pub(super) fn tags_sql(page: &Page<'_>, filter: &Filter) -> Sql {
    let rank = match page.order {
        Order::Name => None,
        Order::Size => Some("links.held_bytes"),
        Order::LastPulled => Some("links.pulled_at"),
        Order::Pulls => Some("links.pulls"),
    };
    let after = page.after.cloned().unwrap_or_default();
    let first = if rank.is_some() { "links" } else { "tags" };
    let mut sql = Sql::new(if rank.is_some() {
        select!("links", "tags", "tags.tag")
    } else {
        select!("tags", "links", "links.kind")
    });
    sql.push(" AND ").push(first).push(".group_id = ").bind(page.group_id);
    if rank.is_some() {
        sql.push(" AND links.kind = 'manifest'");
    }
    narrow(&mut sql, first, filter, page.order);
    if let Some(like) = &filter.tag_like {
        sql.push(" AND tags.tag LIKE ").bind(like.as_str()).push(" ESCAPE '\\'");
    }
    match rank {
        None => {
            let keys = [
                ("tags.upstream", after.upstream.into()),
                ("tags.repository", after.repository.into()),
                ("tags.tag", after.tag.into()),
            ];
            order_and_limit(&mut sql, page, filter, rank, &keys);
        }
        Some(column) => {
            let manifest = [
                ("links.upstream", after.upstream.into()),
                ("links.repository", after.repository.into()),
                ("links.digest", after.digest.into()),
            ];
            if page.after.is_some() {
                // A comparison over both tables finds its place in no index; this one does.
                let columns: Vec<_> =
                    std::iter::once((column, after.rank.into())).chain(manifest.iter().cloned()).collect();
                sql.keyset_after(&columns, "<=");
            }
            let keys: Vec<_> = manifest.into_iter().chain([("tags.tag", after.tag.into())]).collect();
            order_and_limit(&mut sql, page, filter, rank, &keys);
        }
    }
    sql
}

fn read(group_id: &str, row: &AnyRow) -> StoreResult<TagItem> {
    let previous: String = row.try_get("previous")?;
    Ok(TagItem {
        repository: repository(group_id, row)?,
        tag: row.try_get("tag")?,
        digest: parse("digest", row.try_get("served")?)?,
        previous: (!previous.is_empty()).then(|| parse("digest", previous)).transpose()?,
        cached_at_ms: row.try_get("created_at")?,
        checked_at_ms: time(row.try_get("confirmed_at")?),
        last_pulled_at_ms: time(row.try_get("pulled_at")?),
        pulls: row.try_get("pulls")?,
        size_bytes: row.try_get("held_bytes")?,
        pinned: row.try_get::<i64, _>("pinned")? != 0,
    })
}
