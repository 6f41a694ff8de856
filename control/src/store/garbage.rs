//! Content that nobody links any more: claimed by nodes, deleted, confirmed.

use roadstead_proto::Digest;
use sqlx::{AnyConnection, Row as _};

use super::{StoreResult, parse};

/// Claims content that lost its last link before `unlinked_before_ms` and is not claimed since `claims_from_ms`;
/// the longest unlinked first.
pub async fn claim(
    db: &mut AnyConnection,
    unlinked_before_ms: i64,
    claims_from_ms: i64,
    limit: i64,
    now_ms: i64,
) -> StoreResult<Vec<Digest>> {
    let rows = sqlx::query(
        "UPDATE contents SET claimed_at = $4 WHERE digest IN (
             SELECT digest FROM contents WHERE unlinked_at <= $1 AND (claimed_at IS NULL OR claimed_at <= $2)
             ORDER BY unlinked_at LIMIT $3)
         RETURNING digest",
    )
    .bind(unlinked_before_ms)
    .bind(claims_from_ms)
    .bind(limit)
    .bind(now_ms)
    .fetch_all(db)
    .await?;
    rows.iter().map(|row| parse("digest", row.try_get(0)?)).collect()
}

/// Forgets content that was deleted, unless it was linked again in the meantime (which voids the claim).
pub async fn confirm(db: &mut AnyConnection, digest: &Digest) -> StoreResult<()> {
    let done = sqlx::query(
        "DELETE FROM contents WHERE digest = $1 AND claimed_at IS NOT NULL AND unlinked_at IS NOT NULL
             AND NOT EXISTS (SELECT 1 FROM links WHERE links.digest = contents.digest)",
    )
    .bind(digest.to_string())
    .execute(&mut *db)
    .await?;
    if done.rows_affected() > 0 {
        sqlx::query("DELETE FROM manifest_references WHERE manifest = $1").bind(digest.to_string()).execute(db).await?;
    }
    Ok(())
}
