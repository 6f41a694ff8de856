//! Jobs that somebody waits for, sealed, and what nodes report of them. One node claims a job; a report counts only
//! from then until the last one. Whoever changes what others must see counts that, by
//! [`WriteTx::jobs_changed`](crate::store::WriteTx::jobs_changed).

use sqlx::{AnyConnection, Row as _};

use crate::store::StoreResult;

/// No node has claimed it.
const OFFERED: &str = "offered";
/// A node is at it.
const CLAIMED: &str = "claimed";
/// The last report is there.
const ENDED: &str = "ended";

/// A job as others see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobRow {
    /// Its id.
    pub id: String,
    /// No node has claimed it.
    pub is_offered: bool,
    /// The number of its reports.
    pub reports: i64,
    /// The last report; empty before the first.
    pub report: String,
}

/// Offers a job.
pub async fn insert(db: &mut AnyConnection, id: &str, sealed: &str, kept_until_ms: i64) -> StoreResult<()> {
    sqlx::query("INSERT INTO jobs (id, sealed, state, reports, report, kept_until) VALUES ($1, $2, $3, 0, '', $4)")
        .bind(id.to_owned())
        .bind(sealed.to_owned())
        .bind(OFFERED)
        .bind(kept_until_ms)
        .execute(db)
        .await?;
    Ok(())
}

/// Counts the jobs.
pub async fn count(db: &mut AnyConnection) -> StoreResult<i64> {
    Ok(sqlx::query("SELECT COUNT(*) FROM jobs").fetch_one(db).await?.try_get(0)?)
}

/// Gives a job to the first who asks: what is to be done, sealed.
pub async fn claim(db: &mut AnyConnection, id: &str, now_ms: i64) -> StoreResult<Option<String>> {
    let row =
        sqlx::query("UPDATE jobs SET state = $2 WHERE id = $1 AND state = $3 AND kept_until >= $4 RETURNING sealed")
            .bind(id.to_owned())
            .bind(CLAIMED)
            .bind(OFFERED)
            .bind(now_ms)
            .fetch_optional(db)
            .await?;
    row.map(|row| Ok(row.try_get(0)?)).transpose()
}

/// Takes a report; false if nobody waits for any.
pub async fn report(db: &mut AnyConnection, id: &str, report: &str, is_last: bool, now_ms: i64) -> StoreResult<bool> {
    let done = sqlx::query(
        "UPDATE jobs SET reports = reports + 1, report = $2, state = $3
         WHERE id = $1 AND state = $4 AND kept_until >= $5",
    )
    .bind(id.to_owned())
    .bind(report.to_owned())
    .bind(if is_last { ENDED } else { CLAIMED })
    .bind(CLAIMED)
    .bind(now_ms)
    .execute(db)
    .await?;
    Ok(done.rows_affected() > 0)
}

/// Reads all jobs.
pub async fn all(db: &mut AnyConnection) -> StoreResult<Vec<JobRow>> {
    let rows = sqlx::query("SELECT id, state, reports, report FROM jobs").fetch_all(db).await?;
    rows.iter()
        .map(|row| {
            Ok(JobRow {
                id: row.try_get(0)?,
                is_offered: row.try_get::<String, _>(1)? == OFFERED,
                reports: row.try_get(2)?,
                report: row.try_get(3)?,
            })
        })
        .collect()
}

/// Keeps a job that somebody still waits for.
pub async fn keep(db: &mut AnyConnection, id: &str, kept_until_ms: i64) -> StoreResult<()> {
    sqlx::query("UPDATE jobs SET kept_until = $2 WHERE id = $1")
        .bind(id.to_owned())
        .bind(kept_until_ms)
        .execute(db)
        .await?;
    Ok(())
}

/// Gives a job up, or clears one away that has ended; false if it is gone already.
pub async fn delete(db: &mut AnyConnection, id: &str) -> StoreResult<bool> {
    Ok(sqlx::query("DELETE FROM jobs WHERE id = $1").bind(id.to_owned()).execute(db).await?.rows_affected() > 0)
}

/// Gives up what nobody keeps any more: the replica that waited for it is gone.
pub async fn prune(db: &mut AnyConnection, now_ms: i64) -> StoreResult<()> {
    sqlx::query("DELETE FROM jobs WHERE kept_until < $1").bind(now_ms).execute(db).await?;
    Ok(())
}
