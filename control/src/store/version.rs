//! The version of Roadstead that used the database last, and what an older or unrelated one says of its schema.

use sqlx::{AnyConnection, Connection as _, Row as _, migrate::MigrateError};

use super::{Connection, StoreError, StoreResult};

/// The version of this executable.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Notes that this version uses the database.
pub async fn note(db: &mut Connection) -> StoreResult<()> {
    sqlx::query(
        "INSERT INTO installation (id, version) VALUES (1, $1)
         ON CONFLICT (id) DO UPDATE SET version = excluded.version WHERE installation.version <> excluded.version",
    )
    .bind(VERSION)
    .execute(db)
    .await?;
    Ok(())
}

/// Explains why the schema of the database at `url` cannot be brought up to date.
pub async fn explain(error: StoreError, url: &str) -> StoreError {
    match error {
        StoreError::Migrate(MigrateError::VersionMissing(_)) => {
            let by = last_version(url)
                .await
                .map_or_else(|| "a later version".to_owned(), |version| format!("Roadstead {version}"));
            StoreError::Unusable(format!(
                "was made by {by}; this is {VERSION}, which is older: start the later version, or restore a backup of this one"
            ))
        }
        StoreError::Migrate(MigrateError::VersionMismatch(_)) => StoreError::Unusable(format!(
            "was made by another build than Roadstead {VERSION}, from before a release, and cannot be brought up to date"
        )),
        error => error,
    }
}

async fn last_version(url: &str) -> Option<String> {
    let mut connection = AnyConnection::connect(url).await.ok()?;
    let row = sqlx::query("SELECT version FROM installation").fetch_one(&mut connection).await.ok()?;
    let version = row.try_get(0).ok()?;
    connection.close().await.ok()?;
    Some(version)
}
