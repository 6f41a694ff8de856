//! The words for cached content: repositories as one group sees them, links, references.

use std::{fmt, str::FromStr};

use roadstead_proto::{Digest, RepositoryName, UpstreamHost};

/// A repository of an upstream, as one group sees it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct GroupRepository {
    /// The group's id.
    pub group_id: String,
    /// The upstream.
    pub upstream: UpstreamHost,
    /// The repository there.
    pub repository: RepositoryName,
}

impl fmt::Display for GroupRepository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.upstream, self.repository)
    }
}

/// What content is served as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ContentKind {
    /// A manifest or index.
    Manifest,
    /// Anything else.
    Blob,
}

impl ContentKind {
    /// The word it is stored as.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Manifest => "manifest",
            Self::Blob => "blob",
        }
    }
}

impl FromStr for ContentKind {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "manifest" => Ok(Self::Manifest),
            "blob" => Ok(Self::Blob),
            _ => Err(()),
        }
    }
}

/// A group's right to content of one repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// The content.
    pub digest: Digest,
    /// What it is served as.
    pub kind: ContentKind,
    /// Its size.
    pub size_bytes: i64,
    /// Of manifests, as upstream gave it; empty for blobs.
    pub media_type: String,
}

/// Something that a manifest refers to. A fact, not a right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reference {
    /// The content.
    pub digest: Digest,
    /// What it is served as.
    pub kind: ContentKind,
    /// Its size as the manifest states it.
    pub size_bytes: i64,
    /// "linux/arm64/v8", for entries of an index.
    pub platform: String,
}
