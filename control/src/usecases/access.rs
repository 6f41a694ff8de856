//! Whether a caller may do something to a group: looks the facts up that the rule of [`access`](crate::rules::access) asks for.

use roadstead_proto::GroupPath;

use super::PlaneResult;
use crate::{
    rules::access::{Action, Actor, Target},
    store::{
        Store,
        groups::{group, member},
    },
};

/// Whether `actor` may do this to the group at `path`, there or not.
pub async fn authorize(store: &Store, actor: &Actor, action: Action, path: &GroupPath) -> PlaneResult<()> {
    actor.principal.may(action)?;
    let target = target(store, actor, path).await?;
    Ok(actor.principal.may_on(action, &target)?)
}

/// What the rule must know of the group at `path`.
pub(super) async fn target(store: &Store, actor: &Actor, path: &GroupPath) -> PlaneResult<Target> {
    let mut tx = store.read().await?;
    let membership = match actor.principal.user_id() {
        Some(user_id) => member::role_at(&mut tx, user_id, path).await?,
        None => None,
    };
    let visibility = group::by_path(&mut tx, path).await?.map(|group| group.settings.visibility);
    Ok(Target { path: path.clone(), visibility, membership })
}
