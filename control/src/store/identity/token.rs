//! Tokens and revocations. Secrets are here only as hashes.

use roadstead_proto::{GroupPath, Role};

use sqlx::{AnyConnection, Row as _, any::AnyRow};

use crate::{
    rules::identity::token::{Revocation, Scope, Token, TokenUser},
    store::{StoreResult, parse},
};

/// A `SELECT` of whole tokens.
macro_rules! select {
    ($rest:literal) => {
        sqlx::query(concat!(
            "SELECT tokens.id AS id, kind, tokens.name AS name, username, path, user_id, users.name AS user_name, \
             role, scopes, tokens.created_at AS created_at, expires_at, last_used_at FROM tokens \
             LEFT JOIN groups ON groups.id = tokens.group_id LEFT JOIN users ON users.id = tokens.user_id ",
            $rest
        ))
    };
}

fn read(row: &AnyRow) -> StoreResult<Token> {
    let scopes: String = row.try_get("scopes")?;
    let user: (Option<String>, Option<String>) = (row.try_get("user_id")?, row.try_get("user_name")?);
    Ok(Token {
        id: row.try_get("id")?,
        kind: parse("token kind", row.try_get("kind")?)?,
        name: row.try_get("name")?,
        username: row.try_get("username")?,
        group: row.try_get::<Option<String>, _>("path")?.map(|path| parse("group path", path)).transpose()?,
        user: user.0.zip(user.1).map(|(id, name)| TokenUser { id, name }),
        role: row.try_get::<Option<String>, _>("role")?.map(|role| parse("role", role)).transpose()?,
        scopes: scopes
            .split_ascii_whitespace()
            .map(|scope| parse("scope", scope.to_owned()))
            .collect::<StoreResult<_>>()?,
        created_at_ms: row.try_get("created_at")?,
        expires_at_ms: row.try_get("expires_at")?,
        last_used_at_ms: row.try_get("last_used_at")?,
    })
}

/// Adds a token of a group, or of none.
pub async fn insert(
    db: &mut AnyConnection,
    token: &Token,
    group_id: Option<&str>,
    secret_hash: &str,
) -> StoreResult<()> {
    sqlx::query(
        "INSERT INTO tokens
             (id, kind, name, username, group_id, user_id, role, secret_hash, scopes, created_at, expires_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
    )
    .bind(token.id.clone())
    .bind(token.kind.as_str())
    .bind(token.name.clone())
    .bind(token.username.clone())
    .bind(group_id.map(ToOwned::to_owned))
    .bind(token.user.as_ref().map(|user| user.id.clone()))
    .bind(token.role.map(Role::as_str))
    .bind(secret_hash.to_owned())
    .bind(token.scopes.iter().copied().map(Scope::as_str).collect::<Vec<_>>().join(" "))
    .bind(token.created_at_ms)
    .bind(token.expires_at_ms)
    .execute(db)
    .await?;
    Ok(())
}

/// The token whose secret has this hash.
pub async fn by_secret_hash(db: &mut AnyConnection, hash: &str) -> StoreResult<Option<Token>> {
    select!("WHERE secret_hash = $1").bind(hash.to_owned()).fetch_optional(db).await?.as_ref().map(read).transpose()
}

/// The token with this id.
pub async fn by_id(db: &mut AnyConnection, id: &str) -> StoreResult<Option<Token>> {
    select!("WHERE tokens.id = $1").bind(id.to_owned()).fetch_optional(db).await?.as_ref().map(read).transpose()
}

/// Returns whether the administrator's token was made already.
pub async fn has_admin(db: &mut AnyConnection) -> StoreResult<bool> {
    Ok(sqlx::query("SELECT id FROM tokens WHERE kind = 'admin' LIMIT 1").fetch_optional(db).await?.is_some())
}

/// Removes every administrator's token.
pub async fn delete_admins(db: &mut AnyConnection) -> StoreResult<()> {
    sqlx::query("DELETE FROM tokens WHERE kind = 'admin'").execute(db).await?;
    Ok(())
}

/// Tokens after the id `after`, in the order of their creation.
pub async fn page(db: &mut AnyConnection, after: &str, limit: i64) -> StoreResult<Vec<Token>> {
    let query = select!("WHERE tokens.id > $1 ORDER BY tokens.id LIMIT $2").bind(after.to_owned()).bind(limit);
    query.fetch_all(db).await?.iter().map(read).collect()
}

/// As [`page`], of one group.
pub async fn page_of_group(db: &mut AnyConnection, group_id: &str, after: &str, limit: i64) -> StoreResult<Vec<Token>> {
    let query = select!("WHERE group_id = $3 AND tokens.id > $1 ORDER BY tokens.id LIMIT $2");
    let query = query.bind(after.to_owned()).bind(limit).bind(group_id.to_owned());
    query.fetch_all(db).await?.iter().map(read).collect()
}

/// As [`page`], of one user.
pub async fn page_of_user(db: &mut AnyConnection, user_id: &str, after: &str, limit: i64) -> StoreResult<Vec<Token>> {
    let query = select!("WHERE user_id = $3 AND tokens.id > $1 ORDER BY tokens.id LIMIT $2");
    let query = query.bind(after.to_owned()).bind(limit).bind(user_id.to_owned());
    query.fetch_all(db).await?.iter().map(read).collect()
}

/// Ids of all tokens of a group.
pub async fn ids_of_group(db: &mut AnyConnection, group_id: &str) -> StoreResult<Vec<String>> {
    let rows = sqlx::query("SELECT id FROM tokens WHERE group_id = $1").bind(group_id.to_owned()).fetch_all(db).await?;
    rows.iter().map(|row| Ok(row.try_get(0)?)).collect()
}

/// Counts the tokens of the top-level group that `path` is or is within, of its subgroups, and those of `owner` that
/// are remembered as revoked.
pub async fn count_of_tree(db: &mut AnyConnection, path: &GroupPath, owner: &str) -> StoreResult<i64> {
    let top = path.top_level();
    let row = sqlx::query(
        "SELECT (SELECT COUNT(*) FROM tokens JOIN groups ON groups.id = tokens.group_id
                 WHERE path = $1 OR (path > $2 AND path < $3))
             + (SELECT COUNT(*) FROM revocations WHERE owner_id = $4)",
    )
    .bind(top.to_owned())
    .bind(format!("{top}/"))
    .bind(format!("{top}0"))
    .bind(owner.to_owned())
    .fetch_one(db)
    .await?;
    Ok(row.try_get(0)?)
}

