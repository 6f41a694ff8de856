//! Signing keys, sealed.

use sqlx::{AnyConnection, Row as _};

use crate::auth::{
    key_ring::StoredKey,
    rotation::{KeyTimes, Retire},
};
use crate::store::StoreResult;

/// All keys, the oldest first.
pub async fn all(db: &mut AnyConnection) -> StoreResult<Vec<StoredKey>> {
    let rows = sqlx::query(
        "SELECT id, public_key, sealed_private_key, created_at, not_after FROM signing_keys ORDER BY created_at, id",
    )
    .fetch_all(db)
    .await?;
    rows.iter()
        .map(|row| {
            Ok(StoredKey {
                id: row.try_get(0)?,
                public_key: row.try_get(1)?,
                sealed_private_key: row.try_get(2)?,
                times: KeyTimes { created_at_ms: row.try_get(3)?, not_after_ms: row.try_get(4)? },
            })
        })
        .collect()
}

/// Adds a key.
pub async fn insert(db: &mut AnyConnection, key: &StoredKey) -> StoreResult<()> {
    sqlx::query("INSERT INTO signing_keys (id, public_key, sealed_private_key, created_at) VALUES ($1, $2, $3, $4)")
        .bind(key.id.clone())
        .bind(key.public_key.clone())
        .bind(key.sealed_private_key.clone())
        .bind(key.times.created_at_ms)
        .execute(db)
        .await?;
    Ok(())
}

/// Takes keys out of use.
pub async fn retire(db: &mut AnyConnection, which: Retire) -> StoreResult<()> {
    sqlx::query("UPDATE signing_keys SET not_after = $2 WHERE not_after IS NULL AND created_at < $1")
        .bind(which.made_before_ms)
        .bind(which.not_after_ms)
        .execute(db)
        .await?;
    Ok(())
}

/// Removes keys whose last tokens have expired. Answers whether there were any.
pub async fn prune(db: &mut AnyConnection, now_ms: i64) -> StoreResult<bool> {
    let done = sqlx::query("DELETE FROM signing_keys WHERE not_after < $1").bind(now_ms).execute(db).await?;
    Ok(done.rows_affected() > 0)
}

/// Removes a key, whatever it still verifies. Answers whether it was there.
pub async fn delete(db: &mut AnyConnection, id: &str) -> StoreResult<bool> {
    let done = sqlx::query("DELETE FROM signing_keys WHERE id = $1").bind(id.to_owned()).execute(db).await?;
    Ok(done.rows_affected() > 0)
}

/// Stores the same private key, sealed anew.
pub async fn set_sealed(db: &mut AnyConnection, id: &str, sealed_private_key: &str) -> StoreResult<()> {
    sqlx::query("UPDATE signing_keys SET sealed_private_key = $2 WHERE id = $1")
        .bind(id.to_owned())
        .bind(sealed_private_key.to_owned())
        .execute(db)
        .await?;
    Ok(())
}
