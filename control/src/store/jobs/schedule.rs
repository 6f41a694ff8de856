//! Schedules of what is fetched ahead of pulls.

use roadstead_proto::RepositoryRef;

use sqlx::{AnyConnection, Row as _, any::AnyRow};

use crate::{
    rules::jobs::schedule::Schedule,
    store::{StoreResult, parse},
};

/// A `SELECT` of whole schedules.
macro_rules! select {
    ($rest:literal) => {
        sqlx::query(concat!(
            "SELECT prefetch_schedules.id AS id, group_id, path, upstream, repository, tag, platforms, every_ms, due_at, \
             last_run_at, last_error FROM prefetch_schedules JOIN groups ON groups.id = prefetch_schedules.group_id ",
            $rest
        ))
    };
}

fn read(row: &AnyRow) -> StoreResult<Schedule> {
    let platforms: String = row.try_get("platforms")?;
    Ok(Schedule {
        id: row.try_get("id")?,
        group: parse("group path", row.try_get("path")?)?,
        repository: RepositoryRef {
            group: row.try_get::<String, _>("group_id")?.into(),
            upstream: parse("upstream host", row.try_get("upstream")?)?,
            repository: parse("repository", row.try_get("repository")?)?,
        },
        tag: parse("tag", row.try_get("tag")?)?,
        platforms: platforms.split_ascii_whitespace().map(ToOwned::to_owned).collect(),
        every_ms: row.try_get("every_ms")?,
        due_at_ms: row.try_get("due_at")?,
        last_run_at_ms: row.try_get("last_run_at")?,
        last_error: row.try_get("last_error")?,
    })
}

/// Adds a schedule.
pub async fn insert(db: &mut AnyConnection, schedule: &Schedule, now_ms: i64) -> StoreResult<()> {
    sqlx::query(
        "INSERT INTO prefetch_schedules (id, group_id, upstream, repository, tag, platforms, every_ms, created_at,
             due_at, last_run_at, last_error)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, NULL, '')",
    )
    .bind(schedule.id.clone())
    .bind(schedule.repository.group.to_string())
    .bind(schedule.repository.upstream.as_str().to_owned())
    .bind(schedule.repository.repository.as_str().to_owned())
    .bind(schedule.tag.as_str().to_owned())
    .bind(schedule.platforms.join(" "))
    .bind(schedule.every_ms)
    .bind(now_ms)
    .bind(schedule.due_at_ms)
    .execute(db)
    .await?;
    Ok(())
}

/// The schedule with this id.
pub async fn by_id(db: &mut AnyConnection, id: &str) -> StoreResult<Option<Schedule>> {
    select!("WHERE prefetch_schedules.id = $1")
        .bind(id.to_owned())
        .fetch_optional(db)
        .await?
        .as_ref()
        .map(read)
        .transpose()
}

/// A group's schedules after the id `after`, in the order of creation.
pub async fn page(db: &mut AnyConnection, group_id: &str, after: &str, limit: i64) -> StoreResult<Vec<Schedule>> {
    let rows = select!("WHERE group_id = $1 AND prefetch_schedules.id > $2 ORDER BY prefetch_schedules.id LIMIT $3")
        .bind(group_id.to_owned())
        .bind(after.to_owned())
        .bind(limit)
        .fetch_all(db)
        .await?;
    rows.iter().map(read).collect()
}

/// Returns the number of a group's schedules.
pub async fn count(db: &mut AnyConnection, group_id: &str) -> StoreResult<i64> {
    let row = sqlx::query("SELECT COUNT(*) FROM prefetch_schedules WHERE group_id = $1").bind(group_id.to_owned());
    Ok(row.fetch_one(db).await?.try_get(0)?)
}

/// The schedule that has been due the longest.
pub async fn due(db: &mut AnyConnection, now_ms: i64) -> StoreResult<Option<Schedule>> {
    select!("WHERE due_at <= $1 ORDER BY due_at, prefetch_schedules.id LIMIT 1")
        .bind(now_ms)
        .fetch_optional(db)
        .await?
        .as_ref()
        .map(read)
        .transpose()
}

/// Notes that a schedule runs now and when it does next. Answers false if somebody else runs it, or it is gone.
pub async fn begin(db: &mut AnyConnection, schedule: &Schedule, now_ms: i64) -> StoreResult<bool> {
    let done = sqlx::query("UPDATE prefetch_schedules SET due_at = $3 WHERE id = $1 AND due_at = $2")
        .bind(schedule.id.clone())
        .bind(schedule.due_at_ms)
        .bind(now_ms.saturating_add(schedule.every_ms))
        .execute(db)
        .await?;
    Ok(done.rows_affected() > 0)
}

/// Notes when a run ended, and how; an empty error means well.
pub async fn end(db: &mut AnyConnection, id: &str, error: &str, now_ms: i64) -> StoreResult<()> {
    sqlx::query("UPDATE prefetch_schedules SET last_error = $2, last_run_at = $3 WHERE id = $1")
        .bind(id.to_owned())
        .bind(error.to_owned())
        .bind(now_ms)
        .execute(db)
        .await?;
    Ok(())
}

/// Removes a schedule.
pub async fn delete(db: &mut AnyConnection, id: &str) -> StoreResult<()> {
    sqlx::query("DELETE FROM prefetch_schedules WHERE id = $1").bind(id.to_owned()).execute(db).await?;
    Ok(())
}
