//! Lists of what is cached: every order, page by page, with every filter; and figures that stay right whatever comes and
//! goes.

use roadstead_proto::time::timestamp;
use std::collections::{BTreeMap, BTreeSet};

use roadstead_proto::{
    node::v1::{ContentKind, Link, LinkProof, RecordLinkRequest, RecordUsageRequest, Reference, RepositoryRef, Usage},
    v1::{
        Blob, CacheSort, CachedImage, CachedTag, CreateGroupRequest, GetStatsRequest, Group, ListBlobsRequest,
        ListImagesRequest, ListManifestsRequest, ListTagsRequest, Manifest, PinTagRequest, PurgeCacheRequest,
        PurgeFilter, UnpinTagRequest, UpdateUpstreamRequest,
    },
};
use tonic::Code;

use crate::harness::{Client, Plane, START_MS, digest};

const ORDERS: [CacheSort; 4] = [CacheSort::Name, CacheSort::Size, CacheSort::LastPulled, CacheSort::Pulls];
const INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// A request, and how to walk through its list.
trait List: Clone {
    type Item: Clone + PartialEq + std::fmt::Debug;

    fn page(self, size: i32, token: String) -> Self;
    fn sorted(self, sort: CacheSort) -> Self;
    async fn call(self, plane: &Plane) -> Result<(Vec<Self::Item>, String), tonic::Status>;
    /// The sort key, unless the list is sorted by name, and its name.
    fn rank(item: &Self::Item, sort: CacheSort) -> i64;
    fn name(item: &Self::Item) -> String;
}

macro_rules! lists {
    ($($request:ident, $call:ident, $items:ident, $item:ident, $size:expr, $name:expr;)*) => {$(
        impl List for $request {
            type Item = $item;

            fn page(self, page_size: i32, page_token: String) -> Self {
                Self { page_size, page_token, ..self }
            }

            fn sorted(self, sort: CacheSort) -> Self {
                Self { sort: sort.into(), ..self }
            }

            async fn call(self, plane: &Plane) -> Result<(Vec<$item>, String), tonic::Status> {
                let page = plane.admin().cache.$call(self).await?.into_inner();
                Ok((page.$items, page.next_page_token))
            }

            fn rank(item: &$item, sort: CacheSort) -> i64 {
                match sort {
                    CacheSort::Size => $size(item),
                    CacheSort::Pulls => item.pulls,
                    CacheSort::LastPulled => item.last_pulled_at.as_ref().map_or(-1, |at| at.seconds),
                    CacheSort::Name | CacheSort::Unspecified => 0,
                }
            }

            fn name(item: &$item) -> String {
                $name(item)
            }
        }
    )*};
}

lists! {
    ListImagesRequest, list_images, images, CachedImage, |item: &CachedImage| item.size_bytes,
        |item: &CachedImage| item.image.clone();
    ListTagsRequest, list_tags, tags, CachedTag, |_: &CachedTag| 0, |item: &CachedTag| format!("{}:{}", item.image, item.tag);
    ListManifestsRequest, list_manifests, manifests, Manifest, |item: &Manifest| item.size_bytes,
        |item: &Manifest| format!("{}@{}", item.image, item.digest);
    ListBlobsRequest, list_blobs, blobs, Blob, |item: &Blob| item.size_bytes,
        |item: &Blob| format!("{}@{}", item.image, item.digest);
}

async fn whole<L: List>(plane: &Plane, request: L) -> Vec<L::Item> {
    let (items, token) = request.page(1000, String::new()).call(plane).await.unwrap();
    assert_eq!(token, "");
    items
}

async fn joined<L: List>(plane: &Plane, request: &L, size: i32) -> Vec<L::Item> {
    let (mut token, mut all) = (String::new(), Vec::new());
    loop {
        let (items, next) = request.clone().page(size, token).call(plane).await.unwrap();
        assert!(items.len() <= size as usize && (next.is_empty() || items.len() == size as usize));
        all.extend(items);
        if next.is_empty() {
            return all;
        }
        token = next;
    }
}

