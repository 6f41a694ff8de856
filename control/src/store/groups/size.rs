//! The bytes of settings that nodes keep: of each group, and in total. Kept up to date by the writes in
//! [`super::group`].

use roadstead_proto::GroupPath;
use sqlx::{AnyConnection, Row as _};

use crate::store::StoreResult;

/// The sizes that limits are about, seen from one group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sizes {
    /// Bytes of the group's own settings; 0 if the group does not exist.
    pub group: i64,
    /// Subgroups of its top-level group.
    pub subgroups: i64,
    /// Bytes of the settings of its top-level group and all subgroups of that.
    pub tree: i64,
    /// Bytes of the settings of all groups and upstreams.
    pub total: i64,
}

/// Returns the sizes seen from the group at `path`, there or not.
pub async fn sizes(db: &mut AnyConnection, path: &GroupPath) -> StoreResult<Sizes> {
    let top = path.top_level();
    let tree = sqlx::query(
        "SELECT CAST(COALESCE(SUM(CASE WHEN path = $1 THEN 0 ELSE 1 END), 0) AS BIGINT),
             CAST(COALESCE(SUM(settings_bytes), 0) AS BIGINT),
             CAST(COALESCE(SUM(CASE WHEN path = $4 THEN settings_bytes ELSE 0 END), 0) AS BIGINT)
         FROM groups WHERE path = $1 OR (path > $2 AND path < $3)",
    )
    .bind(top.to_owned())
    .bind(format!("{top}/"))
    .bind(format!("{top}0"))
    .bind(path.as_str().to_owned())
    .fetch_one(&mut *db)
    .await?;
    let groups: (i64, i64, i64) = (tree.try_get(0)?, tree.try_get(1)?, tree.try_get(2)?);
    Ok(Sizes { subgroups: groups.0, tree: groups.1, group: groups.2, total: total(db).await? })
}

/// Bytes of the settings of all groups and upstreams.
pub async fn total(db: &mut AnyConnection) -> StoreResult<i64> {
    let row = sqlx::query(
        "SELECT bytes + (SELECT CAST(COALESCE(SUM(length(ca_pem) + length(url) + length(token_hosts)
             + length(redirect_hosts)), 0) AS BIGINT) FROM upstreams)
         FROM settings_total WHERE id = 1",
    )
    .fetch_one(db)
    .await?;
    Ok(row.try_get(0)?)
}

/// Counts a group's settings anew, after they were written.
pub(super) async fn count(db: &mut AnyConnection, id: &str) -> StoreResult<()> {
    forget(db, id).await?;
    // 256: what each group has besides its texts, in the database and in a node's memory.
    let sql = "UPDATE groups SET settings_bytes = 256 + length(path) + length(protected_tags) + length(tag_rules)
             + length(allowed_images) + length(denied_images)
             + (SELECT CAST(COALESCE(SUM(length(host) + 1), 0) AS BIGINT) FROM group_upstreams WHERE group_id = $1)
             + (SELECT CAST(COALESCE(SUM(length(old.path) + 1), 0) AS BIGINT) FROM group_old_paths AS old
                WHERE old.group_id = $1)
         WHERE id = $1";
    sqlx::query(sql).bind(id.to_owned()).execute(&mut *db).await?;
    add(
        db,
        id,
        "UPDATE settings_total SET bytes = bytes + (SELECT settings_bytes FROM groups WHERE id = $1) WHERE id = 1",
    )
    .await
}

/// Takes a group's settings off the total, before it is removed.
pub(super) async fn forget(db: &mut AnyConnection, id: &str) -> StoreResult<()> {
    add(
        db,
        id,
        "UPDATE settings_total SET bytes = bytes - (SELECT settings_bytes FROM groups WHERE id = $1) WHERE id = 1",
    )
    .await
}

async fn add(db: &mut AnyConnection, id: &str, sql: &'static str) -> StoreResult<()> {
    sqlx::query(sql).bind(id.to_owned()).execute(db).await?;
    Ok(())
}
