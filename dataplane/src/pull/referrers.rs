//! The referrers of a manifest: upstream's pages as one index, filtered here if upstream does not, and from the fallback tag
//! of the distribution spec 1.1 if upstream does not support referrers.
//!
//! Registries without the API answer in many ways: 404, other errors, web pages, other documents. All of them lead to the
//! tag, and from there to an empty index; only an upstream in trouble, or one that refuses the group, leads to an error.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, header};
use roadstead_proto::{Digest, Reference};
use serde_json::{Map, Value, json};

use super::{listings::Listings, request::Pull};
use crate::{
    respond::{API_VERSION, Answer, Code, OciError},
    upstream::{Accept, UpstreamClient, UpstreamError},
};

const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const FILTERS_APPLIED: HeaderName = HeaderName::from_static("oci-filters-applied");

/// The flow of lists of referrers.
pub struct Referrers {
    pub upstream: Arc<UpstreamClient>,
    pub listings: Arc<Listings>,
}

impl Referrers {
    /// Answers with what refers to `subject`.
    pub async fn answer(
        &self,
        pull: &Pull,
        subject: Digest,
        artifact_type: Option<String>,
    ) -> Result<Answer, OciError> {
        pull.wanted.may_ask_upstream()?;
        let page = format!("referrers/{subject}?{}", artifact_type.as_deref().unwrap_or_default());
        let index = match self.index(pull, &subject, artifact_type.as_deref()).await {
            Ok(index) => filtered(index, artifact_type.as_deref()),
            Err(error) => {
                let answer = self.listings.instead(pull, &page, &error);
                return answer.ok_or_else(|| OciError::from_upstream(&error, Code::ManifestUnknown));
            }
        };
        let body = Bytes::from(Value::Object(index).to_string());
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(INDEX));
        headers.insert(header::CONTENT_LENGTH, body.len().into());
        headers.insert(API_VERSION.0, API_VERSION.1);
        if artifact_type.is_some() {
            headers.insert(FILTERS_APPLIED, HeaderValue::from_static("artifactType"));
        }
        Ok(self.listings.told(pull, &page, headers, body))
    }

    /// The index, from the API or the tag; an empty one where neither has one.
    async fn index(
        &self,
        pull: &Pull,
        subject: &Digest,
        artifact_type: Option<&str>,
    ) -> Result<Map<String, Value>, UpstreamError> {
        let refused = match self.upstream.get_referrers(&pull.target, subject, artifact_type).await {
            Ok(pages) => match merged(&pages, subject) {
                Some(index) => return Ok(index),
                None => None,
            },
            Err(error) if error.is_refusal() => Some(error),
            // A server without the API may fail at it.
            Err(error) if error.is_outage() && !matches!(error, UpstreamError::Status { .. }) => return Err(error),
            Err(_) => None,
        };
        let tag = format!("{}-{}", subject.algorithm().name(), subject.hex());
        let Ok(tag) = tag.parse().map(Reference::Tag) else { return Ok(empty()) };
        let accept = [HeaderValue::from_static(INDEX)];
        match self.upstream.get_manifest(&pull.target, &tag, Accept::Exactly(&accept)).await {
            Ok(manifest) => Ok(merged(&[manifest.body], subject).unwrap_or_else(empty)),
            Err(error) if error.is_outage() => Err(error),
            // Who is refused both has no right to know.
            Err(error) if error.is_refusal() => refused.map_or_else(|| Ok(empty()), Err),
            Err(_) => Ok(empty()),
        }
    }
}

fn empty() -> Map<String, Value> {
    index_of(Vec::new())
}

fn index_of(manifests: Vec<Value>) -> Map<String, Value> {
    let index = [("schemaVersion", json!(2)), ("mediaType", json!(INDEX)), ("manifests", Value::Array(manifests))];
    index.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// The first page with the manifests of all. `None` if one of them has another form than an index, or is the subject itself, which a registry
/// may have under the tag or the path.
fn merged(pages: &[Bytes], subject: &Digest) -> Option<Map<String, Value>> {
    let mut all: Option<(Map<String, Value>, Vec<Value>)> = None;
    for page in pages {
        if Digest::of(subject.algorithm(), page) == *subject {
            return None;
        }
        let mut index: Map<String, Value> = serde_json::from_slice(page).ok()?;
        let manifests = match index.remove("manifests")? {
            Value::Array(manifests) => manifests,
            Value::Null => Vec::new(),
            _ => return None,
        };
        // Docker's lists are of platforms, never of referrers.
        if index.get("mediaType").is_some_and(|media_type| media_type.as_str().is_some_and(|it| it != INDEX)) {
            return None;
        }
        match &mut all {
            None => all = Some((index, manifests)),
            Some((_, there)) => there.extend(manifests),
        }
    }
    let (mut index, manifests) = all?;
    index.insert("manifests".to_owned(), Value::Array(manifests));
    Some(index)
}

/// The index with only those manifests that have the artifact type. Filtering what upstream has filtered changes nothing.
fn filtered(mut index: Map<String, Value>, artifact_type: Option<&str>) -> Map<String, Value> {
    if let (Some(wanted), Some(Value::Array(manifests))) = (artifact_type, index.get_mut("manifests")) {
        manifests.retain(|manifest| manifest.get("artifactType").and_then(Value::as_str) == Some(wanted));
    }
    index
}

#[cfg(test)]
mod tests;
