//! Pulls by tag and the links they leave, as a node asks for them.

use roadstead_proto::time::{duration_seconds, seconds};
use roadstead_proto::{
    node::v1::{
        GetLinksRequest, GetLinksResponse, LinkProof, RecordLinkRequest, RefusalReason, ReportTagRequest,
        ResolveTagRequest, StaleReason, TagFound, TagNotFound, TagRateLimited, TagRefused, TagUnavailable,
        UpstreamOutcome, report_tag_response::Decision as Reported, resolve_tag_response::Decision as Resolved,
        upstream_outcome::Outcome,
    },
    v1::{Group, ListManifestsRequest, PurgeCacheRequest, UpdateGroupRequest},
};
use tonic::Code;

use crate::harness::{Client, Plane, blob, digest, manifest, place};

async fn resolve(node: &mut Client, group: &Group, tag: &str) -> Resolved {
    let request =
        ResolveTagRequest { repository: place(group, "library/alpine"), tag: tag.into(), node_id: String::new() };
    node.node.resolve_tag(request).await.unwrap().into_inner().decision.unwrap()
}

async fn report(node: &mut Client, group: &Group, tag: &str, outcome: Outcome) -> Reported {
    let request = ReportTagRequest {
        repository: place(group, "library/alpine"),
        tag: tag.into(),
        outcome: Some(UpstreamOutcome { outcome: Some(outcome) }),
    };
    node.node.report_tag(request).await.unwrap().into_inner().decision.unwrap()
}

fn found(name: &str) -> Outcome {
    Outcome::Found(TagFound { digest: digest(name) })
}

fn down() -> Outcome {
    Outcome::Unavailable(TagUnavailable { kind: "connect".into(), retry_after: None })
}

async fn links(node: &mut Client, group: &Group, repository: &str, name: &str) -> GetLinksResponse {
    let request = GetLinksRequest { repository: place(group, repository), digest: digest(name) };
    node.node.get_links(request).await.unwrap().into_inner()
}

async fn link(node: &mut Client, group: &Group, name: &str, tag: &str, refers_to: &[&str]) {
    assert!(node.link_manifest(group, "library/alpine", name, tag, refers_to).await.recorded);
}

#[tokio::test]
async fn a_first_pull_asks_fetches_and_records_and_a_second_one_is_served_after_one_check() {
    let plane = Plane::start().await;
    let group = plane.group("acme").await;
    let mut node = plane.node();
    let Resolved::Revalidate(ask) = resolve(&mut node, &group, "latest").await else { panic!() };
    assert_eq!(ask.cached_digest, "");
    assert!(matches!(report(&mut node, &group, "latest", found("m1")).await, Reported::Fetch(_)));
    node.link_blob(&group, "library/alpine", "layer", 100).await;
    link(&mut node, &group, "m1", "latest", &["layer", "config"]).await;
    plane.advance(30);
    let Resolved::Revalidate(ask) = resolve(&mut node, &group, "latest").await else { panic!() };
    assert_eq!(ask.cached_digest, digest("m1"));
    let Reported::Serve(serve) = report(&mut node, &group, "latest", found("m1")).await else { panic!() };
    assert_eq!(serve.manifest, manifest("m1", 10));
    assert_eq!(
        (duration_seconds(serve.age), serve.stale(), serve.link_epoch),
        (0, StaleReason::Unspecified, group_epoch(&group, &mut node).await)
    );
    // The config was never linked: a reference is not a right.
    assert_eq!(serve.referenced, vec![blob("layer", 100).unwrap()]);
}

async fn group_epoch(group: &Group, node: &mut Client) -> i64 {
    links(node, group, "library/alpine", "anything").await.link_epoch
}

