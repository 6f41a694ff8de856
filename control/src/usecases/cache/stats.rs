//! What groups have cached: figures, and what images are called there.

use roadstead_proto::{GroupPath, ImageName, RepositoryName, UpstreamHost};

use crate::usecases::{Plane, PlaneResult, group_at};
use crate::{
    rules::{cache::content::GroupRepository, groups::group::Group},
    store::{
        StoreError,
        cache::inventory::{self, Figures},
    },
};

impl Plane {
    /// A group's figures, with its hits and misses.
    pub async fn stats(&self, path: &GroupPath) -> PlaneResult<(Group, Figures)> {
        let mut tx = self.store.read().await?;
        let group = group_at(&mut tx, path).await?;
        let figures = inventory::figures(&mut tx, &group.id).await?;
        Ok((group, figures))
    }
}

/// An image as the group names it.
pub(crate) fn place_of(group: &Group, image: &ImageName) -> PlaneResult<GroupRepository> {
    let (upstream, repository) = resolve(group, image)?;
    Ok(GroupRepository { group_id: group.id.clone(), upstream, repository })
}

pub(crate) fn resolve(group: &Group, image: &ImageName) -> PlaneResult<(UpstreamHost, RepositoryName)> {
    let default = group
        .settings
        .upstreams
        .first()
        .ok_or_else(|| StoreError::Corrupt { what: "list of upstreams of group", value: group.path.to_string() })?;
    Ok(image.resolve(default))
}
