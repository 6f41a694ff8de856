//! The saved state of a node, as bytes.

mod message;

use std::{sync::Arc, time::SystemTime};

use prost::Message;
use roadstead_proto::{Tag, node::v1 as pb};

use super::translate::{self, Problem};
use crate::{
    control::{GroupPolicy, Link, PolicySnapshot, RepositoryRef, UpstreamPolicy, lookup::ContentKey, tag::Remembered},
    node_id::NodeId,
};

/// Links, each with the link epoch at which it was read.
pub(crate) type SavedLinks = Vec<(ContentKey, (i64, Arc<Link>))>;
/// Tags, and what they resolved to.
pub(crate) type SavedTags = Vec<((RepositoryRef, Tag), Remembered)>;

/// The policy of an earlier process.
pub(crate) struct SavedPolicy {
    pub(crate) policy: PolicySnapshot,
    /// When the control plane was last heard.
    pub(crate) heard_at: SystemTime,
    /// Names the memory that is good with it.
    pub(crate) memory_id: String,
}

/// Reads what `node` saved; `None` if it is another node's or no message at all.
pub(crate) fn read_policy(bytes: &[u8], node: &NodeId, left_out: impl Fn(Problem)) -> Option<SavedPolicy> {
    let saved = message::SavedPolicy::decode(bytes).ok()?;
    let policy = saved.policy.filter(|_| saved.node_id == node.as_str())?;
    let (revision, heard_at) = (policy.revision, translate::time(saved.heard_at_ms));
    let policy = PolicySnapshot::of(translate::snapshot(policy), left_out).as_of(revision, heard_at);
    Some(SavedPolicy { policy: policy.marked(saved.mark.into()), heard_at, memory_id: saved.memory_id })
}

/// The opposite of [`read_policy`].
pub(crate) fn policy_to_bytes(
    node: &NodeId,
    heard_at: SystemTime,
    policy: &PolicySnapshot,
    memory_id: &str,
) -> Vec<u8> {
    let saved = message::SavedPolicy {
        node_id: node.to_string(),
        heard_at_ms: translate::milliseconds(heard_at),
        policy: Some(policy_to_pb(policy)),
        mark: policy.mark().to_string(),
        memory_id: memory_id.to_owned(),
    };
    saved.encode_to_vec()
}

/// Reads what `node` saved under this name; what makes no sense is left out.
pub(crate) fn read_memory(bytes: &[u8], node: &NodeId, memory_id: &str) -> Option<(SavedLinks, SavedTags)> {
    let saved = message::SavedMemory::decode(bytes).ok()?;
    if saved.node_id != node.as_str() || saved.memory_id != memory_id {
        return None;
    }
    let links = saved.links.into_iter().filter_map(read_link).collect();
    Some((links, saved.tags.into_iter().filter_map(read_tag).collect()))
}

/// The opposite of [`read_memory`].
pub(crate) fn memory_to_bytes(node: &NodeId, memory_id: &str, links: SavedLinks, tags: SavedTags) -> Vec<u8> {
    let links = links.into_iter().map(|(key, (link_epoch, link))| message::SavedLink {
        repository: Some(translate::repository_to_pb(&key.repository)),
        link: Some(translate::link_to_pb(&link)),
        link_epoch,
    });
    let tags = tags.into_iter().map(|((repository, tag), remembered)| message::SavedTag {
        repository: Some(translate::repository_to_pb(&repository)),
        tag: tag.to_string(),
        manifest: Some(translate::link_to_pb(&remembered.manifest)),
        link_epoch: remembered.link_epoch,
        confirmed_at_ms: translate::milliseconds(remembered.confirmed_at),
        good_until_ms: translate::milliseconds(remembered.good_until),
    });
    let (node_id, memory_id) = (node.to_string(), memory_id.to_owned());
    message::SavedMemory { node_id, links: links.collect(), tags: tags.collect(), memory_id }.encode_to_vec()
}

fn read_link(saved: message::SavedLink) -> Option<(ContentKey, (i64, Arc<Link>))> {
    let repository = translate::repository(saved.repository?).ok()?;
    let link = translate::link(saved.link?).ok()?;
    Some((ContentKey { repository, digest: link.digest }, (saved.link_epoch, link)))
}

fn read_tag(saved: message::SavedTag) -> Option<((RepositoryRef, Tag), Remembered)> {
    let remembered = Remembered {
        manifest: translate::link(saved.manifest?).ok()?,
        link_epoch: saved.link_epoch,
        confirmed_at: translate::time(saved.confirmed_at_ms),
        good_until: translate::time(saved.good_until_ms),
        fresh: None,
    };
    Some(((translate::repository(saved.repository?).ok()?, saved.tag.parse().ok()?), remembered))
}

fn policy_to_pb(policy: &PolicySnapshot) -> pb::PolicySnapshot {
    pb::PolicySnapshot {
        revision: policy.revision(),
        groups: policy.groups().map(|group| group_to_pb(group)).collect(),
        upstreams: policy.upstreams().map(|upstream| upstream_to_pb(upstream)).collect(),
        keys: policy
            .keys()
            .map(|key| pb::PublicKey {
                id: key.id.clone(),
                ed25519: key.ed25519.to_vec(),
                not_after: key.not_after.and_then(translate::timestamp),
            })
            .collect(),
        revocations: policy
            .revocations()
            .map(|revocation| pb::Revocation {
                token_id: revocation.id,
                forget_after: translate::timestamp(revocation.forget_after),
                user_epoch: revocation.before_epoch.unwrap_or_default(),
            })
            .collect(),
        conditions: Vec::new(),
    }
}

fn group_to_pb(group: &GroupPolicy) -> pb::GroupPolicy {
    let texts = |all: &[roadstead_proto::ImagePattern]| all.iter().map(ToString::to_string).collect();
    pb::GroupPolicy {
        id: group.id.to_string(),
        path: group.path.to_string(),
        enabled: group.enabled,
        anonymous_pull: group.anonymous_pull,
        upstreams: group.upstreams.iter().map(ToString::to_string).collect(),
        link_epoch: group.link_epoch,
        credential_epoch: group.credential_epoch,
        frozen: group.frozen,
        access_epoch: group.access_epoch,
        old_paths: group.old_paths.iter().map(ToString::to_string).collect(),
        allowed_images: texts(&group.allowed_images),
        denied_images: texts(&group.denied_images),
    }
}

fn upstream_to_pb(upstream: &UpstreamPolicy) -> pb::UpstreamPolicy {
    pb::UpstreamPolicy {
        host: upstream.host.to_string(),
        url: upstream.url.to_string(),
        token_hosts: upstream.token_hosts.clone(),
        ca_pem: upstream.ca_pem.clone(),
        redirect_hosts: upstream.redirect_hosts.clone(),
        reserve_percent: upstream.reserve_percent.into(),
    }
}
