//! The references of a manifest. Schemas: OCI image-spec 1.1 (manifest, index), Docker image manifest v2 schema 2.

use bytes::Bytes;
use roadstead_proto::Digest;
use serde_json::{Map, Value};

use crate::control::{ContentKind, Reference};

/// Most references that are recorded of one manifest; a 4 MiB manifest can hold some 20,000.
const MAX_REFERENCES: usize = 10_000;

/// A manifest as far as we look into it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parsed {
    /// The media type it states itself, or that its parts are those of.
    pub media_type: Option<String>,
    /// The references, without its subject, which it can do without.
    pub references: Vec<Reference>,
}

/// The content does not look like a manifest.
#[derive(Debug, thiserror::Error)]
pub enum NotAManifest {
    /// It is not a JSON object.
    #[error("not a manifest: not a JSON object")]
    NotAnObject,
    /// It starts as one and is not.
    #[error("not a manifest: {0}")]
    Json(#[from] serde_json::Error),
    /// It is a JSON object without any part of a manifest, such as another service would send.
    #[error("not a manifest: a JSON object without schemaVersion, mediaType, layers or manifests")]
    Foreign,
}

/// Looks into a manifest. It must be a JSON object that looks like one; parts that are not understood are passed over.
/// References whose digest or size we cannot use are left out; they are asked for upstream.
pub fn parse(content: &Bytes) -> Result<Parsed, NotAManifest> {
    if content.trim_ascii_start().first() != Some(&b'{') {
        return Err(NotAManifest::NotAnObject);
    }
    let document: Map<String, Value> = serde_json::from_slice(content)?;
    if !looks_like_a_manifest(&document) {
        return Err(NotAManifest::Foreign);
    }
    let manifests = listed(&document, "manifests").map(|descriptor| (ContentKind::Manifest, descriptor));
    let config = document.get("config").into_iter();
    let blobs = config.chain(listed(&document, "layers")).chain(listed(&document, "blobs"));
    let references = manifests
        .chain(blobs.map(|descriptor| (ContentKind::Blob, descriptor)))
        .filter_map(|(kind, descriptor)| reference(kind, descriptor))
        .take(MAX_REFERENCES)
        .collect();
    let stated = text(document.get("mediaType")).filter(|media_type| !media_type.is_empty()).map(str::to_owned);
    Ok(Parsed { media_type: stated.or_else(|| implied(&document)), references })
}

/// Returns whether content is an image in Docker's signed schema 1, whose digest leaves the signatures out.
pub fn is_signed_schema1(content: &[u8]) -> bool {
    let document: Option<Map<String, Value>> = serde_json::from_slice(content).ok();
    document.is_some_and(|document| {
        document.get("schemaVersion").and_then(Value::as_u64) == Some(1) && document.contains_key("signatures")
    })
}

fn looks_like_a_manifest(document: &Map<String, Value>) -> bool {
    let is_list = |name| document.get(name).is_some_and(|value| value.is_array() || value.is_null());
    let is_descriptor =
        |name| document.get(name).is_some_and(|value| value.get("digest").is_some_and(Value::is_string));
    document.get("schemaVersion").is_some_and(Value::is_number)
        || text(document.get("mediaType")).is_some_and(|media_type| media_type.contains('/'))
        || ["layers", "manifests", "blobs", "fsLayers"].into_iter().any(is_list)
        || ["config", "subject"].into_iter().any(is_descriptor)
}

/// The media type of a document that states none. OCI image-spec 1.1 leaves it optional.
fn implied(document: &Map<String, Value>) -> Option<String> {
    let kind = if document.contains_key("manifests") {
        "index"
    } else if document.contains_key("layers") || document.contains_key("config") {
        "manifest"
    } else {
        return None;
    };
    Some(format!("application/vnd.oci.image.{kind}.v1+json"))
}

fn listed<'a>(document: &'a Map<String, Value>, name: &str) -> impl Iterator<Item = &'a Value> {
    document.get(name).and_then(Value::as_array).into_iter().flatten()
}

fn reference(kind: ContentKind, descriptor: &Value) -> Option<Reference> {
    let digest: Digest = text(descriptor.get("digest"))?.parse().ok()?;
    let size_bytes = descriptor.get("size")?.as_u64()?;
    let platform = descriptor.get("platform").filter(|platform| platform.is_object()).map(shown).unwrap_or_default();
    Some(Reference { digest, kind, size_bytes, platform })
}

/// A platform as people write it: `linux/arm64/v8`.
fn shown(platform: &Value) -> String {
    let part = |name| text(platform.get(name)).unwrap_or_default();
    let (os, architecture, variant) = (part("os"), part("architecture"), part("variant"));
    if os.is_empty() && architecture.is_empty() {
        return String::new();
    }
    if variant.is_empty() { format!("{os}/{architecture}") } else { format!("{os}/{architecture}/{variant}") }
}

fn text(value: Option<&Value>) -> Option<&str> {
    value.and_then(Value::as_str)
}

#[cfg(test)]
mod tests;
