//! What a purge took, and digests, as people read them.

use std::time::SystemTime;

use roadstead_proto::v1::{PurgeCacheResponse, UnreachedNode};

use crate::output::{Details, human};

/// Characters of a digest's hash that lists show, as Docker does.
const SHORT_HASH: usize = 12;

/// The digest with as much of its hash as lists show.
pub fn short_digest(digest: &str) -> String {
    match digest.split_once(':') {
        Some((algorithm, hash)) => format!("{algorithm}:{}", hash.chars().take(SHORT_HASH).collect::<String>()),
        None => digest.to_owned(),
    }
}

/// What a purge removed, or would.
pub fn purged(answer: &PurgeCacheResponse, dry_run: bool, all_groups: bool) -> Details {
    let what = format!(
        "{}, {}, {}: {}{}",
        human::count(answer.tags, "tag"),
        human::count(answer.manifests, "manifest"),
        human::count(answer.blobs, "blob"),
        human::size(answer.bytes),
        if all_groups { format!(", of {}", human::count(answer.groups, "group")) } else { String::new() },
    );
    Details::default().with(if dry_run { "Would remove" } else { "Removed" }, what)
}

/// What it means that nodes could not be reached; `None` if all were.
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
        "warning: {} could not be reached and may go on serving what was removed until back, or until without the control \
         plane for longer than --max-control-outage: {}",
        human::count(i64::try_from(nodes.len()).unwrap_or(i64::MAX), "node"),
        list.join(", ")
    ))
}

#[cfg(test)]
mod tests;
