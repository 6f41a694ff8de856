//! Results of purges, and digests, for people.

use std::time::SystemTime;

use roadstead_proto::v1::{PurgeCacheResponse, UnreachedNode};

use crate::output::{Details, human};

/// Characters of a digest's hash in lists, as in Docker's.
const SHORT_HASH: usize = 12;

/// Returns the digest shortened for lists, as Docker does: without `sha256:`, the usual algorithm, and with a part of the hash.
pub fn short_digest(digest: &str) -> String {
    match digest.split_once(':') {
        Some(("sha256", hash)) => hash.chars().take(SHORT_HASH).collect(),
        Some((algorithm, hash)) => format!("{algorithm}:{}", hash.chars().take(SHORT_HASH).collect::<String>()),
        None => digest.to_owned(),
    }
}

/// Describes the content that a purge removed, or would remove.
pub fn purged(answer: &PurgeCacheResponse, dry_run: bool, all_groups: bool) -> Details {
    Details::default().with(if dry_run { "Would remove" } else { "Removed" }, removal(answer, all_groups))
}

/// Counts the content that a purge removed, or would remove.
pub fn removal(answer: &PurgeCacheResponse, all_groups: bool) -> String {
    format!(
        "{}, {}, {}: {}{}",
        human::count(answer.tags, "tag"),
        human::count(answer.manifests, "manifest"),
        human::count(answer.blobs, "blob"),
        human::size(answer.bytes),
        if all_groups { format!(", of {}", human::count(answer.groups, "group")) } else { String::new() },
    )
}

/// Returns a warning about the nodes that a purge could not reach; `None` if it reached all.
pub fn unreached(nodes: &[UnreachedNode], now: SystemTime) -> Option<String> {
    if nodes.is_empty() {
        return None;
    }
    let list: Vec<String> = nodes
        .iter()
        .map(|node| {
            format!("{} (last heard {})", node.name, human::relative(node.last_heard_at.as_ref(), now, "never"))
        })
        .collect();
    Some(format!(
        "warning: {} could not be reached, and may serve the removed content until it is back or --max-control-outage has passed: {}",
        human::count(i64::try_from(nodes.len()).unwrap_or(i64::MAX), "node"),
        list.join(", ")
    ))
}

#[cfg(test)]
mod tests;
