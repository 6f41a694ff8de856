//! The requests of a pull-only run of the OCI distribution-spec 1.1 conformance suite, through the proxy.

use bytes::Bytes;
use http::Method;
use roadstead_tests::{
    cluster::Cluster,
    hub::{AuthMode, Hub, HubOptions, Kind, ReferrersApi, When},
    image::{
        Format, Image, ImageBuilder, OCI_INDEX, OCI_MANIFEST, artifact, descriptor, digest, digest_sha512, pretty,
        random_bytes,
    },
};
use serde_json::json;

use crate::open_pair;

const MISSING: &str = "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

#[tokio::test]
async fn sha512_content_keeps_the_algorithm_it_was_asked_for_by() {
    let (hub, cluster) = open_pair().await;
    let blob = random_bytes(1, 10_000);
    let image = Image::small(1);
    hub.push("library/app", "latest", &image);
    hub.push_blob("library/app", blob.clone());
    let client = cluster.anonymous();
    let (wanted, manifest) = (digest_sha512(&blob), digest_sha512(&image.manifest));
    for _ in 0..2 {
        let answer = client.blob("app", &wanted).await.expect(200);
        assert_eq!((answer.header("docker-content-digest"), &answer.body), (wanted.as_str(), &blob));
        let answer = client.manifest("app", &manifest).await.expect(200);
        assert_eq!((answer.header("docker-content-digest"), &answer.body), (manifest.as_str(), &image.manifest));
    }
    let head = client.ask(Method::HEAD, "app", &format!("blobs/{wanted}"), &[]).await.expect(200);
    assert_eq!(head.header("docker-content-digest"), wanted);
    assert_eq!(hub.count(&When::get(Kind::Blob)), 1, "{}", hub.log());
    // A registry whose tag means a sha512 digest.
    hub.retag("library/app", "long", &manifest);
    let tagged = client.manifest("app", "long").await.expect(200);
    assert_eq!((tagged.header("docker-content-digest"), &tagged.body), (manifest.as_str(), &image.manifest));
}

#[tokio::test]
async fn tags_are_listed_in_pages_whose_links_lead_through_the_proxy() {
    let (hub, cluster) = open_pair().await;
    let image = Image::small(1);
    for tag in ["a", "b", "c", "d", "e"] {
        hub.push("library/app", tag, &image);
    }
    let client = cluster.anonymous();
    let name = "default/dependency_proxy/containers/app";
    let all = client.ask(Method::GET, "app", "tags/list", &[]).await.expect(200);
    assert_eq!(all.json(), json!({"name": name, "tags": ["a", "b", "c", "d", "e"]}));
    assert_eq!(all.header("link"), "");
    let after = client.ask(Method::GET, "app", "tags/list?n=2&last=c", &[]).await.expect(200);
    assert_eq!(after.json()["tags"], json!(["d", "e"]));
    let none = client.ask(Method::GET, "app", "tags/list?n=0", &[]).await.expect(200);
    assert_eq!(none.json()["tags"], json!([]));

    let (mut seen, mut next) = (Vec::new(), Some("tags/list?n=2".to_owned()));
    while let Some(rest) = next {
        let page = client.ask(Method::GET, "app", &rest, &[]).await.expect(200);
        seen.extend(page.json()["tags"].as_array().unwrap().iter().map(|tag| tag.as_str().unwrap().to_owned()));
        next = page.header("link").split_once('>').map(|(link, relation)| {
            assert!(relation.contains("rel=\"next\""), "{relation}");
            let path = link.trim_start_matches('<');
            let rest = path.split_once(&format!("/v2/{name}/")).unwrap_or_else(|| panic!("{path} leads elsewhere")).1;
            rest.to_owned()
        });
    }
    assert_eq!(seen, ["a", "b", "c", "d", "e"]);
}

#[tokio::test]
async fn referrers_are_listed_and_filtered_whatever_upstream_can_do() {
    for api in [ReferrersApi::Filtering, ReferrersApi::Unfiltered] {
        let hub = Hub::start_with(HubOptions { auth: AuthMode::Open, referrers: api, ..HubOptions::default() }).await;
        let cluster = Cluster::start(&hub).await;
        let subject = Image::small(1);
        hub.push("library/app", "latest", &subject);
        let signature = hub.push_manifest("library/app", None, OCI_MANIFEST, artifact("example/signature", &subject));
        let report = hub.push_manifest("library/app", None, OCI_MANIFEST, artifact("example/report", &subject));
        let client = cluster.anonymous();
        let rest = format!("referrers/{}", subject.digest());
        let all = client.ask(Method::GET, "app", &rest, &[]).await.expect(200);
        assert_eq!(all.header("content-type"), OCI_INDEX);
        let mut listed: Vec<String> = digests(&all.json());
        listed.sort();
        let mut wanted = [signature.clone(), report];
        wanted.sort();
        assert_eq!(listed, wanted, "{api:?}");
        let filtered =
            client.ask(Method::GET, "app", &format!("{rest}?artifactType=example%2Fsignature"), &[]).await.expect(200);
        if api == ReferrersApi::Filtering || filtered.header("oci-filters-applied") == "artifactType" {
            assert_eq!(filtered.header("oci-filters-applied"), "artifactType");
            assert_eq!(digests(&filtered.json()), vec![signature.clone()], "{api:?}");
        } else {
            assert!(digests(&filtered.json()).contains(&signature), "{api:?}");
        }
        let nothing = client.ask(Method::GET, "app", &format!("referrers/{MISSING}"), &[]).await.expect(200);
        assert_eq!(nothing.json()["manifests"], json!([]));
    }
}