#[tokio::test]
async fn trouble_upstream_serves_the_old_digest_with_its_age_even_when_a_new_one_was_seen() {
    let plane = Plane::start().await;
    let group = plane.group("acme").await;
    let mut node = plane.node();
    link(&mut node, &group, "m1", "latest", &[]).await;
    plane.advance(60);
    assert!(matches!(report(&mut node, &group, "latest", found("m2")).await, Reported::Fetch(_)));
    plane.advance(5);
    let Reported::Serve(serve) = report(&mut node, &group, "latest", down()).await else { panic!() };
    assert_eq!(serve.manifest.unwrap().digest, digest("m1"));
    assert_eq!((duration_seconds(serve.age), serve.stale), (65, StaleReason::UpstreamUnavailable.into()));
    let limited = Outcome::RateLimited(TagRateLimited { retry_after: seconds(9) });
    let Reported::Serve(serve) = report(&mut node, &group, "latest", limited.clone()).await else { panic!() };
    assert_eq!(serve.stale(), StaleReason::RateLimited);
    let Reported::Refuse(refuse) = report(&mut node, &group, "other", limited).await else { panic!() };
    assert_eq!((refuse.reason(), duration_seconds(refuse.retry_after)), (RefusalReason::RateLimited, 9));
    assert!(refuse.message.contains("docker.io/library/alpine:other"), "{}", refuse.message);
    let Reported::Refuse(refuse) = report(&mut node, &group, "other", down()).await else { panic!() };
    assert_eq!(refuse.reason(), RefusalReason::UpstreamUnavailable);
}

#[tokio::test]
async fn upstreams_word_is_final_and_only_404_forgets_the_tag() {
    let plane = Plane::start().await;
    let group = plane.group("acme").await;
    let mut node = plane.node();
    link(&mut node, &group, "m1", "latest", &[]).await;
    for (status, reason) in [(401, RefusalReason::UpstreamUnauthorized), (403, RefusalReason::UpstreamForbidden)] {
        let refused = Outcome::Refused(TagRefused { status });
        let Reported::Refuse(refuse) = report(&mut node, &group, "latest", refused).await else { panic!() };
        assert_eq!(refuse.reason(), reason);
        assert!(matches!(report(&mut node, &group, "latest", down()).await, Reported::Serve(_)));
    }
    let gone = Outcome::NotFound(TagNotFound {});
    let Reported::Refuse(refuse) = report(&mut node, &group, "latest", gone).await else { panic!() };
    assert_eq!(refuse.reason(), RefusalReason::NotFound);
    assert!(matches!(report(&mut node, &group, "latest", down()).await, Reported::Refuse(_)));
}

#[tokio::test]
async fn a_tag_that_was_only_looked_at_becomes_cached_when_its_manifest_is_pulled_by_digest() {
    let plane = Plane::start().await;
    let group = plane.group("acme").await;
    let mut node = plane.node();
    // Docker: HEAD by tag, then GET by digest.
    assert!(matches!(report(&mut node, &group, "latest", found("m1")).await, Reported::Fetch(_)));
    assert!(matches!(report(&mut node, &group, "3", found("m1")).await, Reported::Fetch(_)));
    link(&mut node, &group, "m1", "", &[]).await;
    for tag in ["latest", "3"] {
        assert!(matches!(report(&mut node, &group, tag, down()).await, Reported::Serve(_)), "{tag}");
    }
}

#[tokio::test]
async fn max_age_frozen_and_switched_off_groups_do_not_ask_upstream() {
    let plane = Plane::start().await;
    let group = plane.group("acme").await;
    let mut node = plane.node();
    link(&mut node, &group, "m1", "latest", &[]).await;
    let update = |request| {
        let mut admin = plane.admin();
        async move { admin.groups.update_group(request).await.unwrap() }
    };
    let base = || UpdateGroupRequest { path: "acme".into(), ..Default::default() };
    update(UpdateGroupRequest { max_age: Some(prost_types::Duration { seconds: 60, nanos: 0 }), ..base() }).await;
    plane.advance(59);
    let Resolved::Serve(serve) = resolve(&mut node, &group, "latest").await else { panic!() };
    assert_eq!((duration_seconds(serve.age), serve.stale()), (59, StaleReason::Unspecified));
    plane.advance(1);
    assert!(matches!(resolve(&mut node, &group, "latest").await, Resolved::Revalidate(_)));
    update(UpdateGroupRequest { frozen: Some(true), ..base() }).await;
    let Resolved::Serve(serve) = resolve(&mut node, &group, "latest").await else { panic!() };
    assert_eq!(serve.stale(), StaleReason::Frozen);
    let Resolved::Refuse(refuse) = resolve(&mut node, &group, "other").await else { panic!() };
    assert_eq!(refuse.reason(), RefusalReason::Frozen);
    update(UpdateGroupRequest { enabled: Some(false), ..base() }).await;
    let Resolved::Refuse(refuse) = resolve(&mut node, &group, "latest").await else { panic!() };
    assert_eq!(refuse.reason(), RefusalReason::GroupUnavailable);
}

