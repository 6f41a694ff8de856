//! Groups' credentials for upstreams, sealed.

use sqlx::{AnyConnection, Row as _, any::AnyRow};

use crate::store::StoreResult;

/// Credentials as they are stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredCredential {
    /// The user name.
    pub username: String,
    /// Sealed, so that this can be shown and logged.
    pub sealed_password: String,
    /// When they were stored.
    pub updated_at_ms: i64,
}

/// Stores a group's credentials, replacing earlier ones.
pub async fn put(db: &mut AnyConnection, group_id: &str, host: &str, credential: &StoredCredential) -> StoreResult<()> {
    sqlx::query(
        "INSERT INTO credentials (group_id, host, username, sealed_password, updated_at) VALUES ($1, $2, $3, $4, $5)
         ON CONFLICT (group_id, host) DO UPDATE SET username = $3, sealed_password = $4, updated_at = $5",
    )
    .bind(group_id.to_owned())
    .bind(host.to_owned())
    .bind(credential.username.clone())
    .bind(credential.sealed_password.clone())
    .bind(credential.updated_at_ms)
    .execute(db)
    .await?;
    Ok(())
}

/// A group's credentials for an upstream.
pub async fn get(db: &mut AnyConnection, group_id: &str, host: &str) -> StoreResult<Option<StoredCredential>> {
    let row =
        sqlx::query("SELECT username, sealed_password, updated_at FROM credentials WHERE group_id = $1 AND host = $2")
            .bind(group_id.to_owned())
            .bind(host.to_owned())
            .fetch_optional(db)
            .await?;
    let read = |row: AnyRow| {
        Ok(StoredCredential {
            username: row.try_get(0)?,
            sealed_password: row.try_get(1)?,
            updated_at_ms: row.try_get(2)?,
        })
    };
    row.map(read).transpose()
}

/// Returns host, user name and time of a group's credentials for the upstreams after the host `after`, in the order of the hosts.
pub async fn page(
    db: &mut AnyConnection,
    group_id: &str,
    after: &str,
    limit: i64,
) -> StoreResult<Vec<(String, String, i64)>> {
    let rows = sqlx::query(
        "SELECT host, username, updated_at FROM credentials WHERE group_id = $1 AND host > $2 ORDER BY host LIMIT $3",
    )
    .bind(group_id.to_owned())
    .bind(after.to_owned())
    .bind(limit)
    .fetch_all(db)
    .await?;
    rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?, row.try_get(2)?))).collect()
}

/// Forgets a group's credentials for an upstream. Answers whether there were any.
pub async fn delete(db: &mut AnyConnection, group_id: &str, host: &str) -> StoreResult<bool> {
    let done = sqlx::query("DELETE FROM credentials WHERE group_id = $1 AND host = $2")
        .bind(group_id.to_owned())
        .bind(host.to_owned())
        .execute(db)
        .await?;
    Ok(done.rows_affected() > 0)
}

/// Forgets all of a group's credentials.
pub async fn delete_of_group(db: &mut AnyConnection, group_id: &str) -> StoreResult<()> {
    sqlx::query("DELETE FROM credentials WHERE group_id = $1").bind(group_id.to_owned()).execute(db).await?;
    Ok(())
}

/// Forgets all credentials for an upstream. Answers the ids of the groups that had some.
pub async fn delete_of_upstream(db: &mut AnyConnection, host: &str) -> StoreResult<Vec<String>> {
    let rows = sqlx::query("DELETE FROM credentials WHERE host = $1 RETURNING group_id")
        .bind(host.to_owned())
        .fetch_all(db)
        .await?;
    rows.iter().map(|row| Ok(row.try_get(0)?)).collect()
}

/// The credentials of one group for one upstream, as [`all`] reads them.
#[derive(Clone, Debug)]
pub struct Held {
    /// The group.
    pub group_id: String,
    /// The upstream.
    pub host: String,
    /// The password, sealed.
    pub sealed_password: String,
}

/// All groups' credentials.
pub async fn all(db: &mut AnyConnection) -> StoreResult<Vec<Held>> {
    let rows = sqlx::query("SELECT group_id, host, sealed_password FROM credentials ORDER BY group_id, host")
        .fetch_all(db)
        .await?;
    rows.iter()
        .map(|row| Ok(Held { group_id: row.try_get(0)?, host: row.try_get(1)?, sealed_password: row.try_get(2)? }))
        .collect()
}

/// Stores the same password, sealed anew.
pub async fn set_sealed(db: &mut AnyConnection, held: &Held) -> StoreResult<()> {
    sqlx::query("UPDATE credentials SET sealed_password = $3 WHERE group_id = $1 AND host = $2")
        .bind(held.group_id.clone())
        .bind(held.host.clone())
        .bind(held.sealed_password.clone())
        .execute(db)
        .await?;
    Ok(())
}
