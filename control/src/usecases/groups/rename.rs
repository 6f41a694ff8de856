//! Renaming groups: subgroups move along, and the old paths are answered for pulls until another group takes them.

use std::collections::HashSet;

use roadstead_proto::GroupPath;

use crate::{
    rules::{
        access::{Actor, Denied},
        groups::group::{contains, moved, parent},
        limits::Limits,
    },
    store::{WriteTx, changes::Subject, groups::group},
    usecases::{UseCaseError, UseCaseResult, room},
};

/// Most earlier paths by which a group is still pulled.
const MAX_OLD_PATHS: usize = 20;

/// Gives the group at `from` the path `to`, with its subgroups. Links, tokens and all else hang on ids and stay.
///
/// A top-level path that another group is still pulled by is taken by administrators only: its clients would get what
/// the taker wants. Below a group, that group's owners decide.
pub async fn rename(
    tx: &mut WriteTx,
    limits: &Limits,
    actor: &Actor,
    from: &GroupPath,
    to: &GroupPath,
    now_ms: i64,
) -> UseCaseResult<()> {
    if contains(from, to) {
        return Err(UseCaseError::invalid(
            "new_path",
            format!("{to} is within {from}; a group cannot move into itself"),
        ));
    }
    let moving = group::within(tx, from).await?;
    let mut moves = Vec::with_capacity(moving.len());
    for group in &moving {
        let path = moved(&group.path, from, to)
            .map_err(|problem| UseCaseError::invalid("new_path", format!("subgroup {}: {problem}", group.path)))?;
        room::check_depth(limits, &path)?;
        moves.push((group, path));
    }
    let ids: HashSet<&str> = moving.iter().map(|group| group.id.as_str()).collect();
    for (_, path) in &moves {
        if group::by_path(tx, path).await?.is_some_and(|taken| !ids.contains(taken.id.as_str())) {
            return Err(UseCaseError::group_exists(path));
        }
        let others = group::by_old_path(tx, path).await?.filter(|other| !ids.contains(other.id.as_str()));
        if others.is_some() && parent(path).is_none() && !actor.principal.is_admin() {
            return Err(Denied::NeedsAdmin.into());
        }
        release_old_path(tx, path, now_ms).await?;
    }
    // In the order of paths: where a path is left and taken within the family, it is left first.
    let admits_others = parent(from) != parent(to);
    for (group, path) in &moves {
        let revision = tx.changed(&Subject::Group(group.id.clone()), now_ms).await?;
        group::set_path(tx, &group.id, path, revision, now_ms).await?;
        if admits_others {
            // Members and tokens of the groups above were let in; now they may not be.
            group::set_access_epoch(tx, &group.id, revision).await?;
        }
    }
    for (group, _) in &moves {
        if group::by_path(tx, &group.path).await?.is_none() {
            let mut old_paths = crate::usecases::group_with(tx, &group.id).await?.old_paths;
            old_paths.push(group.path.clone());
            // Nodes keep them in memory: the oldest is not answered any more.
            old_paths.drain(..old_paths.len().saturating_sub(MAX_OLD_PATHS));
            group::set_old_paths(tx, &group.id, &old_paths).await?;
        }
    }
    Ok(())
}

/// Ends that a path means the group that had it before: another takes it.
pub async fn release_old_path(tx: &mut WriteTx, path: &GroupPath, now_ms: i64) -> UseCaseResult<()> {
    if let Some(group) = group::by_old_path(tx, path).await? {
        let old_paths: Vec<_> = group.old_paths.into_iter().filter(|old| old != path).collect();
        group::set_old_paths(tx, &group.id, &old_paths).await?;
        tx.changed(&Subject::Group(group.id), now_ms).await?;
    }
    Ok(())
}
