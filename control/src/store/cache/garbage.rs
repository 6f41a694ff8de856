//! Content that nobody links: claimed by nodes, deleted, confirmed; and what was found in a store that nobody knew of.

use roadstead_proto::Digest;
use sqlx::{AnyConnection, Row as _};

use crate::rules::cache::corruption::Stored;
use crate::store::{StoreResult, parse};

/// A claim of garbage.
#[derive(Clone, Debug)]
pub struct Claim {
    /// Names the claim.
    pub id: String,
    /// The node.
    pub node_id: String,
    /// Its store.
    pub store_id: String,
    /// The latest time at which the content lost its last link.
    pub unlinked_by_ms: i64,
    /// Claims of before have lapsed.
    pub lapsed_by_ms: i64,
    /// The maximum number of contents.
    pub limit: i64,
    /// The time.
    pub now_ms: i64,
}

/// Claims what is not claimed by others; the longest unlinked first.
pub async fn claim(db: &mut AnyConnection, claim: &Claim) -> StoreResult<Vec<Digest>> {
    let rows = sqlx::query(
        "UPDATE contents SET claimed_at = $4, claim_id = $5, claimed_by = $6 WHERE digest IN (
             SELECT digest FROM contents WHERE unlinked_at <= $1 AND (claimed_at IS NULL OR claimed_at <= $2)
                 AND (only_store IS NULL OR only_store = $7)
             ORDER BY unlinked_at LIMIT $3)
         RETURNING digest",
    )
    .bind(claim.unlinked_by_ms)
    .bind(claim.lapsed_by_ms)
    .bind(claim.limit)
    .bind(claim.now_ms)
    .bind(claim.id.clone())
    .bind(claim.node_id.clone())
    .bind(claim.store_id.clone())
    .fetch_all(db)
    .await?;
    rows.iter().map(|row| parse("digest", row.try_get(0)?)).collect()
}

/// Voids all claims of a node.
pub async fn void_claims(db: &mut AnyConnection, node_id: &str) -> StoreResult<()> {
    sqlx::query("UPDATE contents SET claimed_at = NULL, claim_id = NULL, claimed_by = NULL WHERE claimed_by = $1")
        .bind(node_id.to_owned())
        .execute(db)
        .await?;
    Ok(())
}

/// Forgets content that was deleted under this claim, unless the claim is void: it lapsed and somebody else has the
/// content now, or it was linked again. Answers whether it is forgotten.
pub async fn confirm(db: &mut AnyConnection, digest: &Digest, claim_id: &str) -> StoreResult<bool> {
    let digest = digest.to_string();
    let done = sqlx::query(
        "DELETE FROM contents WHERE digest = $1 AND claim_id = $2 AND unlinked_at IS NOT NULL
             AND NOT EXISTS (SELECT 1 FROM links WHERE links.digest = contents.digest)",
    )
    .bind(digest.clone())
    .bind(claim_id.to_owned())
    .execute(&mut *db)
    .await?;
    if done.rows_affected() == 0 {
        return Ok(false);
    }
    sqlx::query("DELETE FROM content_sources WHERE digest = $1").bind(digest.clone()).execute(&mut *db).await?;
    sqlx::query("DELETE FROM manifest_references WHERE manifest = $1").bind(digest.clone()).execute(&mut *db).await?;
    sqlx::query("DELETE FROM corruptions WHERE digest = $1").bind(digest).execute(db).await?;
    Ok(true)
}

/// Returns the recorded size of content, and whether anybody links it.
pub async fn recorded(db: &mut AnyConnection, digest: &Digest) -> StoreResult<Option<(i64, bool)>> {
    let row = sqlx::query("SELECT size_bytes, unlinked_at FROM contents WHERE digest = $1")
        .bind(digest.to_string())
        .fetch_optional(db)
        .await?;
    row.map(|row| Ok((row.try_get(0)?, row.try_get::<Option<i64>, _>(1)?.is_none()))).transpose()
}

/// Records content that nobody links, if it is not recorded. Answers whether it was not.
pub async fn adopt(db: &mut AnyConnection, stored: &Stored, store_id: &str, now_ms: i64) -> StoreResult<bool> {
    let done = sqlx::query(
        "INSERT INTO contents (digest, size_bytes, unlinked_at, only_store) VALUES ($1, $2, $3, $4)
         ON CONFLICT (digest) DO NOTHING",
    )
    .bind(stored.digest.to_string())
    .bind(stored.size_bytes)
    .bind(now_ms)
    .bind((!store_id.is_empty()).then(|| store_id.to_owned()))
    .execute(db)
    .await?;
    Ok(done.rows_affected() > 0)
}
