//! Users. Passwords are here only as Argon2id hashes.

use sqlx::{AnyConnection, Row as _, any::AnyRow};

use crate::rules::identity::user::{User, UserName};
use crate::store::{StoreResult, parse};

/// A `SELECT` of whole users.
macro_rules! select {
    ($rest:literal) => {
        sqlx::query(concat!(
            "SELECT id, name, admin, disabled, etag, epoch, created_at, last_seen_at, password_hash FROM users ",
            $rest
        ))
    };
}

fn read(row: &AnyRow) -> StoreResult<User> {
    Ok(User {
        id: row.try_get("id")?,
        name: parse("user name", row.try_get("name")?)?,
        admin: row.try_get::<i64, _>("admin")? != 0,
        disabled: row.try_get::<i64, _>("disabled")? != 0,
        etag: row.try_get("etag")?,
        epoch: row.try_get("epoch")?,
        created_at_ms: row.try_get("created_at")?,
        last_seen_at_ms: row.try_get("last_seen_at")?,
    })
}

/// The user with this name.
pub async fn by_name(db: &mut AnyConnection, name: &UserName) -> StoreResult<Option<User>> {
    select!("WHERE name = $1").bind(name.as_str().to_owned()).fetch_optional(db).await?.as_ref().map(read).transpose()
}

/// The user with this id.
pub async fn by_id(db: &mut AnyConnection, id: &str) -> StoreResult<Option<User>> {
    select!("WHERE id = $1").bind(id.to_owned()).fetch_optional(db).await?.as_ref().map(read).transpose()
}

/// The user with this name, with the hash of the password.
pub async fn with_password_hash(db: &mut AnyConnection, name: &UserName) -> StoreResult<Option<(User, String)>> {
    let row = select!("WHERE name = $1").bind(name.as_str().to_owned()).fetch_optional(db).await?;
    row.map(|row| Ok((read(&row)?, row.try_get("password_hash")?))).transpose()
}

/// Users after the name `after`, in the order of their names.
pub async fn page(db: &mut AnyConnection, after: &str, limit: i64) -> StoreResult<Vec<User>> {
    let rows =
        select!("WHERE name > $1 ORDER BY name LIMIT $2").bind(after.to_owned()).bind(limit).fetch_all(db).await?;
    rows.iter().map(read).collect()
}

/// Adds a user. Answers false, and does nothing, if the name is taken.
pub async fn insert(db: &mut AnyConnection, user: &User, password_hash: &str) -> StoreResult<bool> {
    let done = sqlx::query(
        "INSERT INTO users (id, name, password_hash, admin, disabled, etag, epoch, created_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (name) DO NOTHING",
    )
    .bind(user.id.clone())
    .bind(user.name.as_str().to_owned())
    .bind(password_hash.to_owned())
    .bind(i64::from(user.admin))
    .bind(i64::from(user.disabled))
    .bind(user.etag)
    .bind(user.epoch)
    .bind(user.created_at_ms)
    .execute(db)
    .await?;
    Ok(done.rows_affected() > 0)
}

/// Stores what may change of a user; the password only where there is a new one.
pub async fn update(db: &mut AnyConnection, user: &User, password_hash: Option<String>) -> StoreResult<()> {
    sqlx::query(
        "UPDATE users SET admin = $2, disabled = $3, etag = $4, epoch = $5,
             password_hash = COALESCE($6, password_hash) WHERE id = $1",
    )
    .bind(user.id.clone())
    .bind(i64::from(user.admin))
    .bind(i64::from(user.disabled))
    .bind(user.etag)
    .bind(user.epoch)
    .bind(password_hash)
    .execute(db)
    .await?;
    Ok(())
}

/// Voids the registry tokens that the user has; answers the epoch that new ones must carry.
pub async fn raise_epoch(db: &mut AnyConnection, id: &str) -> StoreResult<i64> {
    let row = sqlx::query("UPDATE users SET epoch = epoch + 1 WHERE id = $1 RETURNING epoch")
        .bind(id.to_owned())
        .fetch_one(db)
        .await?;
    Ok(row.try_get(0)?)
}

/// Removes a user with memberships and tokens.
pub async fn delete(db: &mut AnyConnection, id: &str) -> StoreResult<()> {
    for sql in [
        "DELETE FROM memberships WHERE user_id = $1",
        "DELETE FROM tokens WHERE user_id = $1",
        "DELETE FROM users WHERE id = $1",
    ] {
        sqlx::query(sql).bind(id.to_owned()).execute(&mut *db).await?;
    }
    Ok(())
}

/// Notes when a user was last seen.
pub async fn set_last_seen(db: &mut AnyConnection, id: &str, at_ms: i64) -> StoreResult<()> {
    sqlx::query("UPDATE users SET last_seen_at = $2 WHERE id = $1").bind(id.to_owned()).bind(at_ms).execute(db).await?;
    Ok(())
}
