//! Groups: create, read, change, delete.
//!
//! Each change reads, checks and writes in one transaction, and writers take turns: changes at once never lose each
//! other.

use std::collections::HashSet;

use roadstead_proto::{GroupPath, UpstreamHost};

use super::rename::{release_old_path, rename};
use crate::{
    auth::rotation::MAX_TOKEN_LIFETIME_MS,
    rules::{
        access::{Actor, Reach},
        groups::group::{Group, GroupChange, GroupSettings},
        limits::Limits,
        request::RequestId,
    },
    store::{
        Store, WriteTx, audit,
        cache::link,
        changes::Subject,
        groups::{
            group, member,
            size::{self, Sizes},
        },
        identity::token,
        tags::tag,
        upstreams::{credential, upstream},
    },
    usecases::{
        Page, UseCaseError, UseCaseResult, group_at, group_with,
        identity::{oidc, user::void_registry_tokens},
        new_id, request, room,
    },
};

/// Creates a group.
pub async fn create(
    store: &Store,
    limits: &Limits,
    actor: &Actor,
    path: GroupPath,
    settings: GroupSettings,
    request: Option<&RequestId>,
    now_ms: i64,
) -> UseCaseResult<Group> {
    let mut tx = store.write().await?;
    if let Some(earlier) = request::created_before(&mut tx, request, now_ms).await? {
        return group_with(&mut tx, &earlier.object).await;
    }
    check(&mut tx, &settings).await?;
    room::check_depth(limits, &path)?;
    let had = size::sizes(&mut tx, &path).await?;
    let group = insert_group(&mut tx, path, settings, now_ms).await?;
    room::check(&mut tx, limits, &group.path, had).await?;
    request::record(&mut tx, request, &group.id, "", now_ms).await?;
    let done = actor.did("group.create", group.path.as_str()).of_group(&group.path);
    audit::record(&mut tx, &done, now_ms).await?;
    tx.commit().await?;
    Ok(group)
}

/// Reads a group.
pub async fn get(store: &Store, path: &GroupPath) -> UseCaseResult<Group> {
    group_at(&mut *store.read().await?, path).await
}

/// Path of the group with this id or else, whether it is there or not, at this path.
pub async fn path_of(store: &Store, id_or_path: &str) -> UseCaseResult<String> {
    let found = group::by_id(&mut *store.read().await?, id_or_path).await?;
    Ok(found.map_or_else(|| id_or_path.to_owned(), |group| group.path.to_string()))
}

/// Reads the groups that follow the path `after`.
pub async fn list(store: &Store, reach: &Reach, after: &str, limit: i64) -> UseCaseResult<Page<Group>> {
    let found = group::page(&mut *store.read().await?, reach, after, limit + 1).await?;
    Ok(Page::cut(found, limit))
}

/// The changes to a group.
#[derive(Debug)]
pub struct GroupUpdate {
    /// Only change the group if it has this etag.
    pub etag: Option<i64>,
    /// The settings.
    pub change: GroupChange,
    /// Its new path.
    pub new_path: Option<GroupPath>,
}

