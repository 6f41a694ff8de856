//! Members of groups: get, list, update, delete.

use roadstead_proto::{GroupPath, Role};

use crate::{
    rules::{
        access::Actor,
        groups::member::Member,
        identity::user::UserName,
        limits::{Limit, Limits},
    },
    store::{Store, StoreError, audit, groups::member, identity::user},
    usecases::{
        Page, UseCaseError, UseCaseResult, group_at,
        identity::user::{user_named, void_registry_tokens},
    },
};

/// Reads the role that a group itself gives a user.
pub async fn get(store: &Store, path: &GroupPath, name: &UserName) -> UseCaseResult<Member> {
    let mut tx = store.read().await?;
    let group = group_at(&mut tx, path).await?;
    // A user who does not exist looks like one who is no member: not everybody may know the users.
    let user = user::by_name(&mut tx, name).await?.ok_or_else(|| no_member(name))?;
    member::get(&mut tx, &group.id, &user.id).await?.ok_or_else(|| no_member(name))
}

/// Changes the role of a member. With `allow_missing`, makes a user a member who is not one.
pub async fn update(
    store: &Store,
    limits: &Limits,
    actor: &Actor,
    path: &GroupPath,
    name: &UserName,
    (role, allow_missing): (Role, bool),
    now_ms: i64,
) -> UseCaseResult<Member> {
    let mut tx = store.write().await?;
    let group = group_at(&mut tx, path).await?;
    let user = user_named(&mut tx, name).await?;
    let before = member::get(&mut tx, &group.id, &user.id).await?;
    let action = if before.is_some() { "member.update" } else { "member.create" };
    let is_new = before.is_none();
    match before {
        Some(before) if before.role == role => return Ok(before),
        None if !allow_missing => return Err(no_member(name)),
        _ => {}
    }
    member::put(&mut tx, &group.id, &user.id, role, now_ms).await?;
    if is_new {
        let have = member::count(&mut tx, &group.id).await?;
        limits.check(Limit::Members, format!("group {path}"), 0, have)?;
    }
    let done = actor.did(action, name.as_str()).of_group(path).detail(format!("role {role}"));
    audit::record(&mut tx, &done, now_ms).await?;
    let member = member::get(&mut tx, &group.id, &user.id).await?;
    tx.commit().await?;
    Ok(member.ok_or_else(|| StoreError::Corrupt { what: "membership of", value: name.to_string() })?)
}

/// Reads a group's members, and those it has from the groups above it, that follow a user's name and a path.
pub async fn list(store: &Store, path: &GroupPath, after: (&str, &str), limit: i64) -> UseCaseResult<Page<Member>> {
    let mut tx = store.read().await?;
    group_at(&mut tx, path).await?;
    Ok(Page::cut(member::page(&mut tx, path, after, limit + 1).await?, limit))
}

/// Deletes a membership; the registry tokens that the user has are void, also those for other groups: a new sign-in,
/// which clients do by themselves, gives back what the user still may.
pub async fn delete(store: &Store, actor: &Actor, path: &GroupPath, name: &UserName, now_ms: i64) -> UseCaseResult<()> {
    let mut tx = store.write().await?;
    let group = group_at(&mut tx, path).await?;
    let user = user_named(&mut tx, name).await?;
    if !member::delete(&mut tx, &group.id, &user.id).await? {
        return Err(no_member(name));
    }
    void_registry_tokens(&mut tx, &user.id, now_ms).await?;
    audit::record(&mut tx, &actor.did("member.delete", name.as_str()).of_group(path), now_ms).await?;
    Ok(tx.commit().await?)
}

fn no_member(name: &UserName) -> UseCaseError {
    UseCaseError::NotFound {
        what: "member of this group itself named",
        name: name.to_string(),
        hint: "`member list` shows which group gives the role",
    }
}
