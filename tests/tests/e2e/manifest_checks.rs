//! Manifests from upstream: accepted ones, and others that are refused and never cached.

use bytes::Bytes;
use http::Method;
use roadstead_tests::{
    hub::{Fault, Kind, When},
    image::{DOCKER_LIST, DOCKER_MANIFEST, Format, Image, ImageBuilder, Index, OCI_INDEX, OCI_MANIFEST, pretty},
};
use serde_json::json;

use crate::open_pair;

/// 4 MiB, the most that a manifest may have.
const LIMIT: usize = 4 * 1024 * 1024;

#[tokio::test]
async fn media_types_and_bytes_are_kept_exactly() {
    let (hub, cluster) = open_pair().await;
    let docker = Image::small(1);
    let oci = ImageBuilder::new(Format::Oci).file("a", b"a").build();
    let list = Index::two_platforms(Format::Docker, 1);
    let index = Index::two_platforms(Format::Oci, 1);
    let unknown = pretty(&json!({"schemaVersion": 2, "anything": ["goes", 1.0, "é"]}));
    for (tag, media_type, body) in [
        ("docker", DOCKER_MANIFEST, &docker.manifest),
        ("oci", OCI_MANIFEST, &oci.manifest),
        ("list", DOCKER_LIST, &list.manifest),
        ("index", OCI_INDEX, &index.manifest),
        ("unknown", "application/vnd.example.thing.v3+json", &unknown),
    ] {
        let digest = hub.push_manifest("library/app", Some(tag), media_type, body.clone());
        let client = cluster.anonymous();
        for reference in [tag, tag, &digest] {
            let accept = [("accept", media_type)];
            let answer = client.ask(Method::GET, "app", &format!("manifests/{reference}"), &accept).await.expect(200);
            assert_eq!((answer.header("content-type"), &answer.body), (media_type, body), "{reference}");
            assert_eq!(answer.header("docker-content-digest"), digest);
        }
    }
}

#[tokio::test]
async fn what_is_no_manifest_is_a_502_and_not_cached() {
    let (hub, cluster) = open_pair().await;
    let image = Image::small(1);
    hub.push("library/app", "latest", &image);
    let client = cluster.anonymous();
    let too_large = {
        let filling = "x".repeat(LIMIT);
        pretty(&json!({"schemaVersion": 2, "filling": filling}))
    };
    for (what, fault) in [
        ("a web page", Fault::WebPage),
        ("not JSON", Fault::Instead(Bytes::from_static(b"not { JSON"))),
        ("over 4 MiB", Fault::Instead(too_large)),
        ("other content than its digest says", Fault::Instead(Image::small(2).manifest)),
    ] {
        for reference in ["latest", &image.digest()] {
            // Each time: after one wrong answer the node tries once more.
            hub.fault(When::get(Kind::Manifest), fault.clone());
            let refused = client.manifest("app", reference).await;
            assert_eq!(refused.status.as_u16(), 502, "{what} at {reference}: {refused:?}");
            assert!(refused.json()["errors"][0]["code"].is_string(), "{what} at {reference}");
            hub.clear_faults();
        }
        // Nothing of it was kept.
        hub.down().await;
        let uncached = client.manifest("app", &image.digest()).await;
        assert!(uncached.status.is_server_error(), "{what} was cached: {uncached:?}");
        hub.up();
    }
    assert_eq!(client.manifest("app", "latest").await.expect(200).body, image.manifest);
}

#[tokio::test]
async fn a_web_page_for_a_head_is_not_taken_for_a_manifest() {
    let (hub, cluster) = open_pair().await;
    hub.push("library/app", "latest", &Image::small(1));
    hub.fault(When::kind(Kind::Manifest), Fault::WebPage);
    let refused = cluster.anonymous().manifest("app", "latest").await;
    assert_eq!(refused.status.as_u16(), 502, "{refused:?}");
}

#[tokio::test]
async fn a_manifest_of_exactly_4_mib_is_served() {
    let (hub, cluster) = open_pair().await;
    let frame = pretty(&json!({"schemaVersion": 2, "mediaType": OCI_MANIFEST, "filling": ""}));
    let filling = "x".repeat(LIMIT - frame.len());
    let body = pretty(&json!({"schemaVersion": 2, "mediaType": OCI_MANIFEST, "filling": filling}));
    assert_eq!(body.len(), LIMIT);
    hub.push_manifest("library/app", Some("large"), OCI_MANIFEST, body.clone());
    assert_eq!(cluster.anonymous().manifest("app", "large").await.expect(200).body, body);
}

#[tokio::test]
async fn a_registry_that_refuses_head_or_names_no_digest_still_serves() {
    let (hub, cluster) = open_pair().await;
    let image = Image::small(1);
    hub.push("library/app", "latest", &image);
    let client = cluster.anonymous();
    hub.fault(When::head(Kind::Manifest), Fault::Status(405));
    for _ in 0..2 {
        assert_eq!(client.manifest("app", "latest").await.expect(200).body, image.manifest);
    }
    assert_eq!(client.head_manifest("app", "latest").await.expect(200).header("docker-content-digest"), image.digest());
    hub.clear_faults();

    let (hub, cluster) = open_pair().await;
    hub.push("library/app", "latest", &image);
    hub.fault(When::kind(Kind::Manifest), Fault::NoDigestHeader);
    let answer = cluster.anonymous().manifest("app", "latest").await.expect(200);
    assert_eq!((answer.header("docker-content-digest"), &answer.body), (image.digest().as_str(), &image.manifest));
}
