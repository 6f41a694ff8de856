//! Lists of what groups have cached: images, tags, manifests, blobs.

use roadstead_proto::{GroupPath, ImageName, ImagePattern, InvalidImagePattern, Tag, UpstreamHost};

use crate::{
    store::{
        ReadTx, Store,
        cache::list::{self, BlobItem, Filter, ImageItem, ManifestItem, Order, Position, TagItem},
    },
    usecases::{Page, UseCaseResult, group_at, groups::image::resolve},
};

/// Tags that are looked at in one step where a pattern sieves them.
const SIEVED: i64 = 1000;

/// Filters, order and position of a list.
#[derive(Clone, Debug, Default)]
pub struct Listing {
    /// Of this image.
    pub image: Option<ImageName>,
    /// Of this upstream.
    pub upstream: Option<UpstreamHost>,
    /// Last used before this time.
    pub used_before_ms: Option<i64>,
    /// Manifests for this platform.
    pub platform: Option<String>,
    /// Tags that this fits.
    pub tags: Option<ImagePattern>,
    /// Images whose names hold this.
    pub name_contains: Option<String>,
    /// The order.
    pub order: Order,
    /// Behind this.
    pub after: Option<Position>,
    /// Most items.
    pub limit: i64,
}

/// A manifest as lists show it.
#[derive(Debug)]
pub struct CachedManifest {
    /// The manifest itself.
    pub item: ManifestItem,
    /// Of its size, what no other manifest of the group needs.
    pub unique_bytes: i64,
}

/// A list of a group, at one moment. `None` for the filter: nothing can fit.
struct Opened {
    tx: ReadTx,
    group_id: String,
    filter: Option<Filter>,
}

/// Reads one page. The statement gets one item more than the page has, to know whether more follow.
macro_rules! read_page {
    ($store:expr, $path:expr, $listing:expr, $read:path) => {{
        let mut opened = open_list($store, $path, $listing).await?;
        let items = match opened.filter.take() {
            Some(filter) => {
                let group_id = opened.group_id.clone();
                let (after, limit) = ($listing.after.as_ref(), $listing.limit + 1);
                let page = list::Page { group_id: &group_id, order: $listing.order, after, limit };
                $read(&mut opened.tx, &page, &filter).await?
            }
            None => Vec::new(),
        };
        (Page::cut(items, $listing.limit), opened)
    }};
}

/// A page of the images that a group has cached.
pub async fn images(store: &Store, path: &GroupPath, listing: &Listing) -> UseCaseResult<Page<ImageItem>> {
    Ok(read_page!(store, path, listing, list::images).0)
}

/// A page of blobs.
pub async fn blobs(store: &Store, path: &GroupPath, listing: &Listing) -> UseCaseResult<Page<BlobItem>> {
    Ok(read_page!(store, path, listing, list::blobs).0)
}

/// A page of manifests.
pub async fn manifests(store: &Store, path: &GroupPath, listing: &Listing) -> UseCaseResult<Page<CachedManifest>> {
    let (page, mut opened) = read_page!(store, path, listing, list::manifests);
    let manifests: Vec<_> = page.items.iter().map(|item| (&item.repository, &item.digest)).collect();
    let unique = list::unique_bytes(&mut opened.tx, &opened.group_id, &manifests).await?;
    let items = page.items.into_iter().zip(unique);
    let items = items.map(|(item, unique_bytes)| CachedManifest { item, unique_bytes }).collect();
    Ok(Page { items, more: page.more })
}

/// A page of tags. The database sieves by a pattern more coarsely than we do, so that a page may take several steps.
pub async fn tags(store: &Store, path: &GroupPath, listing: &Listing) -> UseCaseResult<Page<TagItem>> {
    let Some(pattern) = &listing.tags else {
        return Ok(read_page!(store, path, listing, list::tags).0);
    };
    let mut opened = open_list(store, path, listing).await?;
    let (mut found, mut after) = (Vec::new(), listing.after.clone());
    let wanted = usize::try_from(listing.limit).unwrap_or_default() + 1;
    let Some(filter) = opened.filter.take() else { return Ok(Page::cut(found, listing.limit)) };
    while found.len() < wanted {
        let group_id = opened.group_id.clone();
        let page = list::Page { group_id: &group_id, order: listing.order, after: after.as_ref(), limit: SIEVED };
        let some = list::tags(&mut opened.tx, &page, &filter).await?;
        let is_last = i64::try_from(some.len()).unwrap_or(i64::MAX) < SIEVED;
        let last = some.last().map(|item| item.position(listing.order));
        found.extend(some.into_iter().filter(|item| fits(pattern, item)));
        if is_last {
            break;
        }
        after = last;
    }
    Ok(Page::cut(found, listing.limit))
}

async fn open_list(store: &Store, path: &GroupPath, listing: &Listing) -> UseCaseResult<Opened> {
    let mut tx = store.read().await?;
    let group = group_at(&mut tx, path).await?;
    let (upstream, repository) = match &listing.image {
        Some(image) => {
            let (upstream, repository) = resolve(&group, image)?;
            (Some(upstream), Some(repository))
        }
        None => (listing.upstream.clone(), None),
    };
    let at_odds = listing.upstream.is_some() && listing.upstream != upstream;
    let filter = Filter {
        upstream,
        repository,
        used_before_ms: listing.used_before_ms,
        platform: listing.platform.clone(),
        tag_like: listing.tags.as_ref().map(like),
        // Names are lower-case.
        name_contains: listing.name_contains.as_ref().map(|text| text.to_lowercase()),
    };
    Ok(Opened { tx, group_id: group.id, filter: (!at_odds).then_some(filter) })
}

/// A pattern of tags: stars stand for any characters, as they do in patterns of images with tags.
pub fn tag_pattern(text: &str) -> Result<ImagePattern, InvalidImagePattern> {
    match text.find('/') {
        Some(_) => Err(InvalidImagePattern::Character('/')),
        None => format!("{ANY_IMAGE}{text}").parse(),
    }
}

/// Fits every image; a pattern of tags follows.
const ANY_IMAGE: &str = "*:";

fn like(pattern: &ImagePattern) -> String {
    let tag = pattern.as_str().strip_prefix(ANY_IMAGE).unwrap_or_default();
    tag.split('*').map(list::like_escaped).collect::<Vec<_>>().join("%")
}

fn fits(pattern: &ImagePattern, item: &TagItem) -> bool {
    let tag: Result<Tag, _> = item.tag.parse();
    tag.is_ok_and(|tag| pattern.fits_tag(&item.repository.upstream, &item.repository.repository, &tag))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_of_tags_are_sieved_coarsely_first() {
        for (pattern, expected) in
            [("release-*", Some("release-%")), ("v_*", Some("v\\_%")), ("*", Some("%")), ("a b", None)]
        {
            assert_eq!(tag_pattern(pattern).ok().as_ref().map(like).as_deref(), expected, "{pattern}");
        }
        assert!(tag_pattern("").is_err());
        assert!(tag_pattern("a:b").is_err() && tag_pattern("a/b").is_err());
    }
}
