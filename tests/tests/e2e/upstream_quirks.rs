//! Answers of real registries, balancers and boxes between that differ from the specification.

use bytes::Bytes;
use http::Method;
use roadstead_tests::{
    cluster::Cluster,
    hub::{AuthMode, Fault, Gate, Hub, HubOptions, Kind, When},
    image::{Format, Image, Index, OCI_INDEX, OCI_MANIFEST, gzip, random_bytes},
};

use crate::{open_pair, soon};

#[tokio::test]
async fn where_head_says_no_get_decides() {
    let (hub, cluster) = open_pair().await;
    let client = cluster.anonymous();
    let statuses =
        [400, 401, 403, 404, 405, 406, 408, 410, 411, 412, 451, 500, 501, 502, 503, 504, 204, 206].map(Fault::Status);
    let others = [
        Fault::Reset,
        Fault::NoDigestHeader,
        Fault::Reply(200, vec![("content-length", "0".to_owned())], Bytes::new()),
        Fault::WebPage,
        Fault::WithHeader("docker-content-digest", format!("sha256:{}", "0".repeat(64))),
    ];
    for (number, fault) in statuses.into_iter().chain(others).enumerate() {
        let (name, image) = (format!("app{number}"), Image::small(number as u64));
        let repository = format!("library/{name}");
        hub.push(&repository, "latest", &image);
        let blob = random_bytes(number as u64, 1000);
        let wanted = hub.push_blob(&repository, blob.clone());
        hub.fault(When::head(Kind::Manifest), fault.clone());
        hub.fault(When::head(Kind::Blob), fault.clone());
        client.token(&name).await;
        hub.forget_requests();
        assert_eq!(client.manifest(&name, "latest").await.expect(200).body, image.manifest, "{fault:?}");
        let (heads, gets) = (hub.count(&When::head(Kind::Manifest)), hub.count(&When::get(Kind::Manifest)));
        // What may be a broken connection, or a balancer without a server behind it, is tried twice.
        let is_tried_twice = matches!(fault, Fault::Reset | Fault::Status(502..=504));
        let has_moved = matches!(fault, Fault::WithHeader(..));
        let expected = (1 + usize::from(is_tried_twice), 1 + usize::from(has_moved));
        assert_eq!((heads, gets), expected, "{fault:?}:\n{}", hub.log());
        // The tag is found to have moved, however often a HEAD fails.
        for turn in 0..7 {
            let newer = Image::small(1000 + number as u64 * 10 + turn);
            hub.push(&repository, "latest", &newer);
            let pulled = client.manifest(&name, "latest").await.expect(200);
            assert_eq!(pulled.body, newer.manifest, "{fault:?} {turn}: {}:\n{}", pulled.cache(), hub.log());
        }
        let head = client.ask(Method::HEAD, &name, &format!("blobs/{wanted}"), &[]).await.expect(200);
        assert_eq!(head.header("content-length"), "1000", "{fault:?}");
        assert_eq!(client.blob(&name, &wanted).await.expect(200).body, blob);
        hub.clear_faults();
    }
    hub.push("library/app", "latest", &Image::small(50));
    client.manifest("app", "gone").await.expect_error(404, "MANIFEST_UNKNOWN");
}

#[tokio::test]
async fn a_host_that_is_down_is_asked_by_no_more_gets_than_heads() {
    let (hub, cluster) = open_pair().await;
    let client = cluster.anonymous();
    hub.push("library/app", "latest", &Image::small(1));
    client.manifest("app", "latest").await.expect(200);
    for (says_when, gets) in [(true, 0), (false, 2)] {
        let headers = says_when.then(|| ("retry-after", "1".to_owned())).into_iter().collect();
        hub.fault(When::any(), Fault::Reply(503, headers, Bytes::new()));
        hub.forget_requests();
        assert_eq!(client.manifest("app", "latest").await.expect(200).cache(), "stale");
        assert_eq!(hub.count(&When::get(Kind::Manifest)), gets, "{}", hub.log());
        hub.clear_faults();
    }
    hub.fault(When::any(), Fault::Status(503));
    hub.forget_requests();
    for number in 0..40 {
        client.manifest("app", &format!("cold{number}")).await.expect(503);
        assert_eq!(client.manifest("app", "latest").await.expect(200).cache(), "stale");
    }
    let (heads, gets) = (hub.count(&When::head(Kind::Manifest)), hub.count(&When::get(Kind::Manifest)));
    assert!(gets <= heads && heads <= 12, "{heads} HEADs, {gets} GETs:\n{}", hub.log());
}

