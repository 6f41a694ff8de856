//! The health of upstreams, as each node sees it, and the pulls of each group.

use sqlx::{AnyConnection, Row as _};

use crate::rules::upstreams::status::{Health, NodeView, Spend};
use crate::store::{StoreResult, parse};

/// Stores how a node sees an upstream; times only go forward.
pub async fn put(db: &mut AnyConnection, node: &str, view: &NodeView) -> StoreResult<()> {
    sqlx::query(
        "INSERT INTO upstream_health (upstream, username, node, state, last_error, last_failed_at, last_answered_at,
             reported_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
         ON CONFLICT (upstream, username, node) DO UPDATE SET
             state = CASE WHEN $4 = 'unknown' THEN upstream_health.state ELSE $4 END,
             last_error = CASE WHEN $6 >= upstream_health.last_failed_at AND $5 <> '' THEN $5
                 ELSE upstream_health.last_error END,
             last_failed_at = CASE WHEN $6 > upstream_health.last_failed_at THEN $6
                 ELSE upstream_health.last_failed_at END,
             last_answered_at = CASE WHEN $7 > upstream_health.last_answered_at THEN $7
                 ELSE upstream_health.last_answered_at END,
             reported_at = $8",
    )
    .bind(view.upstream.clone())
    .bind(view.username.clone())
    .bind(node.to_owned())
    .bind(view.health.as_str())
    .bind(view.last_error.clone())
    .bind(view.last_failed_at_ms)
    .bind(view.last_answered_at_ms)
    .bind(view.reported_at_ms)
    .execute(db)
    .await?;
    Ok(())
}

/// Returns all nodes' views of all upstreams.
pub async fn all(db: &mut AnyConnection) -> StoreResult<Vec<NodeView>> {
    let rows = sqlx::query(
        "SELECT upstream, username, state, last_error, last_failed_at, last_answered_at, reported_at
         FROM upstream_health ORDER BY upstream, username, node",
    )
    .fetch_all(db)
    .await?;
    rows.iter()
        .map(|row| {
            Ok(NodeView {
                upstream: row.try_get("upstream")?,
                username: row.try_get("username")?,
                health: parse::<Health>("health of upstream", row.try_get("state")?)?,
                last_error: row.try_get("last_error")?,
                last_failed_at_ms: row.try_get("last_failed_at")?,
                last_answered_at_ms: row.try_get("last_answered_at")?,
                reported_at_ms: row.try_get("reported_at")?,
            })
        })
        .collect()
}

/// Adds pulls of a group to a bucket of time; does nothing for a group that is gone.
pub async fn spend(
    db: &mut AnyConnection,
    upstream: &str,
    username: &str,
    group_id: &str,
    bucket_start_ms: i64,
    pulls: i64,
) -> StoreResult<()> {
    sqlx::query(
        "INSERT INTO upstream_spends (upstream, username, group_id, bucket_start, pulls)
         SELECT CAST($1 AS TEXT), CAST($2 AS TEXT), id, CAST($4 AS BIGINT), CAST($5 AS BIGINT) FROM groups WHERE id = $3
         ON CONFLICT (upstream, username, group_id, bucket_start)
         DO UPDATE SET pulls = upstream_spends.pulls + $5",
    )
    .bind(upstream.to_owned())
    .bind(username.to_owned())
    .bind(group_id.to_owned())
    .bind(bucket_start_ms)
    .bind(pulls)
    .execute(db)
    .await?;
    Ok(())
}

/// Returns the pulls of groups in buckets that begin at that time or later, or of one given group.
pub async fn spends(db: &mut AnyConnection, from_ms: i64, group_id: Option<&str>) -> StoreResult<Vec<Spend>> {
    let rows = sqlx::query(
        "SELECT upstream, username, path, bucket_start, pulls FROM upstream_spends
         JOIN groups ON groups.id = upstream_spends.group_id
         WHERE bucket_start >= $1 AND ($2 = '' OR group_id = $2)",
    )
    .bind(from_ms)
    .bind(group_id.unwrap_or_default().to_owned())
    .fetch_all(db)
    .await?;
    rows.iter()
        .map(|row| {
            Ok(Spend {
                upstream: row.try_get("upstream")?,
                username: row.try_get("username")?,
                group: parse("group path", row.try_get("path")?)?,
                bucket_start_ms: row.try_get("bucket_start")?,
                pulls: row.try_get("pulls")?,
            })
        })
        .collect()
}

/// Forgets what is from before that time.
pub async fn prune(db: &mut AnyConnection, before_ms: i64) -> StoreResult<()> {
    sqlx::query("DELETE FROM upstream_spends WHERE bucket_start < $1").bind(before_ms).execute(&mut *db).await?;
    sqlx::query("DELETE FROM upstream_health WHERE reported_at < $1").bind(before_ms).execute(db).await?;
    Ok(())
}
