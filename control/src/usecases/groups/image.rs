//! The repository that a group's image name stands for.

use roadstead_proto::{ImageName, RepositoryName, RepositoryRef, UpstreamHost};

use crate::{rules::groups::group::Group, store::StoreError, usecases::UseCaseResult};

/// Returns the repository of an image, as the group names it.
pub fn repository_of(group: &Group, image: &ImageName) -> UseCaseResult<RepositoryRef> {
    let (upstream, repository) = resolve(group, image)?;
    Ok(RepositoryRef { group: group.id.as_str().into(), upstream, repository })
}

/// Splits an image name into upstream and repository; the group's first upstream is the default.
pub fn resolve(group: &Group, image: &ImageName) -> UseCaseResult<(UpstreamHost, RepositoryName)> {
    let default = group
        .settings
        .upstreams
        .first()
        .ok_or_else(|| StoreError::Corrupt { what: "list of upstreams of group", value: group.path.to_string() })?;
    Ok(image.resolve(default))
}
