//! Records of changes and refusals.

use roadstead_proto::GroupPath;
use sqlx::{AnyConnection, Row as _, any::AnyRow};

use super::{StoreResult, parse};
use crate::rules::{
    audit::{Entry, Event, Wanted},
    groups::group::parent,
};

/// Writes one record, in the transaction of what it records.
pub async fn record(db: &mut AnyConnection, entry: &Entry, now_ms: i64) -> StoreResult<()> {
    record_as(db, &uuid::Uuid::now_v7().to_string(), entry, now_ms).await
}

/// As [`record`], with an id (UUIDv7) of the caller's.
pub async fn record_as(db: &mut AnyConnection, id: &str, entry: &Entry, now_ms: i64) -> StoreResult<()> {
    sqlx::query(
        "INSERT INTO audit (id, at, actor, client_address, action, subject, group_path, outcome, detail, count)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, 1)",
    )
    .bind(id.to_owned())
    .bind(now_ms)
    .bind(entry.actor.clone())
    .bind(entry.client_address.clone())
    .bind(entry.action)
    .bind(entry.subject.clone())
    .bind(entry.group_path.clone())
    .bind(entry.outcome.as_str())
    .bind(entry.detail.clone())
    .execute(&mut *db)
    .await?;
    // The group concerned and those above it, as they are now: a path may mean another group tomorrow.
    let mut group: Option<GroupPath> = entry.group_path.parse().ok();
    while let Some(path) = group {
        sqlx::query("INSERT INTO audit_groups (event_id, group_id) SELECT $1, id FROM groups WHERE path = $2")
            .bind(id.to_owned())
            .bind(path.as_str().to_owned())
            .execute(&mut *db)
            .await?;
        group = parent(&path);
    }
    Ok(())
}

fn read(row: &AnyRow) -> StoreResult<Event> {
    Ok(Event {
        id: row.try_get("id")?,
        at_ms: row.try_get("at")?,
        actor: row.try_get("actor")?,
        client_address: row.try_get("client_address")?,
        action: row.try_get("action")?,
        subject: row.try_get("subject")?,
        group_path: row.try_get("group_path")?,
        outcome: parse("outcome", row.try_get("outcome")?)?,
        detail: row.try_get("detail")?,
        count: row.try_get("count")?,
    })
}

/// Counts more repeats of what a record is of.
pub async fn add_repeats(db: &mut AnyConnection, id: &str, times: i64) -> StoreResult<()> {
    sqlx::query("UPDATE audit SET count = count + $2 WHERE id = $1")
        .bind(id.to_owned())
        .bind(times)
        .execute(db)
        .await?;
    Ok(())
}

/// Events before the one with the id `before` (empty: before now), newest first. Those of a group are what was recorded
/// of it and its subgroups, whatever their paths were then, and where `wanted` says so, of any group that had these
/// paths.
pub async fn page(db: &mut AnyConnection, wanted: &Wanted, before: &str, limit: i64) -> StoreResult<Vec<Event>> {
    // '0' follows '/': every path of a subgroup lies between the two.
    let path = wanted.group.as_ref().map(ToString::to_string).unwrap_or_default();
    let rows = sqlx::query(
        "SELECT id, at, actor, client_address, action, subject, group_path, outcome, detail, count FROM audit
         WHERE ($1 = '' OR id < $1) AND at >= $2 AND at < $3
             AND ($4 = ''
                 OR ($7 = 1 AND (group_path = $4 OR (group_path > $5 AND group_path < $6)))
                 OR EXISTS (SELECT 1 FROM audit_groups JOIN groups ON groups.id = audit_groups.group_id
                     WHERE audit_groups.event_id = audit.id
                         AND (groups.path = $4 OR (groups.path > $5 AND groups.path < $6))))
         ORDER BY id DESC LIMIT $8",
    )
    .bind(before.to_owned())
    .bind(wanted.since_ms)
    .bind(wanted.until_ms)
    .bind(path.clone())
    .bind(format!("{path}/"))
    .bind(format!("{path}0"))
    .bind(i64::from(wanted.of_earlier_groups))
    .bind(limit)
    .fetch_all(db)
    .await?;
    rows.iter().map(read).collect()
}

/// Forgets events from before that time.
pub async fn prune(db: &mut AnyConnection, before_ms: i64) -> StoreResult<()> {
    sqlx::query("DELETE FROM audit_groups WHERE event_id IN (SELECT id FROM audit WHERE at < $1)")
        .bind(before_ms)
        .execute(&mut *db)
        .await?;
    sqlx::query("DELETE FROM audit WHERE at < $1").bind(before_ms).execute(db).await?;
    Ok(())
}
