//! Figures of the content that a group has cached.

use roadstead_proto::GroupPath;

use crate::{
    rules::groups::group::Group,
    store::{
        Store,
        cache::inventory::{self, Figures},
    },
    usecases::{UseCaseResult, group_at},
};

/// A group's figures, with its hits and misses.
pub async fn get(store: &Store, path: &GroupPath) -> UseCaseResult<(Group, Figures)> {
    let mut tx = store.read().await?;
    let group = group_at(&mut tx, path).await?;
    let figures = inventory::figures(&mut tx, &group.id).await?;
    Ok((group, figures))
}
