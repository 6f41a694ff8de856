//! The messages that a node keeps on its disk, so that it can serve after a restart while the control plane is unavailable. They hold
//! no secrets, and no other program reads them.

use roadstead_proto::node::v1 as pb;

/// The state from the control plane.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct SavedPolicy {
    /// The node that it was sent to; another node's is not used.
    #[prost(string, tag = "1")]
    pub(super) node_id: String,
    /// When the control plane was last heard, by the node's clock, in milliseconds since 1970.
    #[prost(int64, tag = "2")]
    pub(super) heard_at_ms: i64,
    /// The saved state, with its revision.
    #[prost(message, optional, tag = "3")]
    pub(super) policy: Option<pb::PolicySnapshot>,
    /// The mark of that revision; see `WatchResponse.mark`.
    #[prost(string, tag = "4")]
    pub(super) mark: String,
    /// Names the memory that is good with it: memory with another name is not used.
    #[prost(string, tag = "5")]
    pub(super) memory_id: String,
}

/// The answers that a node remembers.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct SavedMemory {
    /// The node whose memory it is.
    #[prost(string, tag = "1")]
    pub(super) node_id: String,
    /// Some of the latest links.
    #[prost(message, repeated, tag = "2")]
    pub(super) links: Vec<SavedLink>,
    /// The digests of some of the latest tags.
    #[prost(message, repeated, tag = "3")]
    pub(super) tags: Vec<SavedTag>,
    /// See [`SavedPolicy::memory_id`].
    #[prost(string, tag = "4")]
    pub(super) memory_id: String,
}

/// A link, as it was read.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct SavedLink {
    /// The group and repository.
    #[prost(message, optional, tag = "1")]
    pub(super) repository: Option<pb::RepositoryRef>,
    /// The link.
    #[prost(message, optional, tag = "2")]
    pub(super) link: Option<pb::Link>,
    /// The group's link epoch at that time: void once the group has another.
    #[prost(int64, tag = "3")]
    pub(super) link_epoch: i64,
}

/// The digest that a tag resolved to.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct SavedTag {
    /// The group and repository.
    #[prost(message, optional, tag = "1")]
    pub(super) repository: Option<pb::RepositoryRef>,
    /// The tag.
    #[prost(string, tag = "2")]
    pub(super) tag: String,
    /// The manifest.
    #[prost(message, optional, tag = "3")]
    pub(super) manifest: Option<pb::Link>,
    /// The group's link epoch at that time: void once the group has another.
    #[prost(int64, tag = "4")]
    pub(super) link_epoch: i64,
    /// When upstream confirmed it, by the node's clock, in milliseconds since 1970.
    #[prost(int64, tag = "5")]
    pub(super) confirmed_at_ms: i64,
    /// The time until which it may be served without the control plane, likewise.
    #[prost(int64, tag = "6")]
    pub(super) good_until_ms: i64,
}