/// Counts the tokens of a user, and those that are remembered as revoked.
pub async fn count_of_user(db: &mut AnyConnection, user_id: &str) -> StoreResult<i64> {
    let row = sqlx::query(
        "SELECT (SELECT COUNT(*) FROM tokens WHERE user_id = $1)
             + (SELECT COUNT(*) FROM revocations WHERE owner_id = $1)",
    )
    .bind(user_id.to_owned())
    .fetch_one(db)
    .await?;
    Ok(row.try_get(0)?)
}

/// Removes a token, and remembers until `forget_after_ms`, under `owner`, that registry tokens issued for it are void.
/// Answers whether it was there.
pub async fn revoke(db: &mut AnyConnection, id: &str, owner: &str, forget_after_ms: i64) -> StoreResult<bool> {
    let done = sqlx::query("DELETE FROM tokens WHERE id = $1").bind(id.to_owned()).execute(&mut *db).await?;
    sqlx::query(
        "INSERT INTO revocations (token_id, forget_after, owner_id) VALUES ($1, $2, $3)
         ON CONFLICT (token_id) DO NOTHING",
    )
    .bind(id.to_owned())
    .bind(forget_after_ms)
    .bind(owner.to_owned())
    .execute(db)
    .await?;
    Ok(done.rows_affected() > 0)
}

/// Remembers until `forget_after_ms` that registry tokens of a user with a lower epoch are void.
pub async fn revoke_user(db: &mut AnyConnection, user_id: &str, epoch: i64, forget_after_ms: i64) -> StoreResult<()> {
    sqlx::query(
        "INSERT INTO revocations (token_id, forget_after, user_epoch) VALUES ($1, $2, $3)
         ON CONFLICT (token_id) DO UPDATE SET forget_after = excluded.forget_after, user_epoch = excluded.user_epoch",
    )
    .bind(user_id.to_owned())
    .bind(forget_after_ms)
    .bind(epoch)
    .execute(db)
    .await?;
    Ok(())
}

/// Forgets job tokens that expired before that time.
pub async fn prune_jobs(db: &mut AnyConnection, expired_before_ms: i64) -> StoreResult<()> {
    sqlx::query("DELETE FROM tokens WHERE kind = 'job' AND expires_at < $1")
        .bind(expired_before_ms)
        .execute(db)
        .await?;
    Ok(())
}

/// Notes when a token was last used.
pub async fn set_last_used(db: &mut AnyConnection, id: &str, at_ms: i64) -> StoreResult<()> {
    sqlx::query("UPDATE tokens SET last_used_at = $2 WHERE id = $1")
        .bind(id.to_owned())
        .bind(at_ms)
        .execute(db)
        .await?;
    Ok(())
}

/// All revocations.
pub async fn revocations(db: &mut AnyConnection) -> StoreResult<Vec<Revocation>> {
    let rows = sqlx::query("SELECT token_id, forget_after, user_epoch FROM revocations ORDER BY token_id")
        .fetch_all(db)
        .await?;
    rows.iter().map(read_revocation).collect()
}

/// The revocation of the token or user with this id.
pub async fn revocation(db: &mut AnyConnection, id: &str) -> StoreResult<Option<Revocation>> {
    let row = sqlx::query("SELECT token_id, forget_after, user_epoch FROM revocations WHERE token_id = $1")
        .bind(id.to_owned())
        .fetch_optional(db)
        .await?;
    row.as_ref().map(read_revocation).transpose()
}

fn read_revocation(row: &AnyRow) -> StoreResult<Revocation> {
    Ok(Revocation { id: row.try_get(0)?, forget_after_ms: row.try_get(1)?, user_epoch: row.try_get(2)? })
}

/// Forgets revocations whose time is over.
pub async fn prune_revocations(db: &mut AnyConnection, now_ms: i64) -> StoreResult<()> {
    sqlx::query("DELETE FROM revocations WHERE forget_after < $1").bind(now_ms).execute(db).await?;
    Ok(())
}