#[tokio::test]
async fn referrers_fall_back_to_the_tag_schema() {
    let options = HubOptions { auth: AuthMode::Open, referrers: ReferrersApi::Absent, ..HubOptions::default() };
    let hub = Hub::start_with(options).await;
    let cluster = Cluster::start(&hub).await;
    let subject = Image::small(1);
    hub.push("library/app", "latest", &subject);
    let body = artifact("example/signature", &subject);
    let signature = hub.push_manifest("library/app", None, OCI_MANIFEST, body.clone());
    let mut entry = descriptor(OCI_MANIFEST, &body);
    entry["artifactType"] = json!("example/signature");
    let index = pretty(&json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [entry]}));
    hub.push_manifest("library/app", Some(&subject.digest().replace(':', "-")), OCI_INDEX, index);
    let client = cluster.anonymous();
    let rest = format!("referrers/{}", subject.digest());
    let listed = client.ask(Method::GET, "app", &rest, &[]).await.expect(200);
    assert_eq!((listed.header("content-type"), digests(&listed.json())), (OCI_INDEX, vec![signature]));
    let other = client.ask(Method::GET, "app", &format!("{rest}?artifactType=example%2Fother"), &[]).await.expect(200);
    assert_eq!(digests(&other.json()), [""; 0], "the fallback is filtered by us");
    let nothing = client.ask(Method::GET, "app", &format!("referrers/{MISSING}"), &[]).await.expect(200);
    assert_eq!(nothing.json()["manifests"], json!([]));
}

fn digests(index: &serde_json::Value) -> Vec<String> {
    let entries = index["manifests"].as_array().unwrap();
    entries.iter().map(|entry| entry["digest"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn what_is_not_there_is_404_with_the_right_code() {
    let (hub, cluster) = open_pair().await;
    hub.push("library/app", "latest", &Image::small(1));
    let client = cluster.anonymous();
    client.manifest("app", "nosuchtag").await.expect_error(404, "MANIFEST_UNKNOWN");
    client.manifest("app", MISSING).await.expect_error(404, "MANIFEST_UNKNOWN");
    client.blob("app", MISSING).await.expect_error(404, "BLOB_UNKNOWN");
    for method in [Method::GET, Method::HEAD] {
        for rest in ["manifests/nosuchtag", &format!("manifests/{MISSING}"), &format!("blobs/{MISSING}")] {
            client.ask(method.clone(), "app", rest, &[]).await.expect(404);
        }
        client.ask(method.clone(), "nosuchimage", "manifests/latest", &[]).await.expect(404);
    }
    client.ask(Method::GET, "nosuchimage", "tags/list", &[]).await.expect_error(404, "NAME_UNKNOWN");
    let malformed = client.ask(Method::GET, "app", "blobs/sha256:12", &[]).await;
    assert_eq!(
        (malformed.status.as_u16(), malformed.json()["errors"][0]["code"].clone()),
        (400, json!("DIGEST_INVALID"))
    );
    // A tag that upstream has no longer is gone here too.
    client.manifest("app", "latest").await.expect(200);
    hub.untag("library/app", "latest");
    client.manifest("app", "latest").await.expect_error(404, "MANIFEST_UNKNOWN");
}

#[tokio::test]
async fn every_accept_line_is_considered() {
    let (hub, cluster) = open_pair().await;
    let oci = ImageBuilder::new(Format::Oci).file("a", b"a").build();
    hub.push("library/app", "latest", &oci);
    let client = cluster.anonymous();
    let lines = [
        ("accept", "application/vnd.example.first+json"),
        ("accept", "text/plain, application/vnd.oci.image.manifest.v1+json"),
    ];
    for reference in ["latest", &oci.digest()] {
        let answer = client.ask(Method::GET, "app", &format!("manifests/{reference}"), &lines).await.expect(200);
        assert_eq!(answer.header("content-type"), OCI_MANIFEST);
    }
    let thing = "application/vnd.example.first+json";
    hub.push_manifest("library/app", Some("thing"), thing, Bytes::from_static(b"{\"schemaVersion\": 2}"));
    let answer = client.ask(Method::GET, "app", "manifests/thing", &lines).await.expect(200);
    assert_eq!(answer.header("content-type"), thing);
}

#[tokio::test]
async fn head_works_on_manifests_and_blobs_and_the_api_version_is_answered() {
    let (hub, cluster) = open_pair().await;
    let image = Image::small(1);
    hub.push("library/app", "latest", &image);
    let client = cluster.anonymous();
    let layer = digest(&image.layers[0]);
    for _ in 0..2 {
        let head = client.ask(Method::HEAD, "app", &format!("blobs/{layer}"), &[]).await.expect(200);
        assert_eq!(head.header("content-length"), image.layers[0].len().to_string());
        assert_eq!(head.header("docker-content-digest"), layer);
        // The second round asks about a blob that is stored.
        if hub.count(&When::get(Kind::Blob)) == 0 {
            client.blob("app", &layer).await.expect(200);
        }
    }
    let ping = client.request(Method::GET, "app", "tags/list").await.build().unwrap();
    let token = ping.headers()["authorization"].to_str().unwrap().to_owned();
    let http = roadstead_tests::client::http();
    let request = http.get(format!("{}/v2/", cluster.url())).header("authorization", token);
    let pong = roadstead_tests::client::read(request.send().await).await.unwrap().expect(200);
    assert_eq!(pong.header("docker-distribution-api-version"), "registry/2.0");
}
