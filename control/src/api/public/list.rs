//! Requests for lists of cached content, their page tokens, and the items as callers see them.
//!
//! A token names the last item's place in the order, the moment that ages are counted from, and a fingerprint of
//! filters and order: it is good for the same list only.

use roadstead_proto::{Algorithm, Digest, GroupPath, v1};
use tonic::Status;

use super::{
    page,
    time::{duration_ms, timestamp},
};
use crate::{
    api::errors::{invalid_field, parse_optional},
    store::cache::list::{BlobItem, ImageItem, Order, Position, TagItem},
    usecases::{
        Page,
        cache::{
            list::{CachedManifest, Listing, tag_pattern},
            usage::{Day, KEPT_DAYS},
        },
    },
};

/// Days that are answered if nothing is said.
const DEFAULT_DAYS: i64 = 30;
/// Characters of a fingerprint.
const FINGERPRINT: usize = 16;

/// Tells one list from another: what its page tokens are good for.
pub struct List(String);

impl List {
    /// `words` are filters and order as they were given.
    fn new(words: &[&str]) -> Self {
        let digest = Digest::of(Algorithm::Sha256, words.join("\n").as_bytes()).to_string();
        let hash = digest.rsplit(':').next().unwrap_or_default();
        Self(hash.chars().take(FINGERPRINT).collect())
    }

    /// Returns the token for the page after `last`; empty on the last page.
    fn next(&self, more: bool, last: Option<Position>, listing: &Listing) -> String {
        let key = last.map(|last| {
            let Position { rank, upstream, repository, digest, tag } = last;
            let before = listing.used_before_ms.map(|ms| ms.to_string()).unwrap_or_default();
            [&self.0, &before, &rank.to_string(), &upstream, &repository, &digest, &tag].map(String::as_str).join("\n")
        });
        page::next(more, key.as_deref())
    }

    /// Translates the items of a page, and makes the token of the next page from the position of the last item.
    pub fn answer<T, M>(
        &self,
        page: Page<T>,
        listing: &Listing,
        position: impl Fn(&T) -> Position,
        translate: impl Fn(T) -> M,
    ) -> (Vec<M>, String) {
        let token = self.next(page.more, page.items.last().map(position), listing);
        (page.items.into_iter().map(translate).collect(), token)
    }

    /// Continues the listing where a token says, if there is one.
    fn resume(&self, token: &str, listing: &mut Listing) -> Result<(), Status> {
        let key = page::after(token)?;
        if key.is_empty() {
            return Ok(());
        }
        let bad = || invalid_field("page_token", "is of a list with other filters or another order: begin anew");
        let parts: Vec<_> = key.split('\n').collect();
        let [list, before, rank, upstream, repository, digest, tag] = parts[..] else { return Err(bad()) };
        if list != self.0 || before.is_empty() != listing.used_before_ms.is_none() {
            return Err(bad());
        }
        if !before.is_empty() {
            listing.used_before_ms = Some(before.parse().map_err(|_| bad())?);
        }
        listing.after = Some(Position {
            rank: rank.parse().map_err(|_| bad())?,
            upstream: upstream.to_owned(),
            repository: repository.to_owned(),
            digest: digest.to_owned(),
            tag: tag.to_owned(),
        });
        Ok(())
    }
}

fn order(sort: i32) -> Result<Order, Status> {
    match v1::CacheSort::try_from(sort) {
        Ok(v1::CacheSort::Unspecified | v1::CacheSort::Name) => Ok(Order::Name),
        Ok(v1::CacheSort::Size) => Ok(Order::Size),
        Ok(v1::CacheSort::LastPulled) => Ok(Order::LastPulled),
        Ok(v1::CacheSort::Pulls) => Ok(Order::Pulls),
        Err(_) => Err(invalid_field("sort", format!("{sort} is not an order: name, size, last pulled, pulls"))),
    }
}