#[tokio::test]
async fn an_upstream_that_the_group_may_not_use_any_more_serves_nothing_by_tag() {
    let plane = Plane::start().await;
    let group = plane.group("acme").await;
    let mut place = place(&group, "a").unwrap();
    place.upstream = "quay.io".into();
    let request = ResolveTagRequest { repository: Some(place), tag: "latest".into(), node_id: String::new() };
    let answer = plane.node().node.resolve_tag(request).await.unwrap().into_inner().decision.unwrap();
    assert!(matches!(answer, Resolved::Refuse(r) if r.reason() == RefusalReason::GroupUnavailable));
}

#[tokio::test]
async fn a_link_is_one_groups_right_to_one_repository_and_nobody_elses() {
    let plane = Plane::start().await;
    let (acme, other) = (plane.group("acme").await, plane.group("other").await);
    let mut node = plane.node();
    node.link_blob(&acme, "private/app", "layer", 5).await;
    node.link_manifest(&acme, "private/app", "m1", "latest", &["layer"]).await;
    assert_eq!(links(&mut node, &acme, "private/app", "m1").await.referenced, vec![blob("layer", 5).unwrap()]);
    for (group, repository) in [(&other, "private/app"), (&acme, "library/alpine"), (&other, "library/alpine")] {
        for name in ["m1", "layer"] {
            assert_eq!(
                links(&mut node, group, repository, name).await.link,
                None,
                "{} {repository} {name}",
                group.path
            );
        }
    }
    // The other group proves a right to the manifest alone; the layer it refers to is still not the group's.
    node.link_manifest(&other, "private/app", "m1", "latest", &["layer"]).await;
    let found = links(&mut node, &other, "private/app", "m1").await;
    assert!(found.link.is_some() && found.referenced.is_empty());
    assert_eq!(links(&mut node, &other, "private/app", "layer").await.link, None);
}

#[tokio::test]
async fn the_media_type_is_kept_and_a_manifest_stays_one_however_it_is_pulled() {
    let plane = Plane::start().await;
    let group = plane.group("acme").await;
    let mut node = plane.node();
    node.link_blob(&group, "a", "m1", 10).await;
    node.link_manifest(&group, "a", "m1", "", &[]).await;
    node.link_blob(&group, "a", "m1", 10).await;
    assert_eq!(links(&mut node, &group, "a", "m1").await.link, manifest("m1", 10));
}

#[tokio::test]
async fn each_group_keeps_the_media_type_that_its_own_upstream_gave() {
    let plane = Plane::start().await;
    let (acme, other) = (plane.group("acme").await, plane.group("other").await);
    let mut node = plane.node();
    let as_type = |media_type: &str| {
        manifest("m1", 10).map(|link| roadstead_proto::node::v1::Link { media_type: media_type.into(), ..link })
    };
    for (group, media_type, acme_has, other_has) in [
        (&acme, "text/html", as_type("text/html"), None),
        (&other, "a/b", as_type("text/html"), as_type("a/b")),
        (&acme, "c/d", as_type("c/d"), as_type("a/b")),
    ] {
        let request = RecordLinkRequest {
            proof: LinkProof::Fetched.into(),
            repository: place(group, "a"),
            link: as_type(media_type),
            ..Default::default()
        };
        node.node.record_link(request).await.unwrap();
        assert_eq!(links(&mut node, &acme, "a", "m1").await.link, acme_has);
        assert_eq!(links(&mut node, &other, "a", "m1").await.link, other_has);
    }
    // So it is for what an index refers to, and in the lists.
    let index = node.link_manifest(&other, "a", "m-index", "", &["m1"]).await;
    assert_eq!(index.referenced, [as_type("a/b").unwrap()]);
    for (group, expected) in [("acme", "c/d"), ("other", "a/b")] {
        let request = ListManifestsRequest { group_path: group.into(), ..Default::default() };
        let listed = plane.admin().cache.list_manifests(request).await.unwrap().into_inner().manifests;
        let listed = listed.into_iter().find(|listed| listed.digest == digest("m1")).unwrap();
        assert_eq!(listed.media_type, expected);
    }
}

