//! Memberships: who has which role in which group.

use roadstead_proto::{GroupPath, Role};
use sqlx::{AnyConnection, Row as _, any::AnyRow};

use crate::{
    rules::groups::member::Member,
    store::{StoreResult, parse},
};

/// The highest role that a user has in the group at `path`, there or not: from it and from the groups above it.
pub async fn role_at(db: &mut AnyConnection, user_id: &str, path: &GroupPath) -> StoreResult<Option<Role>> {
    let rows = sqlx::query(
        "SELECT role FROM memberships JOIN groups ON groups.id = memberships.group_id
         WHERE user_id = $1 AND (path = $2 OR path || '/' = substr($2, 1, length(path) + 1))",
    )
    .bind(user_id.to_owned())
    .bind(path.as_str().to_owned())
    .fetch_all(db)
    .await?;
    let mut highest = None;
    for row in rows {
        highest = highest.max(Some(parse::<Role>("role", row.try_get(0)?)?));
    }
    Ok(highest)
}

/// Returns whether a user is a member of a group below `path`.
pub async fn is_below(db: &mut AnyConnection, user_id: &str, path: &GroupPath) -> StoreResult<bool> {
    let row = sqlx::query(
        "SELECT role FROM memberships JOIN groups ON groups.id = memberships.group_id
         WHERE user_id = $1 AND substr(path, 1, length($2)) = $2 LIMIT 1",
    )
    .bind(user_id.to_owned())
    .bind(format!("{path}/"))
    .fetch_optional(db)
    .await?;
    Ok(row.is_some())
}

fn read(row: &AnyRow) -> StoreResult<Member> {
    Ok(Member {
        user_id: row.try_get("user_id")?,
        user: row.try_get("name")?,
        role: parse("role", row.try_get("role")?)?,
        group: parse("group path", row.try_get("path")?)?,
        added_at_ms: row.try_get("added_at")?,
    })
}

/// A user's membership of just this group.
pub async fn get(db: &mut AnyConnection, group_id: &str, user_id: &str) -> StoreResult<Option<Member>> {
    sqlx::query(
        "SELECT user_id, users.name AS name, role, path, added_at FROM memberships
         JOIN users ON users.id = memberships.user_id JOIN groups ON groups.id = memberships.group_id
         WHERE group_id = $1 AND user_id = $2",
    )
    .bind(group_id.to_owned())
    .bind(user_id.to_owned())
    .fetch_optional(db)
    .await?
    .as_ref()
    .map(read)
    .transpose()
}

/// Members of the group at `path` and of those above it, after a user's name and a group's path, in that order.
pub async fn page(
    db: &mut AnyConnection,
    path: &GroupPath,
    after: (&str, &str),
    limit: i64,
) -> StoreResult<Vec<Member>> {
    let rows = sqlx::query(
        "SELECT user_id, users.name AS name, role, path, added_at FROM memberships
         JOIN users ON users.id = memberships.user_id JOIN groups ON groups.id = memberships.group_id
         WHERE (path = $1 OR path || '/' = substr($1, 1, length(path) + 1))
             AND (users.name > $2 OR (users.name = $2 AND path > $3))
         ORDER BY users.name, path LIMIT $4",
    )
    .bind(path.as_str().to_owned())
    .bind(after.0.to_owned())
    .bind(after.1.to_owned())
    .bind(limit)
    .fetch_all(db)
    .await?;
    rows.iter().map(read).collect()
}

/// Makes a user a member, or changes the role.
pub async fn put(db: &mut AnyConnection, group_id: &str, user_id: &str, role: Role, now_ms: i64) -> StoreResult<()> {
    sqlx::query(
        "INSERT INTO memberships (group_id, user_id, role, added_at) VALUES ($1, $2, $3, $4)
         ON CONFLICT (group_id, user_id) DO UPDATE SET role = excluded.role",
    )
    .bind(group_id.to_owned())
    .bind(user_id.to_owned())
    .bind(role.as_str())
    .bind(now_ms)
    .execute(db)
    .await?;
    Ok(())
}

/// Returns the number of a group's own members.
pub async fn count(db: &mut AnyConnection, group_id: &str) -> StoreResult<i64> {
    let row = sqlx::query("SELECT COUNT(*) FROM memberships WHERE group_id = $1").bind(group_id.to_owned());
    Ok(row.fetch_one(db).await?.try_get(0)?)
}

/// Ends a membership. Answers whether there was one.
pub async fn delete(db: &mut AnyConnection, group_id: &str, user_id: &str) -> StoreResult<bool> {
    let done = sqlx::query("DELETE FROM memberships WHERE group_id = $1 AND user_id = $2")
        .bind(group_id.to_owned())
        .bind(user_id.to_owned())
        .execute(db)
        .await?;
    Ok(done.rows_affected() > 0)
}

/// Ends all memberships of a group; answers the ids of the users.
pub async fn delete_of_group(db: &mut AnyConnection, group_id: &str) -> StoreResult<Vec<String>> {
    let rows = sqlx::query("DELETE FROM memberships WHERE group_id = $1 RETURNING user_id")
        .bind(group_id.to_owned())
        .fetch_all(db)
        .await?;
    rows.iter().map(|row| Ok(row.try_get(0)?)).collect()
}
