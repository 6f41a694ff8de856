//! Issuers of OpenID Connect tokens, and groups' trust in them.

use sqlx::{AnyConnection, Row as _, any::AnyRow};

use crate::oidc::{ClaimRule, Trust};
use crate::store::{StoreError, StoreResult, parse};

/// An issuer that is allowed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredIssuer {
    /// As its tokens name it.
    pub url: String,
    /// When it was allowed.
    pub created_at_ms: i64,
}

/// A `SELECT` of whole trusts.
macro_rules! select {
    ($rest:literal) => {
        sqlx::query(concat!(
            "SELECT oidc_trusts.id AS id, path, issuer, audience, claims, oidc_trusts.created_at AS created_at \
             FROM oidc_trusts JOIN groups ON groups.id = group_id ",
            $rest
        ))
    };
}

fn read(row: &AnyRow) -> StoreResult<Trust> {
    let claims: String = row.try_get("claims")?;
    let rules: Vec<(String, String)> = serde_json::from_str(&claims)
        .map_err(|_| StoreError::Corrupt { what: "list of claim rules", value: claims.clone() })?;
    Ok(Trust {
        id: row.try_get("id")?,
        group: parse("group path", row.try_get("path")?)?,
        issuer: row.try_get("issuer")?,
        audience: row.try_get("audience")?,
        claims: rules.into_iter().map(|(claim, pattern)| ClaimRule { claim, pattern }).collect(),
        created_at_ms: row.try_get("created_at")?,
    })
}

fn read_issuer(row: &AnyRow) -> StoreResult<StoredIssuer> {
    Ok(StoredIssuer { url: row.try_get(0)?, created_at_ms: row.try_get(1)? })
}

/// Allows an issuer. Answers false, and does nothing, if it is allowed already.
pub async fn insert_issuer(db: &mut AnyConnection, issuer: &StoredIssuer) -> StoreResult<bool> {
    let done = sqlx::query("INSERT INTO oidc_issuers (url, created_at) VALUES ($1, $2) ON CONFLICT (url) DO NOTHING")
        .bind(issuer.url.clone())
        .bind(issuer.created_at_ms)
        .execute(db)
        .await?;
    Ok(done.rows_affected() > 0)
}

/// The issuer with this URL.
pub async fn issuer(db: &mut AnyConnection, url: &str) -> StoreResult<Option<StoredIssuer>> {
    let row = sqlx::query("SELECT url, created_at FROM oidc_issuers WHERE url = $1")
        .bind(url.to_owned())
        .fetch_optional(db)
        .await?;
    row.as_ref().map(read_issuer).transpose()
}

/// Issuers after the URL `after`, in order.
pub async fn issuers(db: &mut AnyConnection, after: &str, limit: i64) -> StoreResult<Vec<StoredIssuer>> {
    let rows = sqlx::query("SELECT url, created_at FROM oidc_issuers WHERE url > $1 ORDER BY url LIMIT $2")
        .bind(after.to_owned())
        .bind(limit)
        .fetch_all(db)
        .await?;
    rows.iter().map(read_issuer).collect()
}

/// Forgets an issuer; no trust in it may be left.
pub async fn delete_issuer(db: &mut AnyConnection, url: &str) -> StoreResult<()> {
    sqlx::query("DELETE FROM oidc_issuers WHERE url = $1").bind(url.to_owned()).execute(db).await?;
    Ok(())
}

/// Adds a trust of a group.
pub async fn insert_trust(db: &mut AnyConnection, group_id: &str, trust: &Trust) -> StoreResult<()> {
    let rules = trust.claims.iter().map(|rule| vec![rule.claim.as_str(), rule.pattern.as_str()]);
    let claims = serde_json::Value::from_iter(rules);
    sqlx::query(
        "INSERT INTO oidc_trusts (id, group_id, issuer, audience, claims, created_at) VALUES ($1, $2, $3, $4, $5, $6)",
    )
    .bind(trust.id.clone())
    .bind(group_id.to_owned())
    .bind(trust.issuer.clone())
    .bind(trust.audience.clone())
    .bind(claims.to_string())
    .bind(trust.created_at_ms)
    .execute(db)
    .await?;
    Ok(())
}

/// The trust with this id.
pub async fn trust(db: &mut AnyConnection, id: &str) -> StoreResult<Option<Trust>> {
    select!("WHERE oidc_trusts.id = $1").bind(id.to_owned()).fetch_optional(db).await?.as_ref().map(read).transpose()
}

/// A group's trusts after the id `after`, in the order of creation.
pub async fn page(db: &mut AnyConnection, group_id: &str, after: &str, limit: i64) -> StoreResult<Vec<Trust>> {
    select!("WHERE group_id = $1 AND oidc_trusts.id > $2 ORDER BY oidc_trusts.id LIMIT $3")
        .bind(group_id.to_owned())
        .bind(after.to_owned())
        .bind(limit)
        .fetch_all(db)
        .await?
        .iter()
        .map(read)
        .collect()
}

/// Returns the number of a group's trusts.
pub async fn count(db: &mut AnyConnection, group_id: &str) -> StoreResult<i64> {
    let row = sqlx::query("SELECT COUNT(*) FROM oidc_trusts WHERE group_id = $1");
    Ok(row.bind(group_id.to_owned()).fetch_one(db).await?.try_get(0)?)
}

/// All trusts in an issuer, in the order of creation.
pub async fn of_issuer(db: &mut AnyConnection, issuer: &str) -> StoreResult<Vec<Trust>> {
    select!("WHERE issuer = $1 ORDER BY oidc_trusts.id")
        .bind(issuer.to_owned())
        .fetch_all(db)
        .await?
        .iter()
        .map(read)
        .collect()
}

/// Checks whether any group trusts an issuer.
pub async fn is_trusted(db: &mut AnyConnection, issuer: &str) -> StoreResult<bool> {
    let row = sqlx::query("SELECT 1 FROM oidc_trusts WHERE issuer = $1 LIMIT 1");
    Ok(row.bind(issuer.to_owned()).fetch_optional(db).await?.is_some())
}

/// All trusts in an issuer for an audience, in the order of creation.
pub async fn for_audience(db: &mut AnyConnection, issuer: &str, audience: &str) -> StoreResult<Vec<Trust>> {
    select!("WHERE issuer = $1 AND audience = $2 ORDER BY oidc_trusts.id")
        .bind(issuer.to_owned())
        .bind(audience.to_owned())
        .fetch_all(db)
        .await?
        .iter()
        .map(read)
        .collect()
}

/// Ends a trust.
pub async fn delete_trust(db: &mut AnyConnection, id: &str) -> StoreResult<()> {
    sqlx::query("DELETE FROM oidc_trusts WHERE id = $1").bind(id.to_owned()).execute(db).await?;
    Ok(())
}
