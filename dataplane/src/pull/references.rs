//! What a manifest refers to. Schemas: OCI image-spec 1.1 (manifest, index), Docker image manifest v2 schema 2.

use bytes::Bytes;
use roadstead_proto::Digest;
use serde::Deserialize;

use crate::control::{ContentKind, Reference};

/// Most references that are recorded of one manifest; a 4 MiB manifest can hold some 20,000.
const MAX_REFERENCES: usize = 10_000;

/// The parts of manifests and indexes that matter here; whatever else they hold is kept and not looked at.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    media_type: Option<String>,
    #[serde(default)]
    manifests: Vec<Descriptor>,
    config: Option<Descriptor>,
    #[serde(default)]
    layers: Vec<Descriptor>,
    #[serde(default)]
    blobs: Vec<Descriptor>,
}

#[derive(Debug, Deserialize)]
struct Descriptor {
    digest: String,
    #[serde(default)]
    size: i64,
    platform: Option<Platform>,
}

#[derive(Debug, Deserialize)]
struct Platform {
    #[serde(default)]
    os: String,
    #[serde(default)]
    architecture: String,
    variant: Option<String>,
}

impl Platform {
    fn shown(&self) -> String {
        match &self.variant {
            Some(variant) => format!("{}/{}/{variant}", self.os, self.architecture),
            None => format!("{}/{}", self.os, self.architecture),
        }
    }
}

/// A manifest as far as we look into it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parsed {
    /// The media type it states itself.
    pub media_type: Option<String>,
    /// What it refers to; not its subject, which it can do without.
    pub references: Vec<Reference>,
}

/// The content is no manifest: it is not a JSON object, or its parts have the wrong types.
#[derive(Debug, thiserror::Error)]
pub enum NotAManifest {
    /// It does not start as one.
    #[error("not a manifest: not a JSON object")]
    NotAnObject,
    /// It starts as one.
    #[error("not a manifest: {0}")]
    Json(#[from] serde_json::Error),
}

/// Looks into a manifest. References whose digest we cannot verify are left out; they are asked for upstream.
pub fn parse(content: &Bytes) -> Result<Parsed, NotAManifest> {
    if content.trim_ascii_start().first() != Some(&b'{') {
        return Err(NotAManifest::NotAnObject);
    }
    let document: Document = serde_json::from_slice(content)?;
    let manifests = document.manifests.iter().map(|descriptor| (ContentKind::Manifest, descriptor));
    let blobs = document.config.iter().chain(&document.layers).chain(&document.blobs);
    let references = manifests
        .chain(blobs.map(|descriptor| (ContentKind::Blob, descriptor)))
        .filter_map(|(kind, descriptor)| {
            let digest: Digest = descriptor.digest.parse().ok()?;
            let size_bytes = u64::try_from(descriptor.size).ok()?;
            let platform = descriptor.platform.as_ref().map(Platform::shown).unwrap_or_default();
            Some(Reference { digest, kind, size_bytes, platform })
        })
        .take(MAX_REFERENCES)
        .collect();
    Ok(Parsed { media_type: document.media_type, references })
}

#[cfg(test)]
mod tests {
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
        assert_eq!(
            kinds(r#"{"blobs":[{"digest":"DIGEST","size":4}],"subject":{"digest":"DIGEST","size":9}}"#).len(),
            1
        );
        assert_eq!(kinds(r#"{"layers":[{"digest":"md5:1","size":1},{"digest":"DIGEST","size":-1}]}"#), []);
        assert_eq!(kinds(r#"{"anything":["else"]}"#), []);
    }

    #[test]
    fn what_is_no_json_object_is_no_manifest() {
        for text in ["", "<html></html>", "[]", "[null,[],null,[],[]]", "\"x\"", "{\"layers\":1}", "{", "null"] {
            assert!(parse(&Bytes::from(text)).is_err(), "{text}");
        }
    }
}