/// Every order of a list: complete, in order, and the same whatever the size of its pages.
async fn check<L: List>(plane: &Plane, request: L, count: usize) {
    let mut names: Vec<_> = whole(plane, request.clone()).await.iter().map(L::name).collect();
    assert_eq!(names.len(), count);
    assert!(names.is_sorted(), "by name if nothing is said");
    names.sort();
    for sort in ORDERS {
        let request = request.clone().sorted(sort);
        let all = whole(plane, request.clone()).await;
        assert!(all.iter().map(|item| L::rank(item, sort)).is_sorted_by(|a, b| a >= b), "{sort:?}: {all:?}");
        for size in [1, 4, 7] {
            assert_eq!(joined(plane, &request, size).await, all, "{sort:?} in pages of {size}");
        }
        let mut found: Vec<_> = all.iter().map(L::name).collect();
        found.sort();
        assert_eq!(found, names, "{sort:?}");
    }
}

fn at(group: &Group, upstream: &str, repository: &str) -> Option<RepositoryRef> {
    Some(RepositoryRef { group_id: group.id.clone(), upstream: upstream.into(), repository: repository.into() })
}

/// Links a manifest with its tag and what it refers to: name and platform.
async fn manifest(
    node: &mut Client,
    repository: Option<RepositoryRef>,
    name: &str,
    tag: &str,
    refers_to: &[(&str, &str)],
) {
    let is_manifest = |name: &str| name.starts_with('m') || name.starts_with('i');
    let kind = |name: &str| if is_manifest(name) { ContentKind::Manifest } else { ContentKind::Blob };
    let references = refers_to.iter().map(|(child, platform)| Reference {
        digest: digest(child),
        kind: kind(child).into(),
        size_bytes: 1,
        platform: (*platform).into(),
    });
    let link = Link { digest: digest(name), kind: kind(name).into(), size_bytes: 10, media_type: INDEX.into() };
    let request = RecordLinkRequest {
        proof: LinkProof::Fetched.into(),
        repository,
        link: Some(link),
        references: references.collect(),
        tag: tag.into(),
        ..Default::default()
    };
    node.node.record_link(request).await.unwrap();
}

async fn blob(node: &mut Client, repository: Option<RepositoryRef>, name: &str, size_bytes: i64) {
    let kind = ContentKind::Blob.into();
    let link = Some(Link { digest: digest(name), kind, size_bytes, media_type: String::new() });
    node.node
        .record_link(RecordLinkRequest { proof: LinkProof::Fetched.into(), repository, link, ..Default::default() })
        .await
        .unwrap();
}

async fn pull(node: &mut Client, repository: Option<RepositoryRef>, name: &str, hits: i64, at_ms: i64) {
    let usage = Usage { repository, digest: digest(name), hits, misses: 0, last_pulled_at: timestamp(at_ms) };
    let batch_id = format!("{name}-{hits}-{at_ms}-{}", usage.repository.as_ref().unwrap().repository);
    node.node.record_usage(RecordUsageRequest { batch_id, usage: vec![usage] }).await.unwrap();
}

