use super::*;

const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

fn kinds(text: &str) -> Vec<(ContentKind, u64, String)> {
    let parsed = parse(&Bytes::from(text.replace("DIGEST", DIGEST))).unwrap();
    parsed.references.into_iter().map(|r| (r.kind, r.size_bytes, r.platform)).collect()
}

#[test]
fn manifests_indexes_and_artifacts_are_understood() {
    assert_eq!(
        kinds(r#"{"mediaType":"m","config":{"digest":"DIGEST","size":1},"layers":[{"digest":"DIGEST","size":2}]}"#),
        [(ContentKind::Blob, 1, String::new()), (ContentKind::Blob, 2, String::new())]
    );
    assert_eq!(
        kinds(
            r#"{"manifests":[{"digest":"DIGEST","size":3,"platform":{"os":"linux","architecture":"arm64","variant":"v8"}}]}"#
        ),
        [(ContentKind::Manifest, 3, "linux/arm64/v8".to_owned())]
    );
    assert_eq!(kinds(r#"{"blobs":[{"digest":"DIGEST","size":4}],"subject":{"digest":"DIGEST","size":9}}"#).len(), 1);
    assert_eq!(kinds(r#"{"layers":[{"digest":"md5:1","size":1},{"digest":"DIGEST","size":-1}]}"#), []);
    assert_eq!(kinds(r#"{"schemaVersion":2,"anything":["else"]}"#), []);
}

#[test]
fn what_is_no_json_object_is_no_manifest() {
    for text in ["", "<html></html>", "[]", "[null,[],null,[],[]]", "\"x\"", "{", "null"] {
        assert!(parse(&Bytes::from(text)).is_err(), "{text}");
    }
}

#[test]
fn parts_that_are_not_understood_are_passed_over() {
    for document in [
        r#"{"schemaVersion":2,"layers":null}"#,
        r#"{"schemaVersion":2,"manifests":null,"config":null}"#,
        r#"{"schemaVersion":2,"config":{},"layers":[null,{},7]}"#,
        r#"{"schemaVersion":2,"layers":"many","blobs":{"a":1}}"#,
        r#"{"schemaVersion":2,"layers":[{"digest":"DIGEST","size":"1"},{"digest":7,"size":1},{"digest":"DIGEST"}]}"#,
        r#"{"mediaType":"application/vnd.x+json","unknown":[1,2]}"#,
    ] {
        assert_eq!(kinds(document), [], "{document}");
    }
    let platform = r#"{"manifests":[{"digest":"DIGEST","size":3,"platform":{"os":null,"architecture":["amd64"]}},
        {"digest":"DIGEST","size":4,"platform":null}]}"#;
    assert_eq!(kinds(platform), [(ContentKind::Manifest, 3, String::new()), (ContentKind::Manifest, 4, String::new())]);
}

#[test]
fn documents_of_other_services_are_no_manifests() {
    for document in [
        "{}",
        r#"{"Code":"Success","AccessKeyId":"x","Token":"y"}"#,
        r#"{"kind":"Secret","apiVersion":"v1","metadata":{}}"#,
        r#"{"errors":[{"code":"UNKNOWN"}]}"#,
        r#"{"config":"x","layers":7,"mediaType":"x","schemaVersion":"2"}"#,
    ] {
        assert!(matches!(parse(&Bytes::from(document)), Err(NotAManifest::Foreign)), "{document}");
    }
}

#[test]
fn a_media_type_that_is_not_stated_is_implied() {
    for (document, implied) in [
        (r#"{"schemaVersion":2,"manifests":[]}"#, Some("application/vnd.oci.image.index.v1+json")),
        (r#"{"schemaVersion":2,"layers":[]}"#, Some("application/vnd.oci.image.manifest.v1+json")),
        (r#"{"schemaVersion":2,"mediaType":"a/b"}"#, Some("a/b")),
        (r#"{"schemaVersion":2}"#, None),
    ] {
        assert_eq!(parse(&Bytes::from(document)).unwrap().media_type.as_deref(), implied, "{document}");
    }
}

#[test]
fn signed_schema1_is_recognised() {
    assert!(is_signed_schema1(br#"{"schemaVersion":1,"fsLayers":[],"signatures":[{}]}"#));
    assert!(!is_signed_schema1(br#"{"schemaVersion":1,"fsLayers":[]}"#));
    assert!(!is_signed_schema1(br#"{"schemaVersion":2,"signatures":[]}"#));
    assert!(!is_signed_schema1(b"[]"));
}
