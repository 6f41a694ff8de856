use std::time::{Duration, UNIX_EPOCH};

use prost_types::Timestamp;

use super::*;

#[test]
fn a_dry_run_does_not_claim_to_have_removed_anything() {
    let answer = PurgeCacheResponse { tags: 1, manifests: 2, bytes: 2048, ..PurgeCacheResponse::default() };
    assert_eq!(purged(&answer, true, false).to_string(), "Would remove:   1 tag, 2 manifests, 0 blobs: 2.0 KiB\n");
    assert_eq!(purged(&answer, false, false).to_string(), "Removed:   1 tag, 2 manifests, 0 blobs: 2.0 KiB\n");
}

#[test]
fn a_purge_of_all_groups_counts_them_and_nodes_that_missed_it_are_named() {
    let answer = PurgeCacheResponse { blobs: 1, groups: 3, ..PurgeCacheResponse::default() };
    assert_eq!(purged(&answer, false, true).to_string(), "Removed:   0 tags, 0 manifests, 1 blob: 0 B, of 3 groups\n");
    let now = UNIX_EPOCH + Duration::from_secs(7200);
    assert_eq!(unreached(&[], now), None);
    let node = UnreachedNode { name: "edge-2".into(), last_heard_at: Some(Timestamp { seconds: 7080, nanos: 0 }) };
    let warning = unreached(&[node], now).unwrap();
    assert!(warning.starts_with("warning: 1 node could not be reached"), "{warning}");
    assert!(warning.ends_with(": edge-2 (last heard 2 minutes ago)"), "{warning}");
}