/// Three images of two upstreams, with indexes, tags, and pulls of which many tie.
async fn fleet(plane: &Plane) -> Group {
    let ghcr = UpdateUpstreamRequest::replacing("ghcr.io", "https://ghcr.io");
    plane.admin().upstreams.update_upstream(ghcr).await.unwrap();
    let upstreams = vec!["docker.io".into(), "ghcr.io".into()];
    let group = plane.group_with(CreateGroupRequest { path: "acme".into(), upstreams, ..Default::default() }).await;
    let other = plane.group("other").await;
    let mut node = plane.node();
    for (upstream, repository) in [("docker.io", "library/a"), ("docker.io", "team/a_b"), ("ghcr.io", "team/app")] {
        let place = at(&group, upstream, repository);
        for n in 0..5 {
            let (m, b) = (format!("m{n}"), format!("b{n}"));
            blob(&mut node, place.clone(), &b, 100 * (n % 2 + 1)).await;
            let tag = if n % 2 == 0 { format!("release-{n}") } else { format!("V{n}") };
            manifest(&mut node, place.clone(), &m, &tag, &[(&b, ""), ("b0", "")]).await;
            if n % 3 > 0 {
                plane.advance(1);
                pull(&mut node, place.clone(), &m, n % 3, START_MS + 1000 * (n % 2)).await;
                pull(&mut node, place.clone(), &b, 1, START_MS).await;
            }
        }
        let platforms = [("m0", "linux/amd64"), ("m1", "linux/arm64/v8"), ("m9", "unknown/unknown")];
        manifest(&mut node, place.clone(), "i", "latest", &platforms).await;
    }
    blob(&mut node, at(&other, "docker.io", "library/a"), "b0", 100).await;
    group
}

#[tokio::test]
async fn pages_join_to_the_whole_list_in_every_order_also_where_much_ties() {
    let plane = Plane::start().await;
    fleet(&plane).await;
    let group_path = || "acme".to_owned();
    check(&plane, ListImagesRequest { group_path: group_path(), ..Default::default() }, 3).await;
    check(&plane, ListTagsRequest { group_path: group_path(), ..Default::default() }, 18).await;
    check(&plane, ListManifestsRequest { group_path: group_path(), ..Default::default() }, 18).await;
    check(&plane, ListBlobsRequest { group_path: group_path(), ..Default::default() }, 15).await;
    let (image, upstream) = ("ghcr.io/team/app".to_owned(), "docker.io".to_owned());
    let images = ListImagesRequest { group_path: group_path(), upstream: upstream.clone(), ..Default::default() };
    check(&plane, images, 2).await;
    check(&plane, ListTagsRequest { group_path: group_path(), image: image.clone(), ..Default::default() }, 6).await;
    let pattern = ListTagsRequest { group_path: group_path(), tag_pattern: "*e*-*".into(), ..Default::default() };
    check(&plane, pattern, 9).await;
    let manifests = ListManifestsRequest { group_path: group_path(), upstream, ..Default::default() };
    check(&plane, manifests, 12).await;
    check(&plane, ListBlobsRequest { group_path: group_path(), image, ..Default::default() }, 5).await;
    let old = Some(prost_types::Duration { seconds: 0, nanos: 0 });
    plane.advance(60);
    check(&plane, ListBlobsRequest { group_path: group_path(), older_than: old, ..Default::default() }, 15).await;
}

