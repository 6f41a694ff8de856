//! What refers to a manifest: upstream's pages as one index, filtered here where upstream does not, and from the tag that the
//! distribution spec 1.1 falls back on where upstream knows no referrers.

use bytes::Bytes;
use http::{HeaderName, HeaderValue, StatusCode, header};
use roadstead_proto::{Digest, Reference};
use serde_json::{Value, json};

use super::request::Pull;
use crate::{
    respond::{Answer, Code, OciError, json as json_answer},
    upstream::{Accept, UpstreamClient, UpstreamError},
};

const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const FILTERS_APPLIED: HeaderName = HeaderName::from_static("oci-filters-applied");

/// Answers with what refers to `subject`.
pub async fn answer(
    upstream: &UpstreamClient,
    pull: &Pull,
    subject: Digest,
    artifact_type: Option<String>,
) -> Result<Answer, OciError> {
    pull.wanted.may_ask_upstream()?;
    let failed = |error: UpstreamError| OciError::from_upstream(&error, Code::ManifestUnknown);
    let pages = match upstream.get_referrers(&pull.target, &subject, artifact_type.as_deref()).await {
        Ok(pages) => pages,
        Err(UpstreamError::NotFound { .. }) => {
            let tag = format!("{}-{}", subject.algorithm().name(), subject.hex());
            let tag = tag.parse().map(Reference::Tag).map_err(|_| no_index(pull))?;
            match upstream.get_manifest(&pull.target, &tag, Accept::Exactly(&[HeaderValue::from_static(INDEX)])).await {
                Ok(manifest) => vec![manifest.body],
                Err(UpstreamError::NotFound { .. }) => Vec::new(),
                Err(error) => return Err(failed(error)),
            }
        }
        Err(error) => return Err(failed(error)),
    };
    let index = merged(&pages).ok_or_else(|| no_index(pull))?;
    let index = filtered(index, artifact_type.as_deref()).ok_or_else(|| no_index(pull))?;
    let mut answer = json_answer(StatusCode::OK, &index);
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(INDEX));
    if artifact_type.is_some() {
        answer.headers_mut().insert(FILTERS_APPLIED, HeaderValue::from_static("artifactType"));
    }
    Ok(answer)
}

fn no_index(pull: &Pull) -> OciError {
    let message = format!("{} sent something that is no list of referrers", pull.target.host());
    OciError::new(StatusCode::BAD_GATEWAY, Code::Unavailable, message)
}

/// The first page with the manifests of all; an empty index without a page. `None` if one of them is no index.
fn merged(pages: &[Bytes]) -> Option<Value> {
    let Some((first, others)) = pages.split_first() else {
        return Some(json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": [] }));
    };
    let mut index: Value = serde_json::from_slice(first).ok()?;
    let manifests = index.as_object_mut()?.get_mut("manifests")?.as_array_mut()?;
    for page in others {
        let mut page: Value = serde_json::from_slice(page).ok()?;
        manifests.append(page.as_object_mut()?.get_mut("manifests")?.as_array_mut()?);
    }
    Some(index)
}

/// The index with only those manifests that have the artifact type; `None` if it is no index. Filtering what
/// upstream has filtered changes nothing.
fn filtered(mut index: Value, artifact_type: Option<&str>) -> Option<Value> {
    let manifests = index.as_object_mut()?.get_mut("manifests")?.as_array_mut()?;
    if let Some(wanted) = artifact_type {
        manifests.retain(|manifest| manifest.get("artifactType").and_then(Value::as_str) == Some(wanted));
    }
    Some(index)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_wanted_type_remains() {
        let index = json!({ "manifests": [{ "artifactType": "a" }, { "artifactType": "b" }, {}], "annotations": {} });
        let kept = filtered(index.clone(), Some("a")).unwrap();
        assert_eq!(kept, json!({ "manifests": [{ "artifactType": "a" }], "annotations": {} }));
        assert_eq!(filtered(index.clone(), None).unwrap(), index);
        assert_eq!(filtered(json!([]), None), None);
        assert_eq!(filtered(json!({ "manifests": "no" }), None), None);
    }

    #[test]
    fn pages_become_one_index() {
        let page = |names: &[&str]| Bytes::from(json!({ "manifests": names, "annotations": {} }).to_string());
        let index = merged(&[page(&["a", "b"]), page(&[]), page(&["c"])]).unwrap();
        assert_eq!(index, json!({ "manifests": ["a", "b", "c"], "annotations": {} }));
        assert_eq!(merged(&[]).unwrap()["manifests"], json!([]));
        assert_eq!(merged(&[page(&["a"]), Bytes::from_static(b"[]")]), None);
        assert_eq!(merged(&[Bytes::from_static(b"no")]), None);
    }
}
