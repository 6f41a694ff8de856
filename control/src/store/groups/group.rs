//! Groups.

use roadstead_proto::{GroupPath, ImagePattern};
use sqlx::{AnyConnection, Row as _, any::AnyRow};

use crate::rules::{
    access::Reach,
    cache::retention::TagPattern,
    groups::group::{Group, GroupSettings},
    tags::settings::{ImageRules, TagSettings},
};
use crate::store::{
    Query, StoreResult,
    engine::sql::{Sql, Value},
    groups::size,
    parse,
    tags::settings,
};

/// A `SELECT` of whole groups.
macro_rules! select {
    ($rest:literal) => {
        sqlx::query(concat!(
            "SELECT id, path, visibility, anonymous_pull, enabled, frozen, max_age_ms, retention_ms, etag, link_epoch, \
             credential_epoch, access_epoch, hits, misses, created_at, updated_at, max_stale_ms, cooldown_ms, \
             missing_tag, tag_rules, allowed_images, denied_images, quota_bytes, protected_tags, \
             (SELECT string_agg(host, ' ' ORDER BY position) FROM group_upstreams \
              WHERE group_id = groups.id) AS upstreams, \
             (SELECT string_agg(path, ' ' ORDER BY position) FROM group_old_paths \
              WHERE group_id = groups.id) AS old_paths FROM groups ",
            $rest
        ))
    };
}

fn read(row: &AnyRow) -> StoreResult<Group> {
    Ok(Group {
        id: row.try_get("id")?,
        path: parse("group path", row.try_get("path")?)?,
        old_paths: list("group path", row.try_get("old_paths")?)?,
        settings: GroupSettings {
            visibility: parse("visibility", row.try_get("visibility")?)?,
            anonymous_pull: row.try_get::<i64, _>("anonymous_pull")? != 0,
            enabled: row.try_get::<i64, _>("enabled")? != 0,
            frozen: row.try_get::<i64, _>("frozen")? != 0,
            upstreams: list("upstream host", row.try_get("upstreams")?)?,
            max_age_ms: row.try_get("max_age_ms")?,
            retention_ms: row.try_get("retention_ms")?,
            quota_bytes: row.try_get("quota_bytes")?,
            protected_tags: list("pattern of tags", row.try_get("protected_tags")?)?,
            tags: TagSettings {
                max_stale_ms: row.try_get("max_stale_ms")?,
                cooldown_ms: row.try_get("cooldown_ms")?,
                missing_tag: parse("meaning of missing tags", row.try_get("missing_tag")?)?,
                rules: settings::read(row.try_get("tag_rules")?)?,
            },
            images: ImageRules {
                allowed: list("pattern of images", row.try_get("allowed_images")?)?,
                denied: list("pattern of images", row.try_get("denied_images")?)?,
            },
        },
        etag: row.try_get("etag")?,
        link_epoch: row.try_get("link_epoch")?,
        credential_epoch: row.try_get("credential_epoch")?,
        access_epoch: row.try_get("access_epoch")?,
        hits: row.try_get("hits")?,
        misses: row.try_get("misses")?,
        created_at_ms: row.try_get("created_at")?,
        updated_at_ms: row.try_get("updated_at")?,
    })
}

/// Reads words that are separated by spaces.
fn list<T: std::str::FromStr>(what: &'static str, words: Option<String>) -> StoreResult<Vec<T>> {
    words.unwrap_or_default().split_ascii_whitespace().map(|word| parse(what, word.to_owned())).collect()
}

/// The group at this path.
pub async fn by_path(db: &mut AnyConnection, path: &GroupPath) -> StoreResult<Option<Group>> {
    select!("WHERE path = $1").bind(path.as_str().to_owned()).fetch_optional(db).await?.as_ref().map(read).transpose()
}

/// The group at this path, or else the one that had it before.
pub async fn by_present_or_old_path(db: &mut AnyConnection, path: &GroupPath) -> StoreResult<Option<Group>> {
    select!("WHERE path = $1 OR id = (SELECT group_id FROM group_old_paths WHERE path = $1)")
        .bind(path.as_str().to_owned())
        .fetch_optional(db)
        .await?
        .as_ref()
        .map(read)
        .transpose()
}

/// The group with this id.
pub async fn by_id(db: &mut AnyConnection, id: &str) -> StoreResult<Option<Group>> {
    select!("WHERE id = $1").bind(id.to_owned()).fetch_optional(db).await?.as_ref().map(read).transpose()
}

/// The ids of all groups, in the order of their paths.
pub async fn ids(db: &mut AnyConnection) -> StoreResult<Vec<String>> {
    let rows = sqlx::query("SELECT id FROM groups ORDER BY path").fetch_all(db).await?;
    rows.iter().map(|row| Ok(row.try_get(0)?)).collect()
}

