//! Records of changes and refusals.

use sqlx::AnyConnection;

use super::StoreResult;
use crate::audit::Entry;

/// Writes one record, in the transaction of what it records.
pub async fn record(db: &mut AnyConnection, entry: &Entry, now_ms: i64) -> StoreResult<()> {
    sqlx::query(
        "INSERT INTO audit (id, at, actor, client_address, action, subject, group_path, outcome, detail, count)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, 1)",
    )
    .bind(uuid::Uuid::now_v7().to_string())
    .bind(now_ms)
    .bind(entry.actor.clone())
    .bind(entry.client_address.clone())
    .bind(entry.action)
    .bind(entry.subject.clone())
    .bind(entry.group_path.clone())
    .bind(entry.outcome.as_str())
    .bind(entry.detail.clone())
    .execute(db)
    .await?;
    Ok(())
}
