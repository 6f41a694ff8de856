//! The content of the hub: repositories with manifests, blobs and tags.

use std::collections::{BTreeMap, HashMap, HashSet};

use bytes::Bytes;
use serde_json::{Value, json};

use crate::image::{OCI_INDEX, digest, digest_sha512, pretty};

/// The behaviour of `/referrers/`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReferrersApi {
    /// It filters by `artifactType` and says so.
    Filtering,
    /// It answers everything, whatever the filter.
    Unfiltered,
    /// 404: clients fall back to the tag schema.
    Absent,
}

/// A manifest with the media type it was pushed with.
#[derive(Clone, Debug)]
pub struct Artifact {
    /// Its media type.
    pub media_type: String,
    /// Its bytes.
    pub body: Bytes,
}

#[derive(Default)]
pub(super) struct Content {
    pub(super) repositories: HashMap<String, Repository>,
}

impl Content {
    pub(super) fn repository(&mut self, name: &str) -> &mut Repository {
        self.repositories.entry(name.into()).or_default()
    }
}

#[derive(Default)]
pub(super) struct Repository {
    /// By sha256 and by sha512 digest.
    manifests: HashMap<String, Artifact>,
    blobs: HashMap<String, Bytes>,
    pub(super) tags: BTreeMap<String, String>,
    /// The users that may pull; everybody if `None`.
    pub(super) readers: Option<HashSet<String>>,
}

impl Repository {
    pub(super) fn add_manifest(&mut self, tag: Option<&str>, media_type: &str, body: Bytes) -> String {
        let wanted = digest(&body);
        let artifact = Artifact { media_type: media_type.into(), body };
        self.manifests.insert(digest_sha512(&artifact.body), artifact.clone());
        self.manifests.insert(wanted.clone(), artifact);
        if let Some(tag) = tag {
            self.tags.insert(tag.into(), wanted.clone());
        }
        wanted
    }

    pub(super) fn add_blob(&mut self, body: Bytes) {
        self.blobs.insert(digest_sha512(&body), body.clone());
        self.blobs.insert(digest(&body), body);
    }

    pub(super) fn blob(&self, digest: &str) -> Option<Bytes> {
        self.blobs.get(digest).cloned()
    }

    /// The manifest by tag or digest, with the digest to name it by.
    pub(super) fn manifest(&self, reference: &str) -> Option<(String, Artifact)> {
        let digest = self.tags.get(reference).map_or(reference, String::as_str);
        self.manifests.get(digest).map(|artifact| (digest.to_owned(), artifact.clone()))
    }

    /// At most `n` tags after `last`, and whether there are more.
    pub(super) fn tags_page(&self, n: Option<usize>, last: &str) -> (Vec<String>, bool) {
        let mut after: Vec<String> = self.tags.keys().filter(|tag| tag.as_str() > last).cloned().collect();
        let all = after.len();
        after.truncate(n.unwrap_or(all));
        let more = after.len() < all && !after.is_empty();
        (after, more)
    }

    /// The index of what refers to `subject`.
    pub(super) fn referrers(&self, subject: &str, artifact_type: Option<&str>) -> Bytes {
        let mut found: Vec<Value> = self
            .manifests
            .iter()
            .filter(|(digest, _)| digest.starts_with("sha256:"))
            .filter_map(|(digest, artifact)| {
                let manifest: Value = serde_json::from_slice(&artifact.body).ok()?;
                let kind = manifest["artifactType"].as_str()?;
                let fits = manifest["subject"]["digest"] == subject && artifact_type.is_none_or(|asked| asked == kind);
                fits.then(|| {
                    json!({
                        "mediaType": artifact.media_type,
                        "digest": digest,
                        "size": artifact.body.len(),
                        "artifactType": kind,
                    })
                })
            })
            .collect();
        found.sort_by_key(|descriptor| descriptor["digest"].as_str().map(str::to_owned));
        pretty(&json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": found}))
    }
}