/// Changes and renames a group, if it still has the etag (where one is given).
pub async fn update(
    store: &Store,
    limits: &Limits,
    actor: &Actor,
    path: &GroupPath,
    GroupUpdate { etag, change, new_path }: GroupUpdate,
    now_ms: i64,
) -> UseCaseResult<Group> {
    let mut tx = store.write().await?;
    let group = group_at(&mut tx, path).await?;
    if etag.is_some_and(|etag| etag != group.etag) {
        return Err(UseCaseError::Changed { what: "group", name: path.to_string() });
    }
    let settings = group.settings.with(change);
    check(&mut tx, &settings).await?;
    let mut changes = settings.changes_since(&group.settings).join(", ");
    let new_path = new_path.filter(|to| to != path);
    if changes.is_empty() && new_path.is_none() {
        return Ok(group);
    }
    let own = size::sizes(&mut tx, path).await?.group;
    let had = Sizes { group: own, ..size::sizes(&mut tx, new_path.as_ref().unwrap_or(path)).await? };
    let etag = tx.changed(&Subject::Group(group.id.clone()), now_ms).await?;
    if settings.admits_fewer_than(&group.settings) {
        group::set_access_epoch(&mut tx, &group.id, etag).await?;
    }
    group::update(&mut tx, &group.id, &settings, etag, now_ms).await?;
    if let Some(to) = &new_path {
        let comma = if changes.is_empty() { "" } else { ", " };
        changes = format!("{changes}{comma}path is now {to}");
    }
    // While the path still means this group: its owners read the event by the new one too.
    audit::record(&mut tx, &actor.did("group.update", path.as_str()).of_group(path).detail(changes), now_ms).await?;
    if let Some(to) = &new_path {
        rename(&mut tx, limits, actor, path, to, now_ms).await?;
    }
    let group = group_with(&mut tx, &group.id).await?;
    room::check(&mut tx, limits, &group.path, had).await?;
    tx.commit().await?;
    Ok(group)
}

/// Deletes a group with its members, tokens, credentials, tags and links; subgroups stay. Answers how many links there
/// were.
pub async fn delete(store: &Store, actor: &Actor, path: &GroupPath, now_ms: i64) -> UseCaseResult<u64> {
    let mut tx = store.write().await?;
    let group = group_at(&mut tx, path).await?;
    let owner = room::token_owner(&mut tx, path).await?;
    for token_id in token::ids_of_group(&mut tx, &group.id).await? {
        token::revoke(&mut tx, &token_id, &owner, now_ms + MAX_TOKEN_LIFETIME_MS).await?;
        tx.changed(&Subject::Revocation(token_id), now_ms).await?;
    }
    oidc::end_of_group(&mut tx, &group.id, now_ms).await?;
    for user_id in member::delete_of_group(&mut tx, &group.id).await? {
        // They may have had a role in subgroups by this one.
        void_registry_tokens(&mut tx, &user_id, now_ms).await?;
    }
    credential::delete_of_group(&mut tx, &group.id).await?;
    tag::delete_of_group(&mut tx, &group.id).await?;
    let removed = link::delete_of_group(&mut tx, &group.id, now_ms).await?;
    group::delete(&mut tx, &group.id).await?;
    tx.changed(&Subject::Group(group.id), now_ms).await?;
    let done = actor.did("group.delete", path.as_str()).of_group(path).detail(format!("{removed} links"));
    audit::record(&mut tx, &done, now_ms).await?;
    tx.commit().await?;
    Ok(removed)
}

/// Adds a group and lets nodes know.
pub(crate) async fn insert_group(
    tx: &mut WriteTx,
    path: GroupPath,
    settings: GroupSettings,
    now_ms: i64,
) -> UseCaseResult<Group> {
    let id = new_id();
    let revision = tx.changed(&Subject::Group(id.clone()), now_ms).await?;
    let group = Group {
        id,
        path,
        old_paths: Vec::new(),
        settings,
        etag: revision,
        link_epoch: revision,
        credential_epoch: revision,
        access_epoch: revision,
        hits: 0,
        misses: 0,
        created_at_ms: now_ms,
        updated_at_ms: now_ms,
    };
    release_old_path(tx, &group.path, now_ms).await?;
    if !group::insert(tx, &group).await? {
        return Err(UseCaseError::group_exists(&group.path));
    }
    Ok(group)
}

async fn check(tx: &mut WriteTx, settings: &GroupSettings) -> UseCaseResult<()> {
    let known: HashSet<UpstreamHost> = upstream::all(tx).await?.into_iter().map(|upstream| upstream.host).collect();
    let found = settings.violations(|host| known.contains(host));
    if found.is_empty() { Ok(()) } else { Err(UseCaseError::Invalid(found)) }
}
