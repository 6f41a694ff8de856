//! Stored content, once per digest, and the references of manifests.

use roadstead_proto::{Descriptor, Digest, Link, UpstreamHost, size_to_wire};
use sqlx::AnyConnection;

use crate::store::StoreResult;

/// Records that content is stored and about to be linked. Answers false, and does nothing, if a node claimed it for
/// deletion after `claims_from_ms`: its bytes may be gone any moment. Of content that nobody links, the size recorded
/// is that of a file nobody looked into: the one given here, of verified content, replaces it.
pub async fn put(db: &mut AnyConnection, link: &Link, claims_from_ms: i64) -> StoreResult<bool> {
    let row = sqlx::query(
        "INSERT INTO contents (digest, size_bytes) VALUES ($1, $2)
         ON CONFLICT (digest) DO UPDATE SET
             size_bytes = CASE WHEN contents.unlinked_at IS NULL THEN contents.size_bytes ELSE $2 END,
             unlinked_at = NULL, claimed_at = NULL, claim_id = NULL, claimed_by = NULL, only_store = NULL
         WHERE contents.claimed_at IS NULL OR contents.claimed_at <= $3
         RETURNING digest",
    )
    .bind(link.digest.to_string())
    .bind(size_to_wire(link.size_bytes))
    .bind(claims_from_ms)
    .fetch_optional(db)
    .await?;
    Ok(row.is_some())
}

/// Records that content was fetched whole from an upstream.
pub async fn put_source(db: &mut AnyConnection, digest: &Digest, upstream: &UpstreamHost) -> StoreResult<()> {
    sqlx::query(
        "INSERT INTO content_sources (digest, upstream) VALUES ($1, $2) ON CONFLICT (digest, upstream) DO NOTHING",
    )
    .bind(digest.to_string())
    .bind(upstream.to_string())
    .execute(db)
    .await?;
    Ok(())
}

/// Checks whether recorded content was fetched whole from an upstream before.
pub async fn is_from(db: &mut AnyConnection, digest: &Digest, upstream: &UpstreamHost) -> StoreResult<bool> {
    let row = sqlx::query(
        "SELECT content_sources.digest FROM content_sources JOIN contents ON contents.digest = content_sources.digest
         WHERE content_sources.digest = $1 AND upstream = $2",
    )
    .bind(digest.to_string())
    .bind(upstream.to_string())
    .fetch_optional(db)
    .await?;
    Ok(row.is_some())
}

/// Forgets what was fetched from an upstream: it is another registry now, or gone.
pub async fn forget_source(db: &mut AnyConnection, upstream: &UpstreamHost) -> StoreResult<()> {
    sqlx::query("DELETE FROM content_sources WHERE upstream = $1").bind(upstream.to_string()).execute(db).await?;
    Ok(())
}

/// Records what a manifest refers to.
pub async fn put_references(db: &mut AnyConnection, manifest: &Digest, references: &[Descriptor]) -> StoreResult<()> {
    for reference in references {
        sqlx::query(
            "INSERT INTO manifest_references (manifest, child, kind, size_bytes, platform) VALUES ($1, $2, $3, $4, $5)
             ON CONFLICT (manifest, child) DO NOTHING",
        )
        .bind(manifest.to_string())
        .bind(reference.digest.to_string())
        .bind(reference.kind.as_str())
        .bind(size_to_wire(reference.size_bytes))
        .bind(reference.platform.clone())
        .execute(&mut *db)
        .await?;
    }
    Ok(())
}
