//! The room that a group's settings take, within the limits of the installation.

use roadstead_proto::GroupPath;

use crate::{
    rules::limits::{Limit, Limits},
    store::{
        Connection,
        groups::{
            group,
            size::{self, Sizes},
        },
        identity::token,
    },
    usecases::UseCaseResult,
};

/// Refuses, after a write to the group at `path`, what is too much now. `had`: the sizes before the write.
pub(crate) async fn check(db: &mut Connection, limits: &Limits, path: &GroupPath, had: Sizes) -> UseCaseResult<()> {
    let have = size::sizes(db, path).await?;
    let (own, top) = (format!("group {path}"), format!("group {} with its subgroups", path.top_level()));
    limits.check(Limit::GroupBytes, own, had.group, have.group)?;
    limits.check(Limit::Subgroups, &top, had.subgroups, have.subgroups)?;
    limits.check(Limit::TreeBytes, &top, had.tree, have.tree)?;
    Ok(limits.check(Limit::TotalBytes, "this installation", had.total, have.total)?)
}

/// Refuses a path with too many segments.
pub(crate) fn check_depth(limits: &Limits, path: &GroupPath) -> UseCaseResult<()> {
    let depth = i64::try_from(path.as_str().split('/').count()).unwrap_or(i64::MAX);
    Ok(limits.check(Limit::Depth, format!("group {path}"), 0, depth)?)
}

/// Refuses what adds something to the tokens of a group's tree that nodes have to remember once it is gone, where there
/// is too much of that. To be called after the write.
pub(crate) async fn check_tokens(db: &mut Connection, limits: &Limits, path: &GroupPath) -> UseCaseResult<()> {
    let owner = token_owner(db, path).await?;
    let have = token::count_of_tree(db, path, &owner).await?;
    let top = format!("group {} with its subgroups", path.top_level());
    Ok(limits.check(Limit::Tokens, top, 0, have)?)
}

/// Returns the owner that a group's tokens are remembered under once they are revoked: the top-level group's id, which
/// stays when that is renamed. If the top-level group does not exist, its path is the owner: only administrators can give
/// that to another group.
pub(crate) async fn token_owner(db: &mut Connection, path: &GroupPath) -> UseCaseResult<String> {
    let top: GroupPath = path.top();
    Ok(group::by_path(db, &top).await?.map_or_else(|| top.to_string(), |group| group.id))
}
