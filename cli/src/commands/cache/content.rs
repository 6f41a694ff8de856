//! What a group has cached, its figures, and what a purge took, as people read them.

use std::time::SystemTime;

use roadstead_proto::v1::{GetStatsResponse, Manifest, PurgeCacheResponse, UnreachedNode};

use crate::output::{Details, Table, human};

/// Characters of a digest's hash that lists show, as Docker does.
const SHORT_HASH: usize = 12;

/// The digest with as much of its hash as lists show.
pub fn short_digest(digest: &str) -> String {
    match digest.split_once(':') {
        Some((algorithm, hash)) => format!("{algorithm}:{}", hash.chars().take(SHORT_HASH).collect::<String>()),
        None => digest.to_owned(),
    }
}

/// What people call a media type; unknown ones stay as they are.
fn kind(media_type: &str) -> &str {
    match media_type {
        "application/vnd.oci.image.index.v1+json" => "OCI index",
        "application/vnd.oci.image.manifest.v1+json" => "OCI manifest",
        "application/vnd.docker.distribution.manifest.list.v2+json" => "Docker list",
        "application/vnd.docker.distribution.manifest.v2+json" => "Docker manifest",
        other => other,
    }
}

/// One line a manifest.
pub fn table(manifests: &[Manifest], full_digests: bool, now: SystemTime) -> Table {
    Table::new(["IMAGE", "TAGS", "DIGEST", "TYPE", "SIZE", "CACHED", "LAST PULLED"], manifests, |manifest| {
        [
            manifest.image.clone(),
            if manifest.tags.is_empty() { "-".to_owned() } else { manifest.tags.join(",") },
            if full_digests { manifest.digest.clone() } else { short_digest(&manifest.digest) },
            kind(&manifest.media_type).to_owned(),
            human::size(manifest.size_bytes),
            human::relative(manifest.cached_at.as_ref(), now, "-"),
            human::relative(manifest.last_pulled_at.as_ref(), now, "never"),
        ]
    })
}

/// A group's figures.
pub fn stats(stats: &GetStatsResponse) -> Details {
    Details::default()
        .with("Images", stats.images)
        .with("Manifests", stats.manifests)
        .with("Blobs", stats.blobs)
        .with("Size", human::size(stats.bytes))
        .with("Hits", stats.hits)
        .with("Misses", stats.misses)
        .with("Hit rate", human::share(stats.hits, stats.misses))
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
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use prost_types::Timestamp;

    use super::*;

    #[test]
    fn a_list_of_manifests_reads_well() {
        let manifest = Manifest {
            image: "docker.io/library/alpine".into(),
            tags: vec!["3.20".into(), "latest".into()],
            digest: format!("sha256:{}", "0123456789abcdef".repeat(4)),
            media_type: "application/vnd.oci.image.index.v1+json".into(),
            size_bytes: 3_500_000,
            cached_at: Some(Timestamp { seconds: 0, nanos: 0 }),
            last_pulled_at: None,
            ..Manifest::default()
        };
        let now = UNIX_EPOCH + Duration::from_secs(7200);
        assert_eq!(
            table(std::slice::from_ref(&manifest), false, now).to_string(),
            "IMAGE                      TAGS          DIGEST                TYPE        SIZE      CACHED        LAST PULLED\n\
             docker.io/library/alpine   3.20,latest   sha256:0123456789ab   OCI index   3.3 MiB   2 hours ago   never\n"
        );
        assert!(table(std::slice::from_ref(&manifest), true, now).to_string().contains(&manifest.digest));
    }

    #[test]
    fn a_dry_run_does_not_claim_to_have_removed_anything() {
        let answer = PurgeCacheResponse { tags: 1, manifests: 2, bytes: 2048, ..PurgeCacheResponse::default() };
        assert_eq!(purged(&answer, true, false).to_string(), "Would remove:   1 tag, 2 manifests, 0 blobs: 2.0 KiB\n");
        assert_eq!(purged(&answer, false, false).to_string(), "Removed:   1 tag, 2 manifests, 0 blobs: 2.0 KiB\n");
    }

    #[test]
    fn a_purge_of_all_groups_counts_them_and_nodes_that_missed_it_are_named() {
        let answer = PurgeCacheResponse { blobs: 1, groups: 3, ..PurgeCacheResponse::default() };
        assert_eq!(
            purged(&answer, false, true).to_string(),
            "Removed:   0 tags, 0 manifests, 1 blob: 0 B, of 3 groups\n"
        );
        let now = UNIX_EPOCH + Duration::from_secs(7200);
        assert_eq!(unreached(&[], now), None);
        let node = UnreachedNode { name: "edge-2".into(), last_heard_at: Some(Timestamp { seconds: 7080, nanos: 0 }) };
        let warning = unreached(&[node], now).unwrap();
        assert!(warning.starts_with("warning: 1 node could not be reached"), "{warning}");
        assert!(warning.ends_with(": edge-2 (last heard 2 minutes ago)"), "{warning}");
    }

    #[test]
    fn figures_read_well() {
        let answer = GetStatsResponse { images: 1, manifests: 2, blobs: 9, bytes: 1 << 20, hits: 3, misses: 1 };
        assert_eq!(
            stats(&answer).to_string(),
            "Images:      1\nManifests:   2\nBlobs:       9\nSize:        1.0 MiB\nHits:        3\nMisses:      1\n\
             Hit rate:    75%\n"
        );
    }
}