#[tokio::test]
async fn a_head_links_only_content_that_was_fetched_from_the_same_upstream() {
    let plane = Plane::start().await;
    let (acme, other) = (plane.group("acme").await, plane.group("other").await);
    let mut node = plane.node();
    let at = |group: &Group, upstream: &str| {
        place(group, "a").map(|place| roadstead_proto::node::v1::RepositoryRef { upstream: upstream.into(), ..place })
    };
    let record = |group: &Group, upstream: &str, proof: LinkProof| RecordLinkRequest {
        proof: proof.into(),
        repository: at(group, upstream),
        link: blob("layer", 5),
        ..Default::default()
    };
    let asked = |upstream: &str| GetLinksRequest { repository: at(&other, upstream), digest: digest("layer") };
    // Nobody has fetched it: no HEAD is a proof.
    assert!(node.node.record_link(record(&other, "docker.io", LinkProof::Head)).await.unwrap().into_inner().unproven);
    node.node.record_link(record(&acme, "docker.io", LinkProof::Fetched)).await.unwrap();
    let evil = node.node.record_link(record(&other, "evil.example", LinkProof::Head)).await.unwrap().into_inner();
    assert!(evil.unproven && !evil.recorded);
    let found = node.node.get_links(asked("evil.example")).await.unwrap().into_inner();
    assert!(found.link.is_none() && !found.from_upstream);
    assert!(node.node.get_links(asked("docker.io")).await.unwrap().into_inner().from_upstream);
    assert!(node.node.record_link(record(&other, "docker.io", LinkProof::Head)).await.unwrap().into_inner().recorded);
    // Fetched from there, too, it has both sources.
    node.node.record_link(record(&other, "evil.example", LinkProof::Fetched)).await.unwrap();
    for upstream in ["docker.io", "evil.example"] {
        let again = node.node.record_link(record(&acme, upstream, LinkProof::Head)).await.unwrap().into_inner();
        assert!(again.recorded, "{upstream}");
    }
    let missing = RecordLinkRequest { proof: 0, ..record(&acme, "docker.io", LinkProof::Head) };
    assert_eq!(node.node.record_link(missing).await.unwrap_err().code(), Code::InvalidArgument);
}

#[tokio::test]
async fn a_purge_moves_the_epoch_that_answers_carry() {
    let plane = Plane::start().await;
    let group = plane.group("acme").await;
    let mut node = plane.node();
    let recorded = node.link_blob(&group, "a", "layer", 5).await;
    let before = links(&mut node, &group, "a", "layer").await;
    assert_eq!(before.link_epoch, recorded.link_epoch);
    let purge = || PurgeCacheRequest::whole_group("acme");
    plane.admin().cache.purge_cache(purge()).await.unwrap();
    let after = links(&mut node, &group, "a", "layer").await;
    assert!(after.link.is_none() && after.link_epoch > before.link_epoch);
    plane.admin().cache.purge_cache(purge()).await.unwrap();
    assert_eq!(links(&mut node, &group, "a", "layer").await.link_epoch, after.link_epoch, "nothing was removed");
}

#[tokio::test]
async fn what_a_node_sends_is_checked() {
    let plane = Plane::start().await;
    let group = plane.group("acme").await;
    let mut node = plane.node();
    let good = || RecordLinkRequest {
        proof: LinkProof::Fetched.into(),
        repository: place(&group, "a"),
        link: blob("x", 1),
        ..Default::default()
    };
    let link = || blob("x", 1).unwrap();
    for (name, request) in [
        ("no repository", RecordLinkRequest { repository: None, ..good() }),
        ("no link", RecordLinkRequest { link: None, ..good() }),
        (
            "bad digest",
            RecordLinkRequest {
                link: Some(roadstead_proto::node::v1::Link { digest: "x".into(), ..link() }),
                ..good()
            },
        ),
        (
            "bad size",
            RecordLinkRequest { link: Some(roadstead_proto::node::v1::Link { size_bytes: -1, ..link() }), ..good() },
        ),
        ("no kind", RecordLinkRequest { link: Some(roadstead_proto::node::v1::Link { kind: 0, ..link() }), ..good() }),
        ("bad tag", RecordLinkRequest { tag: "a b".into(), ..good() }),
        ("bad repository", RecordLinkRequest { repository: place(&group, "../a"), ..good() }),
    ] {
        assert_eq!(node.node.record_link(request).await.unwrap_err().code(), Code::InvalidArgument, "{name}");
    }
    let gone = Group { id: "gone".into(), ..group.clone() };
    let request = RecordLinkRequest { repository: place(&gone, "a"), ..good() };
    assert_eq!(node.node.record_link(request).await.unwrap_err().code(), Code::NotFound);
}
