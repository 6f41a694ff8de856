//! Access of callers to groups: reads the facts that the rule of [`access`](crate::rules::access) needs.

use roadstead_proto::GroupPath;

use super::UseCaseResult;
use crate::{
    rules::access::{Action, Actor, Target},
    store::{
        Store,
        groups::{group, member},
    },
};

/// Checks whether `actor` may do this to the group at `path`, which may not exist.
pub async fn authorize(store: &Store, actor: &Actor, action: Action, path: &GroupPath) -> UseCaseResult<()> {
    actor.principal.may(action)?;
    let target = target(store, actor, path).await?;
    Ok(actor.principal.may_on(action, &target)?)
}

/// Returns the facts about the group at `path` that the rule needs.
pub(super) async fn target(store: &Store, actor: &Actor, path: &GroupPath) -> UseCaseResult<Target> {
    let mut tx = store.read().await?;
    let membership = match actor.principal.user_id() {
        Some(user_id) => member::role_at(&mut tx, user_id, path).await?,
        None => None,
    };
    let visibility = group::by_path(&mut tx, path).await?.map(|group| group.settings.visibility);
    Ok(Target { path: path.clone(), visibility, membership })
}