#[tokio::test]
async fn a_head_without_a_length_is_answered_with_that_of_the_get() {
    let (hub, cluster) = open_pair().await;
    let (client, blob) = (cluster.anonymous(), random_bytes(1, 5000));
    hub.push("library/app", "latest", &Image::small(1));
    let wanted = hub.push_blob("library/app", blob);
    client.token("app").await;
    hub.fault(When::head(Kind::Blob), Fault::NoLength);
    hub.forget_requests();
    let head = client.ask(Method::HEAD, "app", &format!("blobs/{wanted}"), &[]).await.expect(200);
    assert_eq!(head.header("content-length"), "5000");
    assert_eq!((hub.count(&When::head(Kind::Blob)), hub.count(&When::get(Kind::Blob))), (1, 1), "{}", hub.log());
    hub.fault(When::get(Kind::Blob), Fault::NoLength);
    client.ask(Method::HEAD, "app", &format!("blobs/{wanted}"), &[]).await.expect(200);
}

#[tokio::test]
async fn a_tag_that_moves_between_head_and_get_is_pulled() {
    let (hub, cluster) = open_pair().await;
    let (old, new) = (Image::small(1), Image::small(2));
    hub.push("library/app", "latest", &old);
    let (client, gate) = (cluster.anonymous(), Gate::closed());
    let of_old = When::get(Kind::Manifest).at(&old.digest());
    hub.fault(of_old.clone(), Fault::HoldAnswer(gate.clone()));
    hub.fault(of_old.clone(), Fault::Status(404));
    let (pulled, ()) = tokio::join!(client.manifest("app", "latest"), async {
        hub.wait_for(&of_old, 1).await;
        hub.push("library/app", "latest", &new);
        gate.open();
    });
    assert_eq!(pulled.expect(200).body, new.manifest);
    assert_eq!(
        (hub.count(&When::head(Kind::Manifest)), hub.count(&When::get(Kind::Manifest))),
        (1, 2),
        "{}",
        hub.log()
    );
}

#[tokio::test]
async fn credentials_are_used_where_only_the_root_asks_for_them() {
    for status in [401, 403, 404] {
        let hub = Hub::start_with(HubOptions { auth: AuthMode::Basic, ..HubOptions::default() }).await;
        hub.add_user("alice", "alices-password");
        hub.push("library/app", "latest", &Image::small(1));
        hub.make_private("library/app", &["alice"]);
        let cluster = Cluster::start(&hub).await;
        let login = ["upstream", "login", "default", "docker.io", "--username", "alice", "--password-stdin"];
        cluster.cli_with_input(&login, "alices-password").await.ok();
        hub.push("library/warm", "latest", &Image::small(2));
        let client = cluster.anonymous();
        // The credentials reach the node a moment later.
        soon(200, || client.manifest("warm", "latest")).await;
        let bare = When::kind(Kind::Manifest).of("library/app").without("authorization");
        hub.fault(bare, Fault::Reply(status, Vec::new(), Bytes::new()));
        client.token("app").await;
        hub.forget_requests();
        client.manifest("app", "latest").await.expect(200);
        let counts =
            [When::head(Kind::Manifest), When::kind(Kind::Ping), When::get(Kind::Manifest)].map(|it| hub.count(&it));
        assert_eq!(counts, [2, 1, 1], "{status}:\n{}", hub.log());
        hub.forget_requests();
        assert_eq!(client.manifest("app", "latest").await.expect(200).cache(), "revalidated");
        assert_eq!(hub.count(&When::any()), 1, "{}", hub.log());
    }
}

#[tokio::test]
async fn manifests_with_parts_that_are_not_understood_are_passed_on_and_cached() {
    let (hub, cluster) = open_pair().await;
    let client = cluster.anonymous();
    for (number, document) in [
        r#"{"schemaVersion":2,"mediaType":"MANIFEST","config":{},"layers":null}"#,
        r#"{"schemaVersion":2,"mediaType":"MANIFEST","config":null,"layers":[null]}"#,
        r#"{"schemaVersion":2,"mediaType":"INDEX","manifests":null}"#,
        r#"{"schemaVersion":2,"manifests":[{"digest":"x","size":"1","platform":{"os":null,"architecture":7}}]}"#,
        r#"{"schemaVersion":2,"layers":"many","unknown":{"deep":[1,2]}}"#,
    ]
    .into_iter()
    .enumerate()
    {
        let body = Bytes::from(document.replace("MANIFEST", OCI_MANIFEST).replace("INDEX", OCI_INDEX));
        let tag = format!("v{number}");
        let digest = hub.push_manifest("library/app", Some(&tag), OCI_MANIFEST, body.clone());
        assert_eq!(client.manifest("app", &tag).await.expect(200).body, body, "{document}");
        hub.forget_requests();
        assert_eq!(client.manifest("app", &digest).await.expect(200).cache(), "hit", "{document}");
        assert_eq!(hub.count(&When::any()), 0, "{}", hub.log());
    }
    for foreign in [r#"{"Code":"Success","AccessKeyId":"x"}"#, "[]", "no JSON"] {
        hub.push_manifest("library/app", Some("foreign"), OCI_MANIFEST, foreign.into());
        client.manifest("app", "foreign").await.expect_error(502, "MANIFEST_INVALID");
    }
}

