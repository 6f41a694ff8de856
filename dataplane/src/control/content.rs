//! Content and whose it is, in the words that the control plane uses.

use std::{fmt, sync::Arc};

use roadstead_proto::{Digest, RepositoryName, UpstreamHost};

use super::{ControlError, GroupId};

/// A repository of an upstream, as one group sees it. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
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
        write!(f, "{}/{} of group {}", self.upstream, self.repository, self.group)
    }
}

/// The kind of content of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ContentKind {
    /// A manifest or index.
    Manifest,
    /// Anything else.
    Blob,
}

/// A group's right to content of one repository, proven by the group's own credentials.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Digest of the content.
    pub digest: Digest,
    /// Manifest or blob.
    pub kind: ContentKind,
    /// Its size in bytes.
    pub size_bytes: u64,
    /// Media type, for manifests; empty for blobs.
    pub media_type: String,
}

/// Something that a manifest refers to. No right follows from it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reference {
    /// Its digest.
    pub digest: Digest,
    /// Manifest or blob.
    pub kind: ContentKind,
    /// Its size in bytes, as the manifest states it.
    pub size_bytes: u64,
    /// `linux/arm64/v8`, for entries of an index that state one; otherwise empty.
    pub platform: String,
}

/// The control plane's answer about a group's right to a digest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LinkLookup {
    /// The group has a link.
    Linked(Arc<Link>),
    /// It has none.
    Unlinked {
        /// The content was fetched whole from the repository's upstream before: a HEAD there is proof of a right to it.
        is_from_upstream: bool,
    },
}

impl LinkLookup {
    /// The link, if there is one.
    pub fn link(self) -> Option<Arc<Link>> {
        match self {
            Self::Linked(link) => Some(link),
            Self::Unlinked { .. } => None,
        }
    }
}

/// The proof of a group's right to content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProofKind {
    /// All of it was fetched from the repository's upstream and hashed.
    Fetched,
    /// The repository's upstream answered a HEAD. Good only for content that was fetched from there before.
    Head,
}

/// A proof of a group's right to content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Proof {
    /// The kind of proof.
    pub kind: ProofKind,
    /// The group's link epoch when it began; it holds only if no link of the group was removed since.
    pub link_epoch: i64,
}

/// A right that is proven, to be recorded.
#[derive(Clone, Debug)]
pub struct ProvenLink {
    /// The group and repository.
    pub repository: RepositoryRef,
    /// The content.
    pub link: Link,
    /// The proof.
    pub proof: Proof,
}

/// Content that the group has no link to, as the control plane told along with other answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unlinked {
    /// The content.
    pub digest: Digest,
    /// See [`LinkLookup::Unlinked`].
    pub is_from_upstream: bool,
}

/// The outcome of recording a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recorded {
    /// The link is recorded.
    Recorded,
    /// No link is recorded: links of the group were removed since its right was proven.
    Outdated,
    /// The content is just being deleted as garbage: it counts as not stored and is to be fetched again.
    BeingDeleted,
    /// The proof is a HEAD, and the content was never fetched from that upstream: the group has to fetch it.
    Unproven,
}

/// The outcome of recording the link to a blob, with the group's link epoch.
pub(crate) type BlobRecorded = Result<(Recorded, i64), ControlError>;
