//! Lists, figures and purges of what groups have cached.

use roadstead_proto::time::timestamp;
use roadstead_proto::{
    node::v1::{ClaimGarbageRequest, GetLinksRequest, LinkProof, RecordLinkRequest, RecordUsageRequest, Usage},
    v1::{
        GetStatsRequest, GetStatsResponse, Group, ListBlobsRequest, ListManifestsRequest, PurgeCacheRequest,
        PurgeCacheResponse, PurgeFilter, UpdateGroupRequest, UpdateUpstreamRequest, UpstreamList,
    },
};
use tonic::Code;

use crate::harness::{Client, Plane, START_MS, blob, digest, place};

/// Two images of one group that share a layer, one of them an index; and the same shared layer in another group.
async fn shop(plane: &Plane) -> (Group, Group) {
    let (acme, other) = (plane.group("acme").await, plane.group("other").await);
    let mut node = plane.node();
    for (name, size) in [("b-amd", 100), ("b-shared", 1000)] {
        node.link_blob(&acme, "library/multi", name, size).await;
    }
    node.link_manifest(&acme, "library/multi", "m-amd", "", &["b-amd", "b-shared"]).await;
    node.link_manifest(&acme, "library/multi", "m-index", "latest", &["m-amd", "m-never-pulled"]).await;
    node.link_blob(&acme, "library/one", "b-shared", 1000).await;
    node.link_manifest(&acme, "library/one", "m-one", "latest", &["b-shared"]).await;
    node.link_blob(&other, "library/one", "b-shared", 1000).await;
    (acme, other)
}

/// A filter that selects nothing more than the group yet.
fn of_acme() -> PurgeFilter {
    PurgeFilter { group_path: "acme".into(), ..Default::default() }
}

async fn purge(plane: &Plane, request: PurgeCacheRequest) -> (i64, i64, i64, i64) {
    let PurgeCacheResponse { tags, manifests, blobs, bytes, .. } =
        plane.admin().cache.purge_cache(request).await.unwrap().into_inner();
    (tags, manifests, blobs, bytes)
}

async fn stats(plane: &Plane, group: &str) -> GetStatsResponse {
    plane.admin().cache.get_stats(GetStatsRequest { group_path: group.into() }).await.unwrap().into_inner()
}

async fn has(node: &mut Client, group: &Group, repository: &str, name: &str) -> bool {
    let request = GetLinksRequest { repository: place(group, repository), digest: digest(name) };
    node.node.get_links(request).await.unwrap().into_inner().link.is_some()
}

#[tokio::test]
async fn figures_count_each_digest_once_and_lists_show_whole_images() {
    let plane = Plane::start().await;
    shop(&plane).await;
    let figures = stats(&plane, "acme").await;
    assert_eq!((figures.images, figures.manifests, figures.blobs, figures.bytes), (2, 3, 2, 1130));
    let mut admin = plane.admin();
    let list = ListManifestsRequest { group_path: "acme".into(), ..Default::default() };
    let manifests = admin.cache.list_manifests(list).await.unwrap().into_inner().manifests;
    let mut shown: Vec<_> =
        manifests.iter().map(|m| (m.image.as_str(), m.digest.clone(), m.tags.len(), m.size_bytes)).collect();
    shown.sort();
    let mut expected = vec![
        ("docker.io/library/multi", digest("m-index"), 1, 1120),
        ("docker.io/library/multi", digest("m-amd"), 0, 1110),
        ("docker.io/library/one", digest("m-one"), 1, 1010),
    ];
    expected.sort();
    assert_eq!(shown, expected);
    for (image, count) in [("one", 1), ("docker.io/library/multi", 2), ("library/nothing", 0)] {
        let list = ListBlobsRequest { group_path: "acme".into(), image: image.into(), ..Default::default() };
        assert_eq!(admin.cache.list_blobs(list).await.unwrap().into_inner().blobs.len(), count, "{image}");
    }
}