#[tokio::test]
async fn accept_is_honoured_cold_as_when_warm() {
    let (hub, cluster) = open_pair().await;
    let client = cluster.anonymous();
    let single = [("accept", OCI_MANIFEST)];
    let mut answers = Vec::new();
    for warm in [false, true] {
        let name = format!("app{warm}");
        let index = Index::new(Format::Oci, vec![Image::small(1), Image::small(2)]);
        hub.push_index(&format!("library/{name}"), "latest", &index);
        if warm {
            client.manifest(&name, "latest").await.expect(200);
        }
        let answer = client.ask(Method::GET, &name, "manifests/latest", &single).await;
        answers.push((
            answer.status,
            answer.header("content-type").to_owned(),
            answer.header("docker-content-digest").to_owned(),
        ));
        assert_ne!(answer.header("content-type"), OCI_INDEX, "{answer:?}");
    }
    assert_eq!(answers[0], answers[1]);
}

#[tokio::test]
async fn a_refused_resumption_leads_to_the_whole_blob() {
    let (hub, cluster) = open_pair().await;
    let client = cluster.anonymous();
    hub.push("library/app", "latest", &Image::small(1));
    for (number, fault, gets) in [
        (1, Fault::Status(416), 3),
        (2, Fault::NoRange, 2),
        (
            3,
            Fault::Reply(
                206,
                vec![("content-range", "bytes 0-9/2000000".to_owned())],
                Bytes::from_static(b"0123456789"),
            ),
            3,
        ),
        (4, Fault::Status(403), 4),
    ] {
        let blob = random_bytes(number, 2_000_000);
        let wanted = hub.push_blob("library/app", blob.clone());
        hub.forget_requests();
        hub.fault_times(When::get(Kind::Blob), Fault::CutAt(700_000), 1);
        hub.fault(When::get(Kind::Blob).with("range"), fault.clone());
        assert_eq!(client.blob("app", &wanted).await.expect(200).body, blob, "{fault:?}");
        assert_eq!(hub.count(&When::get(Kind::Blob)), gets, "{fault:?}:\n{}", hub.log());
        hub.clear_faults();
    }
}

#[tokio::test]
async fn a_body_of_unknown_length_that_ends_early_is_gone_on_with() {
    let (hub, cluster) = open_pair().await;
    let (client, blob) = (cluster.anonymous(), random_bytes(3, 2_000_000));
    hub.push("library/app", "latest", &Image::small(1));
    let wanted = hub.push_blob("library/app", blob.clone());
    // What is sent first looks whole, and is not.
    let half = Fault::Instead(blob.slice(..900_000));
    hub.fault_times(When::get(Kind::Blob), half, 1);
    hub.fault_times(When::get(Kind::Blob), Fault::NoLength, 1);
    client.token("app").await;
    hub.forget_requests();
    assert_eq!(client.blob("app", &wanted).await.expect(200).body, blob);
    let asked: Vec<_> = hub.requests(&When::get(Kind::Blob)).iter().map(|request| request.status()).collect();
    assert_eq!(asked, [200, 206], "{}", hub.log());
    // What is wrong stays wrong: one more request shows that it ends there.
    let wrong = hub.push_blob("library/app", random_bytes(4, 1000));
    hub.fault(When::get(Kind::Blob), Fault::Instead(random_bytes(5, 1000)));
    hub.fault(When::get(Kind::Blob), Fault::NoLength);
    hub.forget_requests();
    assert!(client.try_blob("app", &wrong).await.is_err() || hub.count(&When::get(Kind::Blob)) <= 2);
    assert!(hub.count(&When::get(Kind::Blob)) <= 2, "{}", hub.log());
}

