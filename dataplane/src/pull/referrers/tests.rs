use roadstead_proto::Algorithm;

use super::*;

fn object(value: Value) -> Map<String, Value> {
    value.as_object().unwrap().clone()
}

fn other() -> Digest {
    Digest::of(Algorithm::Sha256, b"another manifest")
}

#[test]
fn only_the_wanted_type_remains() {
    let index =
        object(json!({ "manifests": [{ "artifactType": "a" }, { "artifactType": "b" }, {}], "annotations": {} }));
    let kept = filtered(index.clone(), Some("a"));
    assert_eq!(kept, object(json!({ "manifests": [{ "artifactType": "a" }], "annotations": {} })));
    assert_eq!(filtered(index.clone(), None), index);
}

#[test]
fn pages_become_one_index() {
    let page = |names: &[&str]| Bytes::from(json!({ "manifests": names, "annotations": {} }).to_string());
    let index = merged(&[page(&["a", "b"]), page(&[]), page(&["c"])], &other()).unwrap();
    assert_eq!(index, object(json!({ "manifests": ["a", "b", "c"], "annotations": {} })));
    assert_eq!(empty()["manifests"], json!([]));
    let null = Bytes::from_static(b"{\"manifests\":null}");
    assert_eq!(merged(&[null], &other()).unwrap()["manifests"], json!([]));
}

#[test]
fn other_documents_are_no_index_of_referrers() {
    for document in [
        "no",
        "[]",
        "<html>",
        "{}",
        r#"{"manifests":"no"}"#,
        r#"{"schemaVersion":2,"layers":[]}"#,
        r#"{"mediaType":"application/vnd.docker.distribution.manifest.list.v2+json","manifests":[]}"#,
    ] {
        assert_eq!(merged(&[Bytes::from(document)], &other()), None, "{document}");
    }
    let subject = Bytes::from(json!({ "manifests": [{ "platform": {} }] }).to_string());
    assert_eq!(
        merged(std::slice::from_ref(&subject), &Digest::of(Algorithm::Sha256, &subject)),
        None,
        "the subject itself"
    );
}
