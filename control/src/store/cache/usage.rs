//! Counts of pulls, taken in batches that may arrive twice.

use roadstead_proto::{Digest, RepositoryRef};
use sqlx::{AnyConnection, Row as _};

use crate::store::{
    StoreResult,
    engine::sql::{Sql, Value},
};

/// Links in one statement.
const ROWS: usize = 500;

/// Notes that a batch was counted. Answers false if it was already.
pub async fn begin_batch(db: &mut AnyConnection, batch_id: &str, now_ms: i64) -> StoreResult<bool> {
    let done = sqlx::query("INSERT INTO usage_batches (id, received_at) VALUES ($1, $2) ON CONFLICT (id) DO NOTHING")
        .bind(batch_id.to_owned())
        .bind(now_ms)
        .execute(db)
        .await?;
    Ok(done.rows_affected() > 0)
}

/// Pulls of one link.
#[derive(Clone, Debug)]
pub struct Pulls {
    /// The repository.
    pub repository: RepositoryRef,
    /// The digest.
    pub digest: Digest,
    /// The number.
    pub count: i64,
    /// When last.
    pub last_ms: i64,
}

/// Adds pulls to links and, those of manifests, to their images; to none that is gone. Each link at most once: a second
/// entry for the same one would be lost.
pub async fn add_pulls(db: &mut AnyConnection, pulls: &[Pulls]) -> StoreResult<()> {
    for some in pulls.chunks(ROWS) {
        let mut links = Sql::new(
            "UPDATE links SET pulls = links.pulls + used.column5,
                 pulled_at = CASE WHEN links.pulled_at < used.column6 THEN used.column6 ELSE links.pulled_at END,
                 last_pulled_at = CASE WHEN links.pulled_at < used.column6 THEN used.column6
                     ELSE links.last_pulled_at END
             FROM (VALUES ",
        );
        links.rows(some.iter().map(row)).push(
            ") AS used WHERE links.group_id = used.column1 AND links.upstream = used.column2
                 AND links.repository = used.column3 AND links.digest = used.column4",
        );
        links.execute(db).await?;
        let mut images = Sql::new(
            "UPDATE images SET pulls = images.pulls + used.pulls,
                 pulled_at = CASE WHEN images.pulled_at < used.pulled_at THEN used.pulled_at ELSE images.pulled_at END
             FROM (SELECT links.group_id, links.upstream, links.repository,
                       CAST(SUM(one.column5) AS BIGINT) AS pulls, MAX(one.column6) AS pulled_at FROM (VALUES ",
        );
        images.rows(some.iter().map(row)).push(
            ") AS one JOIN links ON links.group_id = one.column1 AND links.upstream = one.column2
                       AND links.repository = one.column3 AND links.digest = one.column4
                   WHERE links.kind = 'manifest' GROUP BY links.group_id, links.upstream, links.repository) AS used
             WHERE images.group_id = used.group_id AND images.upstream = used.upstream
                 AND images.repository = used.repository",
        );
        images.execute(db).await?;
    }
    Ok(())
}

fn row(pulls: &Pulls) -> [Value; 6] {
    let repository = &pulls.repository;
    [
        repository.group.as_str().into(),
        repository.upstream.as_str().into(),
        repository.repository.as_str().into(),
        pulls.digest.to_string().into(),
        pulls.count.into(),
        pulls.last_ms.into(),
    ]
}

/// Adds to a group's counts; does nothing for a group that is gone.
pub async fn add(db: &mut AnyConnection, group_id: &str, hits: i64, misses: i64) -> StoreResult<()> {
    sqlx::query("UPDATE groups SET hits = hits + $2, misses = misses + $3 WHERE id = $1")
        .bind(group_id.to_owned())
        .bind(hits)
        .bind(misses)
        .execute(db)
        .await?;
    Ok(())
}

/// Forgets batches from before that time: nobody sends those again.
pub async fn prune_batches(db: &mut AnyConnection, before_ms: i64) -> StoreResult<()> {
    sqlx::query("DELETE FROM usage_batches WHERE received_at < $1").bind(before_ms).execute(db).await?;
    Ok(())
}

/// Adds to a group's counts of a day, which is counted from 1970 (UTC); does nothing for a group that is gone.
pub async fn add_to_day(db: &mut AnyConnection, group_id: &str, day: i64, hits: i64, misses: i64) -> StoreResult<()> {
    sqlx::query(
        "INSERT INTO daily_usage (group_id, day, hits, misses) SELECT id, $2, $3, $4 FROM groups WHERE id = $1
         ON CONFLICT (group_id, day) DO UPDATE SET hits = daily_usage.hits + $3, misses = daily_usage.misses + $4",
    )
    .bind(group_id.to_owned())
    .bind(day)
    .bind(hits)
    .bind(misses)
    .execute(db)
    .await?;
    Ok(())
}

/// A group's days with pulls, from that day on: day, hits and misses, the oldest first.
pub async fn days(db: &mut AnyConnection, group_id: &str, from_day: i64) -> StoreResult<Vec<(i64, i64, i64)>> {
    let rows = sqlx::query("SELECT day, hits, misses FROM daily_usage WHERE group_id = $1 AND day >= $2 ORDER BY day")
        .bind(group_id.to_owned())
        .bind(from_day)
        .fetch_all(db)
        .await?;
    rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?, row.try_get(2)?))).collect()
}

/// Forgets days before that one.
pub async fn prune_days(db: &mut AnyConnection, before_day: i64) -> StoreResult<()> {
    sqlx::query("DELETE FROM daily_usage WHERE day < $1").bind(before_day).execute(db).await?;
    Ok(())
}