#[tokio::test]
async fn the_digest_decides_what_a_content_encoding_means() {
    // Made first, since it takes a while.
    let layers = [(1, 1000), (2, 4_500_000)].map(|(seed, size)| gzip(&random_bytes(seed, size)));
    let (hub, cluster) = open_pair().await;
    let client = cluster.anonymous();
    hub.push("library/app", "latest", &Image::small(1));
    for layer in layers {
        for label in ["gzip", "x-gzip", "br"] {
            let name = format!("app{}{label}", layer.len());
            let wanted = hub.push_blob(&format!("library/{name}"), layer.clone());
            hub.fault(When::kind(Kind::Blob), Fault::WithHeader("content-encoding", label.to_owned()));
            assert_eq!(client.blob(&name, &wanted).await.expect(200).body, layer, "{label} {}", layer.len());
            hub.clear_faults();
        }
    }
    // Encoded on the way: the digest of a large one is known at its end, and then it is fetched once more. That of a layer that is
    // gzip already, once more on top, too.
    let layer = gzip(&random_bytes(12, 4_300_000));
    for (plain, gets) in [(random_bytes(11, 1000), 1), (random_bytes(13, 4_500_000), 2), (layer, 2)] {
        let wanted = hub.push_blob("library/app", plain.clone());
        hub.fault(When::kind(Kind::Blob), Fault::Gzip);
        hub.forget_requests();
        assert_eq!(client.blob("app", &wanted).await.expect(200).body, plain, "encoded on the way");
        assert_eq!(hub.count(&When::get(Kind::Blob)), gets, "{}", hub.log());
        assert_eq!(client.blob_hit("app", &wanted).await.expect(200).body, plain);
        hub.clear_faults();
    }
    let image = Image::small(9);
    hub.push("library/app", "labelled", &image);
    hub.fault(When::kind(Kind::Manifest), Fault::WithHeader("content-encoding", "gzip".to_owned()));
    assert_eq!(client.manifest("app", "labelled").await.expect(200).body, image.manifest);
}

#[tokio::test]
async fn signed_schema1_is_named_and_refused_alike() {
    let (hub, cluster) = open_pair().await;
    let body =
        r#"{"schemaVersion":1,"name":"library/old","tag":"latest","fsLayers":[],"history":[],"signatures":[{}]}"#;
    let digest = hub.push_manifest(
        "library/old",
        Some("latest"),
        "application/vnd.docker.distribution.manifest.v1+prettyjws",
        body.into(),
    );
    let client = cluster.anonymous();
    let any = [("accept", "*/*")];
    for reference in ["latest", &digest] {
        let path = format!("manifests/{reference}");
        let head = client.ask(Method::HEAD, "old", &path, &any).await.expect(400);
        let get = client.ask(Method::GET, "old", &path, &any).await.expect_error(400, "MANIFEST_INVALID");
        assert!(String::from_utf8_lossy(&get.body).contains("schema1"), "{get:?}");
        assert_eq!(head.cache(), get.cache());
    }
}

#[tokio::test]
async fn a_head_of_what_is_not_cached_does_not_claim_that_it_was_revalidated() {
    let (hub, cluster) = open_pair().await;
    let image = Image::small(1);
    hub.push("library/app", "latest", &image);
    let client = cluster.anonymous();
    assert_eq!(client.head_manifest("app", "latest").await.expect(200).cache(), "fill");
    assert_eq!(client.head_manifest("app", &image.digest()).await.expect(200).cache(), "fill");
    client.manifest("app", "latest").await.expect(200);
    assert_eq!(client.head_manifest("app", "latest").await.expect(200).cache(), "revalidated");
}

#[tokio::test]
async fn an_upstream_error_names_the_image_and_the_way_out() {
    let hub = Hub::start().await;
    let cluster = Cluster::start(&hub).await;
    hub.push("library/app", "latest", &Image::small(1));
    hub.make_private("library/app", &["alice"]);
    hub.push("library/alpine", "latest", &Image::small(2));
    let client = cluster.anonymous();
    let message =
        |answer: roadstead_tests::client::Answer| answer.json()["errors"][0]["message"].as_str().unwrap().to_owned();
    let missing = message(client.manifest("alpine", "9").await.expect_error(404, "MANIFEST_UNKNOWN"));
    assert_eq!(missing, "docker.io has no library/alpine:9");
    let denied = message(client.manifest("app", "latest").await.expect_error(403, "DENIED"));
    assert!(denied.starts_with("docker.io denied access: the image is private"), "{denied}");
    assert!(denied.contains("`upstream login`"), "{denied}");
}
