//! The words for cached content: which repository it belongs to, what it is, and what may be wrong with it.

use std::{fmt, sync::Arc};

use super::{InvalidField, parse_field, size_field, size_to_wire, words};
use crate::{Digest, RepositoryName, UpstreamHost, node::v1};

words! {
    /// The kind of content that clients request.
    ContentKind, v1::ContentKind, "kind of content" {
        /// A manifest or index, served under `/manifests/`.
        Manifest = "manifest",
        /// Anything else, served under `/blobs/`.
        Blob = "blob",
    }
}

words! {
    /// The kind of corruption of stored content.
    CorruptionKind, v1::CorruptionKind, "kind of corruption" {
        /// It is linked, but not in the store.
        Missing = "missing",
        /// It has another size than it should.
        Size = "size",
        /// Its bytes do not hash to its digest.
        Digest = "digest",
    }
}

/// A group's id, made by the control plane; it outlives every rename. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct GroupId(Arc<str>);

impl GroupId {
    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&str> for GroupId {
    fn from(text: &str) -> Self {
        Self(text.into())
    }
}

impl From<String> for GroupId {
    fn from(text: String) -> Self {
        Self(text.into())
    }
}

/// Registry tokens carry group ids as text.
impl PartialEq<String> for GroupId {
    fn eq(&self, text: &String) -> bool {
        *self.0 == **text
    }
}

impl fmt::Display for GroupId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A repository of an upstream, as one group sees it. Cheap to clone; shown as `docker.io/library/alpine`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RepositoryRef {
    /// The group.
    pub group: GroupId,
    /// The upstream.
    pub upstream: UpstreamHost,
    /// The repository there.
    pub repository: RepositoryName,
}

impl fmt::Display for RepositoryRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.upstream, self.repository)
    }
}

impl TryFrom<v1::RepositoryRef> for RepositoryRef {
    type Error = InvalidField;

    fn try_from(wire: v1::RepositoryRef) -> Result<Self, InvalidField> {
        Ok(Self {
            group: wire.group_id.into(),
            upstream: parse_field("upstream", &wire.upstream)?,
            repository: parse_field("repository", &wire.repository)?,
        })
    }
}

impl From<&RepositoryRef> for v1::RepositoryRef {
    fn from(repository: &RepositoryRef) -> Self {
        Self {
            group_id: repository.group.to_string(),
            upstream: repository.upstream.to_string(),
            repository: repository.repository.to_string(),
        }
    }
}

/// A group's right to content of one repository, proven by the group's own credentials.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Digest of the content.
    pub digest: Digest,
    /// The kind of content.
    pub kind: ContentKind,
    /// Its size, in bytes.
    pub size_bytes: u64,
    /// Media type of a manifest, as upstream gave it; empty for blobs.
    pub media_type: String,
}

impl TryFrom<v1::Link> for Link {
    type Error = InvalidField;

    fn try_from(wire: v1::Link) -> Result<Self, InvalidField> {
        Ok(Self {
            digest: parse_field("digest", &wire.digest)?,
            kind: wire.kind.try_into().map_err(|error| InvalidField::new("kind", error))?,
            size_bytes: size_field("size_bytes", wire.size_bytes)?,
            media_type: wire.media_type,
        })
    }
}

impl From<&Link> for v1::Link {
    fn from(link: &Link) -> Self {
        Self {
            digest: link.digest.to_string(),
            kind: link.kind.into(),
            size_bytes: size_to_wire(link.size_bytes),
            media_type: link.media_type.clone(),
        }
    }
}

/// The description of referenced content in a manifest. A fact, not a right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Descriptor {
    /// Digest of the content.
    pub digest: Digest,
    /// The kind of content, which follows from its media type.
    pub kind: ContentKind,
    /// Its size as the manifest states it, in bytes.
    pub size_bytes: u64,
    /// `linux/arm64/v8`, for entries of an index that state one; otherwise empty.
    pub platform: String,
}

impl TryFrom<v1::Reference> for Descriptor {
    type Error = InvalidField;

    fn try_from(wire: v1::Reference) -> Result<Self, InvalidField> {
        Ok(Self {
            digest: parse_field("digest", &wire.digest)?,
            kind: wire.kind.try_into().map_err(|error| InvalidField::new("kind", error))?,
            // Manifests state what they like.
            size_bytes: u64::try_from(wire.size_bytes).unwrap_or_default(),
            platform: wire.platform,
        })
    }
}

impl From<&Descriptor> for v1::Reference {
    fn from(descriptor: &Descriptor) -> Self {
        Self {
            digest: descriptor.digest.to_string(),
            kind: descriptor.kind.into(),
            size_bytes: size_to_wire(descriptor.size_bytes),
            platform: descriptor.platform.clone(),
        }
    }
}
