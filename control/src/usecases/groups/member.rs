//! Members of groups: make, list, remove.

use roadstead_proto::{GroupPath, Role};

use crate::{
    rules::{access::Actor, groups::member::Member, identity::user::UserName},
    store::{Store, StoreError, audit, groups::member},
    usecases::{
        Page, UseCaseError, UseCaseResult, group_at,
        identity::user::{user_named, void_registry_tokens},
    },
};

/// Makes a user a member, or changes the role there.
pub async fn set(
    store: &Store,
    actor: &Actor,
    path: &GroupPath,
    name: &UserName,
    role: Role,
    now_ms: i64,
) -> UseCaseResult<Member> {
    let mut tx = store.write().await?;
    let group = group_at(&mut tx, path).await?;
    let user = user_named(&mut tx, name).await?;
    let before = member::get(&mut tx, &group.id, &user.id).await?;
    if let Some(before) = before.filter(|before| before.role == role) {
        return Ok(before);
    }
    member::put(&mut tx, &group.id, &user.id, role, now_ms).await?;
    let done = actor.did("member.set", name.as_str()).of_group(path).detail(format!("role {role}"));
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

/// Removes a member; the registry tokens that the user has are void, also those for other groups: a new sign-in,
/// which clients do by themselves, gives back what the user still may.
pub async fn remove(store: &Store, actor: &Actor, path: &GroupPath, name: &UserName, now_ms: i64) -> UseCaseResult<()> {
    let mut tx = store.write().await?;
    let group = group_at(&mut tx, path).await?;
    let user = user_named(&mut tx, name).await?;
    if !member::delete(&mut tx, &group.id, &user.id).await? {
        return Err(UseCaseError::NotFound {
            what: "member of this group itself named",
            name: name.to_string(),
            hint: "`member list` shows which group gives the role",
        });
    }
    void_registry_tokens(&mut tx, &user.id, now_ms).await?;
    audit::record(&mut tx, &actor.did("member.remove", name.as_str()).of_group(path), now_ms).await?;
    Ok(tx.commit().await?)
}
