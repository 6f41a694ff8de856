//! Lists of what a group has cached, for people: filtered, in several orders, page by page.
//!
//! - Every order is total: what ties is ordered by its name, so that no page repeats or skips what was there all the
//!   time.
//! - A page is found by its key in an index of that order; the pages before it cost nothing.
//! - The details of an item come with the page, in one statement.
//!
//! Orders other than by name go downwards in all their columns, so that one comparison says where a page begins.

mod images;
mod links;
mod shares;
mod tags;

use roadstead_proto::{Digest, RepositoryName, RepositoryRef, UpstreamHost};
use sqlx::{Row as _, any::AnyRow};

pub use self::{
    images::{ImageItem, images},
    links::{BlobItem, ManifestItem, blobs, manifests},
    shares::unique_bytes,
    tags::{TagItem, tags},
};
use crate::store::{
    StoreResult,
    engine::sql::{Sql, Value},
    parse,
};

/// The order of a list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Order {
    /// By upstream, repository, and tag or digest.
    #[default]
    Name,
    /// The largest first.
    Size,
    /// The last pulled first, what was never pulled at the end.
    LastPulled,
    /// The most often pulled first.
    Pulls,
}

/// Which items. A list ignores filters that do not apply to it.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Of this upstream.
    pub upstream: Option<UpstreamHost>,
    /// Of this repository; needs `upstream`.
    pub repository: Option<RepositoryName>,
    /// Last pulled, or cached if never pulled, before this time.
    pub used_before_ms: Option<i64>,
    /// Manifests for this platform, by what an index says.
    pub platform: Option<String>,
    /// Tags that look so in SQL's `LIKE`, escaped by a backslash; a first sieve, which may let too much through.
    pub tag_like: Option<String>,
    /// Images whose names hold this text.
    pub name_contains: Option<String>,
}

/// The position of an item in a list; the next page begins after it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Position {
    /// The sort key, unless the list is sorted by name.
    pub rank: i64,
    /// Its upstream.
    pub upstream: String,
    /// Its repository.
    pub repository: String,
    /// Its digest; empty for images.
    pub digest: String,
    /// Its tag; empty for other items.
    pub tag: String,
}

/// Which page.
#[derive(Clone, Debug)]
pub struct Page<'a> {
    /// Of whose list.
    pub group_id: &'a str,
    /// The order.
    pub order: Order,
    /// Behind this; from the beginning if `None`.
    pub after: Option<&'a Position>,
    /// Most items.
    pub limit: i64,
}

/// `LIKE`'s pattern for texts that hold this one.
pub fn like_containing(text: &str) -> String {
    format!("%{}%", like_escaped(text))
}

/// A text as `LIKE` finds just it.
pub fn like_escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        if matches!(c, '\\' | '%' | '_') {
            escaped.push('\\');
        }
        escaped.push(c);
    }
    escaped
}

/// Adds the conditions on upstream and repository. By name they are a place in the order's index. In other orders the
/// index is gone through from the top, and an upstream must not tempt the database to sort all of it instead; a
/// repository's own items are few enough to be sorted.
fn narrow(sql: &mut Sql, table: &str, filter: &Filter, order: Order) {
    if let Some(upstream) = &filter.upstream {
        let plain = order == Order::Name || filter.repository.is_some();
        let column = if plain { format!("{table}.upstream") } else { format!("{table}.upstream || ''") };
        sql.push(" AND ").push(&column).push(" = ").bind(upstream.as_str());
        if let Some(repository) = &filter.repository {
            sql.push(" AND ").push(table).push(".repository = ").bind(repository.as_str());
        }
    }
}

/// Adds where the page begins, and the order. `keys`: the columns of the order by name, with where they stand.
fn order_and_limit(sql: &mut Sql, page: &Page<'_>, filter: &Filter, rank: Option<&str>, keys: &[(&str, Value)]) {
    if page.after.is_some() {
        order_by(sql, page, filter, rank, keys);
    }
    let (ranks, way) = rank.map_or((None, ""), |rank| (Some(rank), " DESC"));
    let columns: Vec<_> =
        ranks.into_iter().chain(keys.iter().map(|(name, _)| *name)).map(|column| format!("{column}{way}")).collect();
    sql.push(" ORDER BY ").push(&columns.join(", ")).push(" LIMIT ").bind(page.limit);
}

fn order_by(sql: &mut Sql, page: &Page<'_>, filter: &Filter, rank: Option<&str>, keys: &[(&str, Value)]) {
    match rank {
        Some(rank) => {
            let at = page.after.map_or(0, |after| after.rank);
            let columns: Vec<_> = std::iter::once((rank, at.into())).chain(keys.iter().cloned()).collect();
            sql.keyset_after(&columns, "<");
        }
        None => {
            // Columns that the filter fixes are left out of the comparison: the index has them already.
            let fixed = usize::from(filter.upstream.is_some()) + usize::from(filter.repository.is_some());
            sql.keyset_after(&keys[fixed.min(keys.len() - 1)..], ">");
        }
    }
}

fn repository(group_id: &str, row: &AnyRow) -> StoreResult<RepositoryRef> {
    Ok(RepositoryRef {
        group: group_id.into(),
        upstream: parse("upstream host", row.try_get("upstream")?)?,
        repository: parse("repository", row.try_get("repository")?)?,
    })
}

fn position(repository: &RepositoryRef, digest: Option<&Digest>, rank: i64) -> Position {
    Position {
        rank,
        upstream: repository.upstream.to_string(),
        repository: repository.repository.to_string(),
        digest: digest.map(ToString::to_string).unwrap_or_default(),
        tag: String::new(),
    }
}

/// The time, unless it is the 0 that stands for never.
fn time(ms: i64) -> Option<i64> {
    (ms > 0).then_some(ms)
}

/// Query plans of SQLite for a page of each list.
#[cfg(test)]
pub(crate) async fn plans(
    db: &mut sqlx::AnyConnection,
    page: &Page<'_>,
    filter: &Filter,
) -> Vec<(&'static str, Vec<String>)> {
    let mut plans = Vec::new();
    for (list, sql) in [
        ("images", images::images_sql(page, filter)),
        ("tags", tags::tags_sql(page, filter)),
        ("manifests", links::manifests_sql(page, filter)),
        ("blobs", links::blobs_sql(page, filter)),
    ] {
        plans.push((list, sql.plan(db, false).await));
    }
    plans
}

/// Query plan of SQLite for the unique bytes of images, step by step.
#[cfg(test)]
pub(crate) async fn plan_of_shares(db: &mut sqlx::AnyConnection, of: (&RepositoryRef, &Digest)) -> Vec<String> {
    shares::members_sql(of.0.group.as_str(), &[of]).plan(db, true).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_like_would_take_for_a_wildcard_is_escaped() {
        assert_eq!(like_containing("a_b%c\\d"), "%a\\_b\\%c\\\\d%");
    }
}