#[tokio::test]
async fn filters_choose_what_they_say() {
    let plane = Plane::start().await;
    fleet(&plane).await;
    let images = |name_contains: &str| ListImagesRequest {
        group_path: "acme".into(),
        name_contains: name_contains.into(),
        ..Default::default()
    };
    for (text, count) in [("a_b", 1), ("team/", 2), ("GHCR", 1), ("io/li", 1), ("%", 0), ("", 3), ("\\", 0)] {
        assert_eq!(whole(&plane, images(text)).await.len(), count, "{text}");
    }
    let tags = |pattern: &str| ListTagsRequest {
        group_path: "acme".into(),
        tag_pattern: pattern.into(),
        ..Default::default()
    };
    for (pattern, count) in [("release-*", 9), ("RELEASE-*", 0), ("V1", 3), ("v1", 0), ("late_t", 0), ("*", 18)] {
        assert_eq!(whole(&plane, tags(pattern)).await.len(), count, "{pattern}");
    }
    let manifests = |platform: &str| ListManifestsRequest {
        group_path: "acme".into(),
        platform: platform.into(),
        image: "a".into(),
        ..Default::default()
    };
    for (platform, expected) in [
        ("linux/arm64", vec!["i", "m1"]),
        ("linux/amd64", vec!["i", "m0"]),
        ("linux/arm", vec![]),
        ("LINUX/amd64", vec![]),
    ] {
        let found: BTreeSet<_> = whole(&plane, manifests(platform)).await.into_iter().map(|m| m.digest).collect();
        assert_eq!(found, expected.into_iter().map(digest).collect(), "{platform}");
    }
    let index = whole(&plane, manifests("linux/arm64")).await.into_iter().find(|m| m.digest == digest("i")).unwrap();
    assert_eq!(index.platforms, ["linux/amd64", "linux/arm64/v8"]);
    // The image of another upstream than the one asked for.
    let none = ListBlobsRequest {
        group_path: "acme".into(),
        image: "ghcr.io/team/app".into(),
        upstream: "docker.io".into(),
        ..Default::default()
    };
    assert!(whole(&plane, none).await.is_empty());
    // Pulled at the last moment but one; what was cached then and never pulled is older.
    plane.advance(100);
    let aged = |seconds| ListManifestsRequest {
        group_path: "acme".into(),
        older_than: Some(prost_types::Duration { seconds, nanos: 0 }),
        ..Default::default()
    };
    assert_eq!(whole(&plane, aged(1)).await.len(), 18);
    assert_eq!(whole(&plane, aged(1000)).await.len(), 0);
}

#[tokio::test]
async fn a_token_is_good_for_its_own_list_only() {
    let plane = Plane::start().await;
    fleet(&plane).await;
    let list = ListBlobsRequest { group_path: "acme".into(), ..Default::default() }.page(2, String::new());
    let (_, token) = list.clone().call(&plane).await.unwrap();
    let list = list.page(2, token.clone());
    assert!(list.clone().call(&plane).await.is_ok());
    let old = Some(prost_types::Duration { seconds: 1, nanos: 0 });
    for (name, other) in [
        ("sort", list.clone().sorted(CacheSort::Pulls)),
        ("image", ListBlobsRequest { image: "a".into(), ..list.clone() }),
        ("upstream", ListBlobsRequest { upstream: "ghcr.io".into(), ..list.clone() }),
        ("age", ListBlobsRequest { older_than: old, ..list.clone() }),
        ("group", ListBlobsRequest { group_path: "other".into(), ..list.clone() }),
        ("nonsense", list.clone().page(2, "eHh4".into())),
    ] {
        assert_eq!(other.call(&plane).await.unwrap_err().code(), Code::InvalidArgument, "{name}");
    }
    let manifests = ListManifestsRequest { group_path: "acme".into(), ..Default::default() }.page(2, token);
    assert_eq!(manifests.call(&plane).await.unwrap_err().code(), Code::InvalidArgument);
    for bad in [
        ListTagsRequest { tag_pattern: "a b".into(), ..Default::default() },
        ListTagsRequest { tag_pattern: "a/b".into(), ..Default::default() },
        ListTagsRequest { sort: 17, ..Default::default() },
    ] {
        let bad = ListTagsRequest { group_path: "acme".into(), ..bad };
        assert_eq!(bad.call(&plane).await.unwrap_err().code(), Code::InvalidArgument);
    }
}

