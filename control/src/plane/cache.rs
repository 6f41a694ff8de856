//! What groups have cached: lists, figures, purge.

use std::fmt;

use roadstead_proto::{Digest, GroupPath, ImageName, RepositoryName, UpstreamHost};

use super::{Page, Plane, PlaneResult, group_at};
use crate::{
    access::Actor,
    clock::millis,
    content::{ContentKind, GroupRepository},
    group::Group,
    purge::{self, Filter, Selection},
    store::{
        StoreError, WriteTx, audit,
        changes::Subject,
        groups,
        inventory::{self, Figures, Item, Position},
        links, tag_history, tags,
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

/// What to purge.
#[derive(Clone, Debug, Default)]
pub struct PurgeRequest {
    /// Only this image.
    pub image: Option<ImageName>,
    /// Only what this tag means.
    pub tag: Option<String>,
    /// Only this digest.
    pub digest: Option<Digest>,
    /// Only what was last used longer ago than this.
    pub older_than: Option<std::time::Duration>,
    /// Count, and undo.
    pub dry_run: bool,
}

/// What a purge took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Purged {
    /// Tags.
    pub tags: i64,
    /// Links to manifests.
    pub manifests: i64,
    /// Links to blobs.
    pub blobs: i64,
    /// Bytes that the group no longer holds.
    pub bytes: i64,
}

impl fmt::Display for Purged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { tags, manifests, blobs, bytes } = self;
        write!(f, "{tags} tags, {manifests} manifests, {blobs} blobs, {bytes} bytes")
    }
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

    /// Removes a group's links as the rule of [`purge`] says. A dry run does the same and undoes it. The history of tags goes
    /// with whole images and with the whole cache, not with single tags and digests; pins are settings and stay.
    pub async fn purge(&self, actor: &Actor, path: &GroupPath, request: &PurgeRequest) -> PlaneResult<Purged> {
        let now_ms = self.clock.now_ms();
        let mut tx = self.store.write().await?;
        let group = group_at(&mut tx, path).await?;
        let filter = Filter {
            tag: request.tag.clone(),
            digest: request.digest,
            used_before_ms: request.older_than.map(|age| now_ms.saturating_sub(millis(age))),
        };
        let purged = match &request.image {
            None if filter.takes_all() => purge_group(&mut tx, &group.id, now_ms).await?,
            None => {
                let places = inventory::repositories(&mut tx, &group.id).await?;
                purge_places(&mut tx, &places, &filter, now_ms).await?
            }
            Some(image) => purge_places(&mut tx, &[place_of(&group, image)?], &filter, now_ms).await?,
        };
        if request.dry_run {
            return Ok(purged);
        }
        if purged != Purged::default() {
            let epoch = tx.changed(&Subject::Group(group.id.clone()), now_ms).await?;
            groups::set_link_epoch(&mut tx, &group.id, epoch).await?;
            let subject = request.image.as_ref().map_or_else(|| group.path.to_string(), ToString::to_string);
            let done = actor.did("cache.purge", subject).of_group(&group.path).detail(purged.to_string());
            audit::record(&mut tx, &done, now_ms).await?;
        }
        tx.commit().await?;
        Ok(purged)
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

/// Everything of a group: counted and removed as a whole, however much it is.
async fn purge_group(tx: &mut WriteTx, group_id: &str, now_ms: i64) -> PlaneResult<Purged> {
    let bytes = inventory::figures(tx, group_id).await?.bytes;
    let (manifests, blobs) = inventory::count_links(tx, group_id).await?;
    let tags = tags::delete_of_group(tx, group_id).await?;
    tag_history::forget_group(tx, group_id).await?;
    links::delete_of_group(tx, group_id, now_ms).await?;
    Ok(Purged { tags: i64::try_from(tags).unwrap_or(i64::MAX), manifests, blobs, bytes })
}

/// What the filter takes of each repository; one of them is in memory at a time.
pub(super) async fn purge_places(
    tx: &mut WriteTx,
    places: &[GroupRepository],
    filter: &Filter,
    now_ms: i64,
) -> PlaneResult<Purged> {
    let mut purged = Purged::default();
    for place in places {
        let held = inventory::load(tx, place).await?;
        let Selection { digests, tags } = purge::select(&held, filter);
        for tag in &tags {
            tags::delete(tx, place, tag).await?;
            purged.tags += 1;
        }
        if filter.takes_all() {
            tags::delete_meaningless(tx, place).await?;
            tag_history::forget(tx, place).await?;
        }
        for digest in &digests {
            links::delete(tx, place, digest, now_ms).await?;
            // Counted when the group's last link to it goes, so that each digest counts once.
            purged.bytes += links::size_if_unheld(tx, &place.group_id, digest).await?;
            match held.links.get(digest).map(|held| held.kind) {
                Some(ContentKind::Manifest) => purged.manifests += 1,
                _ => purged.blobs += 1,
            }
        }
    }
    Ok(purged)
}
