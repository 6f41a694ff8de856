//! The observations of nodes about upstreams: pull limits and pauses.

use sqlx::{AnyConnection, Row as _, any::AnyRow};

use crate::rules::upstreams::pull_limit::Condition;
use crate::store::StoreResult;

/// A `SELECT` of whole conditions.
macro_rules! select {
    ($rest:literal) => {
        sqlx::query(concat!(
            "SELECT upstream, username, source, paused_until, pull_limit, remaining, window_seconds, seen_at \
             FROM upstream_conditions ",
            $rest
        ))
    };
}

fn read(row: &AnyRow) -> StoreResult<Condition> {
    Ok(Condition {
        upstream: row.try_get("upstream")?,
        username: row.try_get("username")?,
        source: row.try_get("source")?,
        paused_until_ms: row.try_get("paused_until")?,
        limit: row.try_get("pull_limit")?,
        remaining: row.try_get("remaining")?,
        window_seconds: row.try_get("window_seconds")?,
        seen_at_ms: row.try_get("seen_at")?,
    })
}

/// All conditions, by upstream, user name and source.
pub async fn all(db: &mut AnyConnection) -> StoreResult<Vec<Condition>> {
    select!("ORDER BY upstream, username, source").fetch_all(db).await?.iter().map(read).collect()
}

/// The conditions of one upstream, for all credentials.
pub async fn of_upstream(db: &mut AnyConnection, upstream: &str) -> StoreResult<Vec<Condition>> {
    let rows = select!("WHERE upstream = $1 ORDER BY username, source").bind(upstream.to_owned()).fetch_all(db).await?;
    rows.iter().map(read).collect()
}

/// One condition.
pub async fn get(
    db: &mut AnyConnection,
    upstream: &str,
    username: &str,
    source: &str,
) -> StoreResult<Option<Condition>> {
    select!("WHERE upstream = $1 AND username = $2 AND source = $3")
        .bind(upstream.to_owned())
        .bind(username.to_owned())
        .bind(source.to_owned())
        .fetch_optional(db)
        .await?
        .as_ref()
        .map(read)
        .transpose()
}

/// Stores a condition; nodes have not been told of it.
pub async fn put(db: &mut AnyConnection, condition: &Condition) -> StoreResult<()> {
    sqlx::query(
        "INSERT INTO upstream_conditions (upstream, username, source, paused_until, pull_limit, remaining,
             window_seconds, seen_at, told_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, 0)
         ON CONFLICT (upstream, username, source)
         DO UPDATE SET paused_until = $4, pull_limit = $5, remaining = $6, window_seconds = $7, seen_at = $8",
    )
    .bind(condition.upstream.clone())
    .bind(condition.username.clone())
    .bind(condition.source.clone())
    .bind(condition.paused_until_ms)
    .bind(condition.limit)
    .bind(condition.remaining)
    .bind(condition.window_seconds)
    .bind(condition.seen_at_ms)
    .execute(db)
    .await?;
    Ok(())
}

/// Conditions that changed since nodes were told of them.
pub async fn unannounced(db: &mut AnyConnection) -> StoreResult<Vec<Condition>> {
    select!("WHERE told_at < seen_at ORDER BY upstream, username, source")
        .fetch_all(db)
        .await?
        .iter()
        .map(read)
        .collect()
}

/// Notes that nodes are told of a condition as it is.
pub async fn told(db: &mut AnyConnection, condition: &Condition) -> StoreResult<()> {
    sqlx::query(
        "UPDATE upstream_conditions SET told_at = seen_at WHERE upstream = $1 AND username = $2 AND source = $3",
    )
    .bind(condition.upstream.clone())
    .bind(condition.username.clone())
    .bind(condition.source.clone())
    .execute(db)
    .await?;
    Ok(())
}

/// Forgets what was told before that time and pauses nobody any more.
pub async fn prune(db: &mut AnyConnection, before_ms: i64) -> StoreResult<()> {
    sqlx::query("DELETE FROM upstream_conditions WHERE seen_at < $1 AND paused_until < $1")
        .bind(before_ms)
        .execute(db)
        .await?;
    Ok(())
}

/// Forgets all that is known of an upstream.
pub async fn delete_of_upstream(db: &mut AnyConnection, upstream: &str) -> StoreResult<()> {
    for delete in [
        "DELETE FROM upstream_conditions WHERE upstream = $1",
        "DELETE FROM upstream_health WHERE upstream = $1",
        "DELETE FROM upstream_spends WHERE upstream = $1",
    ] {
        sqlx::query(delete).bind(upstream.to_owned()).execute(&mut *db).await?;
    }
    Ok(())
}