#[tokio::test]
async fn tags_say_what_they_meant_before_and_whether_they_are_pinned() {
    let plane = Plane::start().await;
    let group = plane.group("acme").await;
    let mut node = plane.node();
    let place = at(&group, "docker.io", "library/a");
    let tag = async || {
        let list = ListTagsRequest { group_path: "acme".into(), ..Default::default() };
        let tag = whole(&plane, list).await.into_iter().next().unwrap();
        (tag.digest, tag.previous_digest, tag.pinned, tag.pulls)
    };
    manifest(&mut node, place.clone(), "m1", "latest", &[]).await;
    pull(&mut node, place.clone(), "m1", 3, START_MS).await;
    assert_eq!(tag().await, (digest("m1"), String::new(), false, 3));
    plane.advance(10);
    manifest(&mut node, place.clone(), "m2", "latest", &[]).await;
    assert_eq!(tag().await, (digest("m2"), digest("m1"), false, 0));
    let pin =
        PinTagRequest { group_path: "acme".into(), image: "a".into(), tag: "latest".into(), digest: digest("m1") };
    plane.admin().cache.pin_tag(pin).await.unwrap();
    assert_eq!(tag().await, (digest("m1"), String::new(), true, 3));
    let list = ListManifestsRequest { group_path: "acme".into(), ..Default::default() };
    let tags: Vec<_> = whole(&plane, list).await.into_iter().map(|m| (m.digest, m.tags.len())).collect();
    assert!(tags.contains(&(digest("m1"), 1)) && tags.contains(&(digest("m2"), 0)), "{tags:?}");
    let unpin = UnpinTagRequest { group_path: "acme".into(), image: "a".into(), tag: "latest".into() };
    plane.admin().cache.unpin_tag(unpin).await.unwrap();
    assert_eq!(tag().await, (digest("m2"), digest("m1"), false, 0));
    // A tag whose manifest is gone cannot be served.
    let purge = PurgeCacheRequest::selected(PurgeFilter {
        group_path: "acme".into(),
        digest: digest("m2"),
        ..Default::default()
    });
    plane.admin().cache.purge_cache(purge).await.unwrap();
    assert!(whole(&plane, ListTagsRequest { group_path: "acme".into(), ..Default::default() }).await.is_empty());
}

/// The content that the graph of the next test refers to.
const GRAPH: [(&str, &[&str]); 6] = [
    ("m0", &["b0", "b1"]),
    ("m1", &["b1", "b2"]),
    ("m2", &["b2", "b3"]),
    ("i0", &["m0", "m1"]),
    ("i1", &["m1", "m2"]),
    ("i2", &["i0", "b4"]),
];

/// Everything that `from` leads to among `held`, itself too.
fn reach<'a>(from: &'a str, held: &BTreeSet<&str>) -> BTreeSet<&'a str> {
    let (mut found, mut open) = (BTreeSet::new(), vec![from]);
    while let Some(name) = open.pop() {
        if held.contains(name) && found.insert(name) {
            open.extend(GRAPH.iter().filter(|(parent, _)| *parent == name).flat_map(|(_, children)| *children));
        }
    }
    found
}

fn size(name: &str) -> i64 {
    match name.strip_prefix('b') {
        Some(number) => 100 << number.parse::<u32>().unwrap(),
        None => 10,
    }
}