/// A request for a list, as all four have it. Fields that a list does not have are empty.
#[derive(Default)]
struct Asked {
    /// The list's name.
    kind: &'static str,
    image: String,
    upstream: String,
    platform: String,
    name_contains: String,
    tag_pattern: String,
    older_than: Option<prost_types::Duration>,
    sort: i32,
    page: (i32, String),
}

fn parse(path: &GroupPath, asked: &Asked, now_ms: i64) -> Result<(Listing, List), Status> {
    let given = |text: &String| (!text.is_empty()).then(|| text.clone());
    let age_ms = asked.older_than.map(|age| duration_ms("older_than", age)).transpose()?;
    let tags = given(&asked.tag_pattern).map(|pattern| tag_pattern(&pattern)).transpose();
    let mut listing = Listing {
        image: parse_optional("image", &asked.image)?,
        upstream: parse_optional("upstream", &asked.upstream)?,
        used_before_ms: age_ms.map(|ms| now_ms.saturating_sub(ms)),
        platform: given(&asked.platform),
        tags: tags.map_err(|error| invalid_field("tag_pattern", error.to_string()))?,
        name_contains: given(&asked.name_contains),
        order: order(asked.sort)?,
        limit: page::size(asked.page.0)?,
        after: None,
    };
    let age = age_ms.map(|ms| ms.to_string()).unwrap_or_default();
    let sort = (listing.order as i32).to_string();
    let Asked { image, upstream, platform, name_contains, tag_pattern, .. } = asked;
    let list =
        List::new(&[asked.kind, path.as_str(), image, upstream, platform, name_contains, tag_pattern, &age, &sort]);
    list.resume(&asked.page.1, &mut listing)?;
    Ok((listing, list))
}

/// Reads a request for images.
pub fn parse_list_images(path: &GroupPath, request: v1::ListImagesRequest) -> Result<(Listing, List), Status> {
    let v1::ListImagesRequest { name_contains, upstream, sort, page_size, page_token, .. } = request;
    let page = (page_size, page_token);
    parse(path, &Asked { kind: "images", name_contains, upstream, sort, page, ..Asked::default() }, 0)
}

/// Reads a request for tags.
pub fn parse_list_tags(path: &GroupPath, request: v1::ListTagsRequest) -> Result<(Listing, List), Status> {
    let v1::ListTagsRequest { image, tag_pattern, sort, page_size, page_token, .. } = request;
    let page = (page_size, page_token);
    parse(path, &Asked { kind: "tags", image, tag_pattern, sort, page, ..Asked::default() }, 0)
}

/// Reads a request for manifests.
pub fn parse_list_manifests(
    path: &GroupPath,
    request: v1::ListManifestsRequest,
    now_ms: i64,
) -> Result<(Listing, List), Status> {
    let v1::ListManifestsRequest { image, upstream, platform, older_than, sort, page_size, page_token, .. } = request;
    let page = (page_size, page_token);
    let asked = Asked { kind: "manifests", image, upstream, platform, older_than, sort, page, ..Asked::default() };
    parse(path, &asked, now_ms)
}

/// Reads a request for blobs.
pub fn parse_list_blobs(
    path: &GroupPath,
    request: v1::ListBlobsRequest,
    now_ms: i64,
) -> Result<(Listing, List), Status> {
    let v1::ListBlobsRequest { image, upstream, older_than, sort, page_size, page_token, .. } = request;
    let page = (page_size, page_token);
    parse(path, &Asked { kind: "blobs", image, upstream, older_than, sort, page, ..Asked::default() }, now_ms)
}

/// Returns the number of days to answer.
pub fn days(days: i32) -> Result<i64, Status> {
    match i64::from(days) {
        0 => Ok(DEFAULT_DAYS),
        days @ 1..=KEPT_DAYS => Ok(days),
        _ => Err(invalid_field("days", format!("must be between 0 and {KEPT_DAYS}"))),
    }
}

