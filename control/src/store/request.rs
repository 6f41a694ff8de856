//! Requests that created something, by the ids that their callers chose.

use sqlx::{AnyConnection, Row as _, any::AnyRow};

use crate::{rules::request::RequestId, store::StoreResult};

/// A request that created something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredRequest {
    /// Tells the call from others.
    pub fingerprint: String,
    /// The id of the created object.
    pub object: String,
    /// The secret of a created token, sealed; empty for other objects.
    pub sealed_secret: String,
    /// When it was created.
    pub created_at_ms: i64,
}

/// The request that this caller made with this id.
pub async fn get(db: &mut AnyConnection, request: &RequestId) -> StoreResult<Option<StoredRequest>> {
    let row = sqlx::query(
        "SELECT fingerprint, object, sealed_secret, created_at FROM requests WHERE caller = $1 AND id = $2",
    )
    .bind(request.caller.clone())
    .bind(request.id.clone())
    .fetch_optional(db)
    .await?;
    let read = |row: AnyRow| {
        Ok(StoredRequest {
            fingerprint: row.try_get(0)?,
            object: row.try_get(1)?,
            sealed_secret: row.try_get(2)?,
            created_at_ms: row.try_get(3)?,
        })
    };
    row.map(read).transpose()
}

/// Records a request, in the transaction of what it creates; an older one with the same id is forgotten.
pub async fn put(
    db: &mut AnyConnection,
    request: &RequestId,
    object: &str,
    sealed_secret: &str,
    now_ms: i64,
) -> StoreResult<()> {
    sqlx::query(
        "INSERT INTO requests (caller, id, fingerprint, object, sealed_secret, created_at) VALUES ($1, $2, $3, $4, $5, $6)
         ON CONFLICT (caller, id) DO UPDATE SET fingerprint = $3, object = $4, sealed_secret = $5, created_at = $6",
    )
    .bind(request.caller.clone())
    .bind(request.id.clone())
    .bind(request.fingerprint.clone())
    .bind(object.to_owned())
    .bind(sealed_secret.to_owned())
    .bind(now_ms)
    .execute(db)
    .await?;
    Ok(())
}

/// Forgets requests from before that time, with their secrets.
pub async fn prune(db: &mut AnyConnection, before_ms: i64) -> StoreResult<()> {
    sqlx::query("DELETE FROM requests WHERE created_at <= $1").bind(before_ms).execute(db).await?;
    Ok(())
}