/// Compares all that is kept beside the links with what follows from the links.
async fn check_figures(plane: &Plane, step: usize) {
    let manifests = whole(plane, ListManifestsRequest { group_path: "acme".into(), ..Default::default() }).await;
    let blobs = whole(plane, ListBlobsRequest { group_path: "acme".into(), ..Default::default() }).await;
    let images = whole(plane, ListImagesRequest { group_path: "acme".into(), ..Default::default() }).await;
    let names: BTreeMap<String, &str> =
        ["m0", "m1", "m2", "i0", "i1", "i2", "b0", "b1", "b2", "b3", "b4"].map(|name| (digest(name), name)).into();
    let mut held: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for (image, digest) in
        manifests.iter().map(|m| (&m.image, &m.digest)).chain(blobs.iter().map(|b| (&b.image, &b.digest)))
    {
        held.entry(image).or_default().insert(names[digest]);
    }
    for shown in &manifests {
        let (name, beside) = (names[&shown.digest], &held[shown.image.as_str()]);
        let reached = reach(name, beside);
        assert_eq!(shown.size_bytes, reached.iter().map(|name| size(name)).sum::<i64>(), "step {step}: {name}");
        assert_eq!(shown.unique_bytes + shown.shared_bytes, shown.size_bytes, "step {step}: {name}");
        // "What a purge of this one frees at least".
        let purge = PurgeCacheRequest::selected(PurgeFilter {
            group_path: "acme".into(),
            image: shown.image.clone(),
            digest: shown.digest.clone(),
            ..Default::default()
        })
        .dry_run(true);
        let freed = plane.admin().cache.purge_cache(purge).await.unwrap().into_inner().bytes;
        assert!(shown.unique_bytes <= freed, "step {step}: {name}: {} of {freed}", shown.unique_bytes);
        assert!(freed - shown.unique_bytes <= size(name), "step {step}: {name}: {} of {freed}", shown.unique_bytes);
    }
    for shown in &blobs {
        let (name, beside) = (names[&shown.digest], &held[shown.image.as_str()]);
        let parents = GRAPH.iter().filter(|(parent, children)| beside.contains(parent) && children.contains(&name));
        assert_eq!(shown.links, parents.count() as i64, "step {step}: {name}");
    }
    let shown: Vec<_> = images.iter().map(|i| (i.image.as_str(), i.manifests + i.blobs, i.size_bytes)).collect();
    let counted: Vec<_> = held
        .iter()
        .map(|(image, names)| (*image, names.len() as i64, names.iter().map(|name| size(name)).sum::<i64>()))
        .collect();
    assert_eq!(shown, counted, "step {step}");
    let stats =
        plane.admin().cache.get_stats(GetStatsRequest { group_path: "acme".into() }).await.unwrap().into_inner();
    let distinct: BTreeSet<_> = held.values().flatten().copied().collect();
    assert_eq!(stats.bytes, distinct.iter().map(|name| size(name)).sum::<i64>(), "step {step}");
    assert_eq!(stats.blobs, distinct.iter().filter(|name| name.starts_with('b')).count() as i64, "step {step}");
    assert_eq!((stats.images, stats.manifests), (images.len() as i64, manifests.len() as i64), "step {step}");
}

#[tokio::test]
async fn figures_follow_from_the_links_whatever_comes_and_goes() {
    let plane = Plane::start().await;
    let group = plane.group("acme").await;
    let mut node = plane.node();
    let mut random = 0x2545_f491_4f6c_dd1d_u64;
    let mut below = |n: usize| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        (random % n as u64) as usize
    };
    for step in 0..120 {
        let repository = ["library/x", "library/y"][below(2)];
        let place = at(&group, "docker.io", repository);
        match below(12) {
            0..6 => {
                let (name, children) = GRAPH[below(GRAPH.len())];
                let children: Vec<_> = children.iter().map(|child| (*child, "")).collect();
                let tag = if below(3) == 0 { format!("t{}", below(3)) } else { String::new() };
                manifest(&mut node, place, name, &tag, &children).await;
            }
            6..10 => {
                let name = format!("b{}", below(5));
                blob(&mut node, place, &name, size(&name)).await;
            }
            10 => {
                let filter = PurgeFilter { group_path: "acme".into(), ..Default::default() };
                let filter = match below(8) {
                    0 => filter,
                    1 => PurgeFilter { image: repository.into(), ..filter },
                    n if n < 5 => PurgeFilter { digest: digest(&format!("b{}", below(5))), ..filter },
                    _ => PurgeFilter { digest: digest(GRAPH[below(GRAPH.len())].0), ..filter },
                };
                let is_whole = filter.image.is_empty() && filter.digest.is_empty();
                let request = match is_whole {
                    true => PurgeCacheRequest::whole_group("acme"),
                    false => PurgeCacheRequest::selected(filter),
                };
                plane.admin().cache.purge_cache(request).await.unwrap();
            }
            _ => pull(&mut node, place, GRAPH[below(GRAPH.len())].0, 1, START_MS + step as i64).await,
        }
        check_figures(&plane, step).await;
    }
}