pub fn image(item: ImageItem) -> v1::CachedImage {
    v1::CachedImage {
        image: item.repository.to_string(),
        tags: item.tags,
        manifests: item.manifests,
        blobs: item.blobs,
        size_bytes: item.size_bytes,
        pulls: item.pulls,
        cached_at: Some(timestamp(item.cached_at_ms)),
        last_pulled_at: item.last_pulled_at_ms.map(timestamp),
    }
}

pub fn tag(item: TagItem) -> v1::CachedTag {
    v1::CachedTag {
        image: item.repository.to_string(),
        tag: item.tag,
        digest: item.digest.to_string(),
        previous_digest: item.previous.map(|digest| digest.to_string()).unwrap_or_default(),
        cached_at: Some(timestamp(item.cached_at_ms)),
        checked_at: item.checked_at_ms.map(timestamp),
        last_pulled_at: item.last_pulled_at_ms.map(timestamp),
        pulls: item.pulls,
        pinned: item.pinned,
    }
}

pub fn manifest(manifest: CachedManifest) -> v1::Manifest {
    let item = manifest.item;
    v1::Manifest {
        image: item.repository.to_string(),
        tags: item.tags,
        digest: item.digest.to_string(),
        media_type: item.media_type,
        size_bytes: item.size_bytes,
        cached_at: Some(timestamp(item.cached_at_ms)),
        last_pulled_at: item.last_pulled_at_ms.map(timestamp),
        platforms: item.platforms,
        pulls: item.pulls,
        unique_bytes: manifest.unique_bytes,
        shared_bytes: item.size_bytes - manifest.unique_bytes,
    }
}

pub fn blob(item: BlobItem) -> v1::Blob {
    v1::Blob {
        image: item.repository.to_string(),
        digest: item.digest.to_string(),
        size_bytes: item.size_bytes,
        cached_at: Some(timestamp(item.cached_at_ms)),
        last_pulled_at: item.last_pulled_at_ms.map(timestamp),
        links: item.links,
        pulls: item.pulls,
    }
}

pub fn day(day: Day) -> v1::DailyUsage {
    // "2026-11-23T00:00:00Z" begins with the date.
    let day_text: String = timestamp(day.start_ms).to_string().chars().take("2026-11-23".len()).collect();
    v1::DailyUsage { day: day_text, hits: day.hits, misses: day.misses }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listing() -> Listing {
        Listing { used_before_ms: Some(7), ..Listing::default() }
    }

    #[test]
    fn tokens_lead_back_to_where_they_were_made_and_to_no_other_list() {
        let list = List::new(&["blobs", "acme"]);
        let last = Position {
            rank: -3,
            upstream: "docker.io".into(),
            repository: "library/a".into(),
            digest: "sha256:1".into(),
            tag: "latest".into(),
        };
        let token = list.next(true, Some(last.clone()), &listing());
        let mut later = Listing { used_before_ms: Some(9), ..Listing::default() };
        list.resume(&token, &mut later).unwrap();
        assert_eq!(
            (later.after, later.used_before_ms),
            (Some(last.clone()), Some(7)),
            "ages count from the first page"
        );
        assert!(List::new(&["blobs", "other"]).resume(&token, &mut listing()).is_err());
        assert!(list.resume(&token, &mut Listing::default()).is_err());
        assert!(list.resume(&page::next(true, Some("sha256:1")), &mut listing()).is_err());
        assert_eq!(list.next(false, Some(last), &listing()), "");
    }

    #[test]
    fn days_are_dates() {
        let day = day(Day { start_ms: 1_799_971_200_000, hits: 1, misses: 2 });
        assert_eq!((day.day.as_str(), day.hits, day.misses), ("2027-01-15", 1, 2));
        for (asked, expected) in [(0, Some(30)), (1, Some(1)), (366, Some(366)), (367, None), (-1, None)] {
            assert_eq!(days(asked).ok(), expected, "{asked}");
        }
    }
}