#[tokio::test]
async fn pages_of_manifests_are_complete_and_in_order() {
    let plane = Plane::start().await;
    let group = plane.group("acme").await;
    let mut node = plane.node();
    for n in 0..7 {
        node.link_manifest(&group, if n % 2 == 0 { "a" } else { "a/b" }, &format!("m{n}"), "", &[]).await;
    }
    let (mut page_token, mut seen) = (String::new(), Vec::new());
    loop {
        let list = ListManifestsRequest { group_path: "acme".into(), page_size: 2, page_token, ..Default::default() };
        let page = plane.admin().cache.list_manifests(list).await.unwrap().into_inner();
        assert!(page.manifests.len() <= 2);
        seen.extend(page.manifests.into_iter().map(|m| (m.image, m.digest)));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    let mut sorted = seen.clone();
    sorted.sort();
    sorted.dedup();
    assert_eq!((seen.len(), &seen), (7, &sorted));
}

#[tokio::test]
async fn a_purge_takes_exactly_what_its_filters_select() {
    for (name, request, taken, left) in [
        ("everything", PurgeCacheRequest::whole_group("acme"), (2, 3, 3, 1130), (0, 0, 0, 0)),
        (
            "an image",
            PurgeCacheRequest::selected(PurgeFilter { image: "multi".into(), ..of_acme() }),
            (1, 2, 2, 120),
            (1, 1, 1, 1010),
        ),
        (
            "a tag",
            PurgeCacheRequest::selected(PurgeFilter { image: "one".into(), tag: "latest".into(), ..of_acme() }),
            (1, 1, 1, 10),
            (1, 2, 2, 1120),
        ),
        (
            "a platform's manifest",
            PurgeCacheRequest::selected(PurgeFilter { digest: digest("m-amd"), ..of_acme() }),
            (0, 1, 2, 110),
            (2, 2, 1, 1020),
        ),
        (
            "a blob, wherever it is",
            PurgeCacheRequest::selected(PurgeFilter { digest: digest("b-shared"), ..of_acme() }),
            (0, 0, 2, 1000),
            (2, 3, 1, 130),
        ),
        (
            "a blob of one image",
            PurgeCacheRequest::selected(PurgeFilter { image: "one".into(), digest: digest("b-shared"), ..of_acme() }),
            (0, 0, 1, 0),
            (2, 3, 2, 1130),
        ),
        (
            "an unknown image",
            PurgeCacheRequest::selected(PurgeFilter { image: "nothing".into(), ..of_acme() }),
            (0, 0, 0, 0),
            (2, 3, 2, 1130),
        ),
        (
            "a tag with another digest",
            PurgeCacheRequest::selected(PurgeFilter {
                image: "one".into(),
                tag: "latest".into(),
                digest: digest("m-amd"),
                ..of_acme()
            }),
            (0, 0, 0, 0),
            (2, 3, 2, 1130),
        ),
        (
            "what is older than it can be",
            PurgeCacheRequest::selected(PurgeFilter {
                older_than: Some(prost_types::Duration { seconds: 1, nanos: 0 }),
                ..of_acme()
            }),
            (0, 0, 0, 0),
            (2, 3, 2, 1130),
        ),
    ] {
        let plane = Plane::start().await;
        let (_, other) = shop(&plane).await;
        let dry = purge(&plane, request.clone().dry_run(true)).await;
        assert_eq!(dry, taken, "{name}, dry");
        let untouched = stats(&plane, "acme").await;
        assert_eq!((untouched.manifests, untouched.bytes), (3, 1130), "{name}: a dry run removes nothing");
        assert_eq!(purge(&plane, request.clone()).await, taken, "{name}");
        let figures = stats(&plane, "acme").await;
        let tags = tags(&plane).await;
        assert_eq!((tags, figures.manifests, figures.blobs, figures.bytes), left, "{name}: what is left");
        assert_eq!(purge(&plane, request).await, (0, 0, 0, 0), "{name}, again");
        assert!(has(&mut plane.node(), &other, "library/one", "b-shared").await, "{name}: another group's link");
    }
}

async fn tags(plane: &Plane) -> i64 {
    let list = ListManifestsRequest { group_path: "acme".into(), ..Default::default() };
    let manifests = plane.admin().cache.list_manifests(list).await.unwrap().into_inner().manifests;
    manifests.iter().map(|m| m.tags.len() as i64).sum()
}

#[tokio::test]
async fn usage_is_counted_once_and_keeps_what_was_pulled_from_an_age_purge() {
    let plane = Plane::start().await;
    let (acme, _) = shop(&plane).await;
    let mut node = plane.node();
    plane.advance(100);
    let batch = RecordUsageRequest {
        batch_id: "one".into(),
        usage: vec![
            Usage {
                repository: place(&acme, "library/multi"),
                digest: digest("m-index"),
                hits: 3,
                misses: 1,
                last_pulled_at: timestamp(START_MS + 90_000),
            },
            // A node's clock that is ahead, and content that is gone.
            Usage {
                repository: place(&acme, "library/gone"),
                digest: digest("gone"),
                hits: 1,
                misses: 0,
                last_pulled_at: timestamp(START_MS + 900_000),
            },
        ],
    };
    for _ in 0..2 {
        node.node.record_usage(batch.clone()).await.unwrap();
    }
    let figures = stats(&plane, "acme").await;
    assert_eq!((figures.hits, figures.misses), (4, 1));
    let list = ListManifestsRequest { group_path: "acme".into(), image: "multi".into(), ..Default::default() };
    let manifests = plane.admin().cache.list_manifests(list).await.unwrap().into_inner().manifests;
    let pulled = |name: &str| manifests.iter().find(|m| m.digest == digest(name)).unwrap().last_pulled_at;
    assert_eq!(pulled("m-index").map(|at| at.seconds), Some(START_MS / 1000 + 90));
    assert_eq!(pulled("m-amd"), None);
    // Older than 50 s is all but the index and what it holds.
    let old = PurgeCacheRequest::selected(PurgeFilter {
        older_than: Some(prost_types::Duration { seconds: 50, nanos: 0 }),
        ..of_acme()
    });
    assert_eq!(purge(&plane, old).await, (1, 1, 1, 10));
    assert!(has(&mut node, &acme, "library/multi", "m-amd").await);
    assert!(has(&mut node, &acme, "library/multi", "b-shared").await);
}

#[tokio::test]
async fn filters_that_cannot_be_are_refused() {
    let plane = Plane::start().await;
    plane.group("acme").await;
    for (name, bad) in [
        ("tag without image", PurgeCacheRequest::selected(PurgeFilter { tag: "latest".into(), ..of_acme() })),
        ("bad image", PurgeCacheRequest::selected(PurgeFilter { image: "Bad".into(), ..of_acme() })),
        ("bad tag", PurgeCacheRequest::selected(PurgeFilter { image: "a".into(), tag: "a b".into(), ..of_acme() })),
        ("bad digest", PurgeCacheRequest::selected(PurgeFilter { digest: "sha256:1".into(), ..of_acme() })),
        (
            "negative age",
            PurgeCacheRequest::selected(PurgeFilter {
                older_than: Some(prost_types::Duration { seconds: -1, nanos: 0 }),
                ..of_acme()
            }),
        ),
    ] {
        assert_eq!(plane.admin().cache.purge_cache(bad).await.unwrap_err().code(), Code::InvalidArgument, "{name}");
    }
    // A request that leaves its scope open is refused, so that a forgotten filter cannot purge everything.
    for (name, unsaid) in [
        ("nothing said", PurgeCacheRequest::default()),
        ("an empty filter", PurgeCacheRequest::selected(of_acme())),
        ("an empty filter without a group", PurgeCacheRequest::selected(PurgeFilter::default())),
        (
            "an empty filter of all groups",
            PurgeCacheRequest::selected(PurgeFilter { all_groups: true, ..Default::default() }),
        ),
        (
            "a filter without a group",
            PurgeCacheRequest::selected(PurgeFilter { image: "one".into(), ..Default::default() }),
        ),
        (
            "a filter of one group and of all",
            PurgeCacheRequest::selected(PurgeFilter { image: "one".into(), all_groups: true, ..of_acme() }),
        ),
    ] {
        let refused = plane.admin().cache.purge_cache(unsaid).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{name}");
    }
    let gone = PurgeCacheRequest::whole_group("gone");
    assert_eq!(plane.admin().cache.purge_cache(gone).await.unwrap_err().code(), Code::NotFound);
}

#[tokio::test]
async fn a_purge_by_upstream_or_of_all_groups_takes_that_and_counts_groups() {
    let plane = Plane::start().await;
    let (acme, other) = shop(&plane).await;
    let mut node = plane.node();
    let ghcr = UpdateUpstreamRequest::replacing("ghcr.io", "https://ghcr.io");
    plane.admin().upstreams.update_upstream(ghcr).await.unwrap();
    let set = UpdateGroupRequest {
        path: "acme".into(),
        upstreams: Some(UpstreamList { hosts: vec!["docker.io".into(), "ghcr.io".into()] }),
        ..Default::default()
    };
    plane.admin().groups.update_group(set).await.unwrap();
    let mut at_ghcr = place(&acme, "org/app").unwrap();
    at_ghcr.upstream = "ghcr.io".into();
    let link = RecordLinkRequest {
        proof: LinkProof::Fetched.into(),
        repository: Some(at_ghcr),
        link: blob("b-app", 7),
        ..Default::default()
    };
    node.node.record_link(link).await.unwrap();
    let upstream = |host: &str| PurgeFilter { upstream: host.into(), ..of_acme() };
    assert_eq!(purge(&plane, PurgeCacheRequest::selected(upstream("quay.io"))).await, (0, 0, 0, 0));
    assert_eq!(
        purge(&plane, PurgeCacheRequest::selected(PurgeFilter { image: "one".into(), ..upstream("ghcr.io") })).await,
        (0, 0, 0, 0)
    );
    assert_eq!(purge(&plane, PurgeCacheRequest::selected(upstream("ghcr.io"))).await, (0, 0, 1, 7));
    let all = PurgeCacheRequest::all_groups();
    let image =
        PurgeCacheRequest::selected(PurgeFilter { image: "one".into(), all_groups: true, ..Default::default() });
    let answer = plane.admin().cache.purge_cache(image).await.unwrap().into_inner();
    assert_eq!((answer.manifests, answer.blobs, answer.bytes, answer.groups), (1, 2, 1010, 2));
    assert!(!has(&mut node, &other, "library/one", "b-shared").await);
    assert!(has(&mut node, &acme, "library/multi", "b-shared").await);
    let answer = plane.admin().cache.purge_cache(all.clone()).await.unwrap().into_inner();
    assert_eq!((answer.tags, answer.manifests, answer.groups), (1, 2, 1));
}

#[tokio::test]
async fn two_purges_at_once_take_everything_once_between_them() {
    let plane = Plane::start().await;
    let (acme, _) = shop(&plane).await;
    let (mut one, mut two) = (plane.admin(), plane.admin());
    let (one, two) = tokio::join!(
        one.cache.purge_cache(PurgeCacheRequest::whole_group("acme")),
        two.cache.purge_cache(PurgeCacheRequest::whole_group("acme"))
    );
    let (one, two) = (one.unwrap().into_inner(), two.unwrap().into_inner());
    assert_eq!((one.manifests + two.manifests, one.blobs + two.blobs, one.bytes + two.bytes), (3, 3, 1130));
    assert_eq!(one.groups + two.groups, 1);
    assert!(!has(&mut plane.node(), &acme, "library/multi", "m-index").await);
}

#[tokio::test]
async fn a_proof_from_before_a_purge_makes_no_link_after_it_and_its_bytes_are_known_of() {
    let plane = Plane::start().await;
    let (acme, other) = (plane.group("acme").await, plane.group("other").await);
    let mut node = plane.node();
    node.link_blob(&acme, "a", "l", 10).await;
    let epoch = async |node: &mut Client, group: &Group| {
        let request = GetLinksRequest { repository: place(group, "a"), digest: digest("l") };
        node.node.get_links(request).await.unwrap().into_inner().link_epoch
    };
    let (before, of_other) = (epoch(&mut node, &acme).await, epoch(&mut node, &other).await);
    assert_eq!(purge(&plane, PurgeCacheRequest::whole_group("acme")).await, (0, 0, 1, 10));
    let late = |group: &Group, link_epoch| RecordLinkRequest {
        proof: LinkProof::Fetched.into(),
        repository: place(group, "a"),
        link: blob("late", 20),
        link_epoch,
        ..Default::default()
    };
    let answer = node.node.record_link(late(&acme, before)).await.unwrap().into_inner();
    assert!(answer.outdated && !answer.recorded);
    assert!(!has(&mut node, &acme, "a", "late").await);
    // Other groups were not purged; and whoever proves the right anew has it.
    let answer = node.node.record_link(late(&other, of_other)).await.unwrap().into_inner();
    assert!(answer.recorded && !answer.outdated);
    let now = epoch(&mut node, &acme).await;
    assert!(node.node.record_link(late(&acme, now)).await.unwrap().into_inner().recorded);
    assert!(has(&mut node, &acme, "a", "late").await);
    // What only an outdated proof came for is garbage, not forgotten.
    assert_eq!(purge(&plane, PurgeCacheRequest::whole_group("acme")).await, (0, 0, 1, 20));
    let only = RecordLinkRequest { link: blob("only", 5), ..late(&acme, now) };
    assert!(node.node.record_link(only).await.unwrap().into_inner().outdated);
    plane.advance(2 * 3600);
    let claimed = node.node.claim_garbage(ClaimGarbageRequest::default()).await.unwrap().into_inner().digests;
    assert!(claimed.contains(&digest("only")), "{claimed:?}");
}
