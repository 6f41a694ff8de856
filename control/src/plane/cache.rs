//! What groups have cached: lists and figures.

use roadstead_proto::{GroupPath, ImageName, RepositoryName, UpstreamHost};

use super::{Page, Plane, PlaneResult, group_at};
use crate::{
    content::{ContentKind, GroupRepository},
    group::Group,
    store::{
        StoreError,
        inventory::{self, Figures, Item, Position},
    },
};

/// A manifest as lists show it.
#[derive(Debug)]
pub struct CachedManifest {
    /// The manifest itself.
    pub item: Item,
    /// Tags that mean it.
    pub tags: Vec<String>,
    /// Bytes of it and of all that is cached of what it refers to.
    pub image_bytes: i64,
}

impl Plane {
    /// Reads manifests that follow a position.
    pub async fn manifests(
        &self,
        path: &GroupPath,
        image: Option<&ImageName>,
        after: &Position,
        limit: i64,
    ) -> PlaneResult<Page<CachedManifest>> {
        let mut tx = self.store.read().await?;
        let group = group_at(&mut tx, path).await?;
        let image = image.map(|image| resolve(&group, image)).transpose()?;
        let items =
            inventory::page(&mut tx, &group.id, ContentKind::Manifest, image.as_ref(), after, limit + 1).await?;
        let page = Page::cut(items, limit);
        let mut manifests = Vec::with_capacity(page.items.len());
        for item in page.items {
            manifests.push(CachedManifest {
                tags: inventory::tags_of(&mut tx, &item.place, &item.digest).await?,
                image_bytes: inventory::image_bytes(&mut tx, &item.place, &item.digest).await?,
                item,
            });
        }
        Ok(Page { items: manifests, more: page.more })
    }

    /// Reads blobs that follow a position.
    pub async fn blobs(
        &self,
        path: &GroupPath,
        image: Option<&ImageName>,
        after: &Position,
        limit: i64,
    ) -> PlaneResult<Page<Item>> {
        let mut tx = self.store.read().await?;
        let group = group_at(&mut tx, path).await?;
        let image = image.map(|image| resolve(&group, image)).transpose()?;
        let items = inventory::page(&mut tx, &group.id, ContentKind::Blob, image.as_ref(), after, limit + 1).await?;
        Ok(Page::cut(items, limit))
    }

    /// A group's figures, with its hits and misses.
    pub async fn stats(&self, path: &GroupPath) -> PlaneResult<(Group, Figures)> {
        let mut tx = self.store.read().await?;
        let group = group_at(&mut tx, path).await?;
        let figures = inventory::figures(&mut tx, &group.id).await?;
        Ok((group, figures))
    }
}

/// An image as the group names it.
pub(super) fn place_of(group: &Group, image: &ImageName) -> PlaneResult<GroupRepository> {
    let (upstream, repository) = resolve(group, image)?;
    Ok(GroupRepository { group_id: group.id.clone(), upstream, repository })
}

fn resolve(group: &Group, image: &ImageName) -> PlaneResult<(UpstreamHost, RepositoryName)> {
    let default = group
        .settings
        .upstreams
        .first()
        .ok_or_else(|| StoreError::Corrupt { what: "list of upstreams of group", value: group.path.to_string() })?;
    Ok(image.resolve(default))
}
