//! The repository that a group's image name stands for.

use roadstead_proto::{ImageName, RepositoryName, UpstreamHost};

use crate::{
    rules::{cache::content::GroupRepository, groups::group::Group},
    store::StoreError,
    usecases::PlaneResult,
};

/// Returns the repository of an image, as the group names it.
pub fn repository_of(group: &Group, image: &ImageName) -> PlaneResult<GroupRepository> {
    let (upstream, repository) = resolve(group, image)?;
    Ok(GroupRepository { group_id: group.id.clone(), upstream, repository })
}

/// Splits an image name into upstream and repository; the group's first upstream is the default.
pub fn resolve(group: &Group, image: &ImageName) -> PlaneResult<(UpstreamHost, RepositoryName)> {
    let default = group
        .settings
        .upstreams
        .first()
        .ok_or_else(|| StoreError::Corrupt { what: "list of upstreams of group", value: group.path.to_string() })?;
    Ok(image.resolve(default))
}
