//! Jobs that somebody waits for, sealed, and what nodes told of them. One node claims a job; a report counts only
//! from then until the last one.

use sqlx::{AnyConnection, Row as _};

use crate::store::StoreResult;

/// No node has claimed it.
const OFFERED: &str = "offered";
/// A node is at it.
const CLAIMED: &str = "claimed";
/// The last report is there.
const ENDED: &str = "ended";

/// The state of a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Its id.
    pub id: String,
    /// No node has claimed it.
    pub is_offered: bool,
    /// The number of its reports.
    pub told: i64,
    /// The last report; empty before the first.
    pub report: String,
    /// Time for which it is kept.
    pub kept_until_ms: i64,
}

/// Offers a job.
pub async fn insert(db: &mut AnyConnection, id: &str, sealed: &str, kept_until_ms: i64) -> StoreResult<()> {
    sqlx::query("INSERT INTO jobs (id, sealed, state, told, report, kept_until) VALUES ($1, $2, $3, 0, '', $4)")
        .bind(id.to_owned())
        .bind(sealed.to_owned())
        .bind(OFFERED)
        .bind(kept_until_ms)
        .execute(db)
        .await?;
    Ok(())
}

/// Gives a job to the first who asks: what is to be done, sealed.
pub async fn claim(db: &mut AnyConnection, id: &str) -> StoreResult<Option<String>> {
    let row = sqlx::query("UPDATE jobs SET state = $2 WHERE id = $1 AND state = $3 RETURNING sealed")
        .bind(id.to_owned())
        .bind(CLAIMED)
        .bind(OFFERED)
        .fetch_optional(db)
        .await?;
    row.map(|row| Ok(row.try_get(0)?)).transpose()
}

/// Takes a report; answers how many there were with it, or `None` if nobody waits for any.
pub async fn report(db: &mut AnyConnection, id: &str, report: &str, is_last: bool) -> StoreResult<Option<i64>> {
    let row = sqlx::query(
        "UPDATE jobs SET told = told + 1, report = $2, state = $3 WHERE id = $1 AND state = $4 RETURNING told",
    )
    .bind(id.to_owned())
    .bind(report.to_owned())
    .bind(if is_last { ENDED } else { CLAIMED })
    .bind(CLAIMED)
    .fetch_optional(db)
    .await?;
    row.map(|row| Ok(row.try_get(0)?)).transpose()
}

/// Returns the state of all jobs.
pub async fn all(db: &mut AnyConnection) -> StoreResult<Vec<Standing>> {
    let rows = sqlx::query("SELECT id, state, told, report, kept_until FROM jobs ORDER BY id").fetch_all(db).await?;
    rows.iter()
        .map(|row| {
            Ok(Standing {
                id: row.try_get(0)?,
                is_offered: row.try_get::<String, _>(1)? == OFFERED,
                told: row.try_get(2)?,
                report: row.try_get(3)?,
                kept_until_ms: row.try_get(4)?,
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

/// Gives a job up, or clears one away that has ended.
pub async fn delete(db: &mut AnyConnection, id: &str) -> StoreResult<()> {
    sqlx::query("DELETE FROM jobs WHERE id = $1").bind(id.to_owned()).execute(db).await?;
    Ok(())
}

/// Gives up what nobody keeps any more: the replica that waited for it is gone.
pub async fn prune(db: &mut AnyConnection, now_ms: i64) -> StoreResult<()> {
    sqlx::query("DELETE FROM jobs WHERE kept_until < $1").bind(now_ms).execute(db).await?;
    Ok(())
}