/// Groups within `reach` after the path `after`, in the order of their paths.
pub async fn page(db: &mut AnyConnection, reach: &Reach, after: &str, limit: i64) -> StoreResult<Vec<Group>> {
    let rows = match reach {
        Reach::All => {
            select!("WHERE path > $1 ORDER BY path LIMIT $2").bind(after.to_owned()).bind(limit).fetch_all(db).await?
        }
        Reach::Within(path) => {
            // '0' follows '/': everything that begins with "path/" lies between the two.
            select!("WHERE path > $1 AND (path = $2 OR (path > $3 AND path < $4)) ORDER BY path LIMIT $5")
                .bind(after.to_owned())
                .bind(path.as_str().to_owned())
                .bind(format!("{path}/"))
                .bind(format!("{path}0"))
                .bind(limit)
                .fetch_all(db)
                .await?
        }
        Reach::MemberOf(user_id) => {
            select!(
                "WHERE path > $1 AND id IN (
                     SELECT below.id FROM memberships
                     JOIN groups AS own ON own.id = memberships.group_id
                     JOIN groups AS below ON below.path = own.path
                         OR (below.path > own.path || '/' AND below.path < own.path || '0')
                     WHERE memberships.user_id = $2)
                 ORDER BY path LIMIT $3"
            )
            .bind(after.to_owned())
            .bind(user_id.clone())
            .bind(limit)
            .fetch_all(db)
            .await?
        }
    };
    rows.iter().map(read).collect()
}

/// The group at `path` and its subgroups, in the order of their paths.
pub async fn within(db: &mut AnyConnection, path: &GroupPath) -> StoreResult<Vec<Group>> {
    select!("WHERE path = $1 OR (path > $2 AND path < $3) ORDER BY path")
        .bind(path.as_str().to_owned())
        .bind(format!("{path}/"))
        .bind(format!("{path}0"))
        .fetch_all(db)
        .await?
        .iter()
        .map(read)
        .collect()
}

/// Gives a group another path. The present one must be nobody else's.
pub async fn set_path(db: &mut AnyConnection, id: &str, path: &GroupPath, etag: i64, now_ms: i64) -> StoreResult<()> {
    sqlx::query("UPDATE groups SET path = $2, etag = $3, updated_at = $4 WHERE id = $1")
        .bind(id.to_owned())
        .bind(path.as_str().to_owned())
        .bind(etag)
        .bind(now_ms)
        .execute(&mut *db)
        .await?;
    size::count(db, id).await
}

/// Notes the paths that a group had; none of them may be another's, present or old.
pub async fn set_old_paths(db: &mut AnyConnection, id: &str, old_paths: &[GroupPath]) -> StoreResult<()> {
    sqlx::query("DELETE FROM group_old_paths WHERE group_id = $1").bind(id.to_owned()).execute(&mut *db).await?;
    if old_paths.is_empty() {
        return size::count(db, id).await;
    }
    let mut insert = Sql::new("INSERT INTO group_old_paths (path, group_id, position) VALUES ");
    insert
        .rows((0..).zip(old_paths).map(|(position, path)| [path.as_str().into(), id.into(), Value::Number(position)]));
    insert.execute(&mut *db).await?;
    size::count(db, id).await
}

/// The group that had this path before.
pub async fn by_old_path(db: &mut AnyConnection, path: &GroupPath) -> StoreResult<Option<Group>> {
    select!("WHERE id = (SELECT group_id FROM group_old_paths WHERE path = $1)")
        .bind(path.as_str().to_owned())
        .fetch_optional(db)
        .await?
        .as_ref()
        .map(read)
        .transpose()
}

/// All groups.
pub async fn all(db: &mut AnyConnection) -> StoreResult<Vec<Group>> {
    select!("ORDER BY path").fetch_all(db).await?.iter().map(read).collect()
}

/// Those groups whose links are removed when nobody pulls by them.
pub async fn with_retention(db: &mut AnyConnection) -> StoreResult<Vec<Group>> {
    select!("WHERE retention_ms > 0 ORDER BY path").fetch_all(db).await?.iter().map(read).collect()
}

/// Groups that may hold so much and no more.
pub async fn with_quota(db: &mut AnyConnection) -> StoreResult<Vec<Group>> {
    select!("WHERE quota_bytes > 0 ORDER BY path").fetch_all(db).await?.iter().map(read).collect()
}

/// Adds a group. Answers false, and does nothing, if the path is taken.
pub async fn insert(db: &mut AnyConnection, group: &Group) -> StoreResult<bool> {
    let query = sqlx::query(
        "INSERT INTO groups (visibility, anonymous_pull, enabled, frozen, max_age_ms, retention_ms, max_stale_ms,
             cooldown_ms, missing_tag, tag_rules, allowed_images, denied_images, quota_bytes, protected_tags,
             id, path, etag, link_epoch, credential_epoch, access_epoch, hits, misses, created_at, updated_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22,
             $23, $24)
         ON CONFLICT (path) DO NOTHING",
    );
    let done = bind_settings(query, &group.settings)?
        .bind(group.id.clone())
        .bind(group.path.as_str().to_owned())
        .bind(group.etag)
        .bind(group.link_epoch)
        .bind(group.credential_epoch)
        .bind(group.access_epoch)
        .bind(group.hits)
        .bind(group.misses)
        .bind(group.created_at_ms)
        .bind(group.updated_at_ms)
        .execute(&mut *db)
        .await?;
    if done.rows_affected() == 0 {
        return Ok(false);
    }
    put_upstreams(db, &group.id, &group.settings).await?;
    size::count(db, &group.id).await?;
    Ok(true)
}

