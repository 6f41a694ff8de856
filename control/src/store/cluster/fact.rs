//! Single facts, by name, that all replicas know.

use sqlx::{AnyConnection, Row as _};

use crate::store::StoreResult;

/// Returns the URL by which clients reach the node that was heard last.
pub const REGISTRY_URL: &str = "registry-url";

/// The fingerprint of the key that seals the secrets in this database.
pub const SECRET_KEY: &str = "secret-key";

/// The fact with this name.
pub async fn get(db: &mut AnyConnection, name: &'static str) -> StoreResult<Option<String>> {
    let row = sqlx::query("SELECT value FROM facts WHERE name = $1").bind(name).fetch_optional(db).await?;
    row.map(|row| Ok(row.try_get(0)?)).transpose()
}

/// Stores a fact in place of what was known.
pub async fn put(db: &mut AnyConnection, name: &'static str, value: &str) -> StoreResult<()> {
    sqlx::query("INSERT INTO facts (name, value) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET value = $2")
        .bind(name)
        .bind(value.to_owned())
        .execute(db)
        .await?;
    Ok(())
}
