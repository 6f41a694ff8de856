//! Memberships: who has which role in which group.

use roadstead_proto::GroupPath;
use sqlx::{AnyConnection, Row as _};

use super::{StoreResult, parse};
use crate::member::Role;

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