/// Stores the group's settings, with the time and revision of the change.
pub async fn update(
    db: &mut AnyConnection,
    id: &str,
    settings: &GroupSettings,
    etag: i64,
    now_ms: i64,
) -> StoreResult<()> {
    let query = sqlx::query(
        "UPDATE groups SET visibility = $1, anonymous_pull = $2, enabled = $3, frozen = $4, max_age_ms = $5,
             retention_ms = $6, max_stale_ms = $7, cooldown_ms = $8, missing_tag = $9, tag_rules = $10,
             allowed_images = $11, denied_images = $12, quota_bytes = $13, protected_tags = $14, etag = $16,
             updated_at = $17 WHERE id = $15",
    );
    bind_settings(query, settings)?.bind(id.to_owned()).bind(etag).bind(now_ms).execute(&mut *db).await?;
    put_upstreams(db, id, settings).await?;
    size::count(db, id).await
}

/// Binds the settings that are columns of the group, `$1` to `$14`.
fn bind_settings(query: Query, settings: &GroupSettings) -> StoreResult<Query> {
    let TagSettings { max_stale_ms, cooldown_ms, missing_tag, rules } = &settings.tags;
    let patterns = |patterns: &[ImagePattern]| patterns.iter().map(ImagePattern::as_str).collect::<Vec<_>>().join(" ");
    Ok(query
        .bind(settings.visibility.as_str())
        .bind(i64::from(settings.anonymous_pull))
        .bind(i64::from(settings.enabled))
        .bind(i64::from(settings.frozen))
        .bind(settings.max_age_ms)
        .bind(settings.retention_ms)
        .bind(*max_stale_ms)
        .bind(*cooldown_ms)
        .bind(missing_tag.as_str())
        .bind(settings::write(rules)?)
        .bind(patterns(&settings.images.allowed))
        .bind(patterns(&settings.images.denied))
        .bind(settings.quota_bytes)
        .bind(settings.protected_tags.iter().map(TagPattern::as_str).collect::<Vec<_>>().join(" ")))
}

/// Notes the revision of a removal of links.
pub async fn set_link_epoch(db: &mut AnyConnection, id: &str, epoch: i64) -> StoreResult<()> {
    sqlx::query("UPDATE groups SET link_epoch = $2 WHERE id = $1").bind(id.to_owned()).bind(epoch).execute(db).await?;
    Ok(())
}

/// Notes the revision of a change of credentials.
pub async fn set_credential_epoch(db: &mut AnyConnection, id: &str, epoch: i64) -> StoreResult<()> {
    sqlx::query("UPDATE groups SET credential_epoch = $2 WHERE id = $1")
        .bind(id.to_owned())
        .bind(epoch)
        .execute(db)
        .await?;
    Ok(())
}

/// Notes the revision of a change of settings that admits fewer than before.
pub async fn set_access_epoch(db: &mut AnyConnection, id: &str, epoch: i64) -> StoreResult<()> {
    sqlx::query("UPDATE groups SET access_epoch = $2 WHERE id = $1")
        .bind(id.to_owned())
        .bind(epoch)
        .execute(db)
        .await?;
    Ok(())
}

/// Removes the group itself; what belongs to it must be gone.
pub async fn delete(db: &mut AnyConnection, id: &str) -> StoreResult<()> {
    size::forget(db, id).await?;
    sqlx::query("DELETE FROM groups WHERE id = $1").bind(id.to_owned()).execute(db).await?;
    Ok(())
}

/// Path of a group that may use the upstream, if there is one.
pub async fn using_upstream(db: &mut AnyConnection, host: &str) -> StoreResult<Option<String>> {
    let row = sqlx::query(
        "SELECT groups.path FROM group_upstreams JOIN groups ON groups.id = group_upstreams.group_id
         WHERE group_upstreams.host = $1 ORDER BY groups.path LIMIT 1",
    )
    .bind(host.to_owned())
    .fetch_optional(db)
    .await?;
    Ok(row.map(|row| row.try_get(0)).transpose()?)
}

async fn put_upstreams(db: &mut AnyConnection, id: &str, settings: &GroupSettings) -> StoreResult<()> {
    sqlx::query("DELETE FROM group_upstreams WHERE group_id = $1").bind(id.to_owned()).execute(&mut *db).await?;
    if settings.upstreams.is_empty() {
        return Ok(());
    }
    let mut insert = Sql::new("INSERT INTO group_upstreams (host, group_id, position) VALUES ");
    let rows = (0..).zip(&settings.upstreams);
    insert.rows(rows.map(|(position, host)| [host.as_str().into(), id.into(), Value::Number(position)]));
    insert.execute(db).await
}
