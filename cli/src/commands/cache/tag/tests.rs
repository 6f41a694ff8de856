use prost_types::Timestamp;

use super::*;

fn observation(digest: &str, served: bool) -> TagObservation {
    TagObservation { digest: digest.into(), served, ..Default::default() }
}

#[test]
fn the_previous_digest_is_older_than_the_one_that_is_served() {
    let history = |served: usize| -> Vec<_> {
        ["c", "b", "a"].iter().enumerate().map(|(at, digest)| observation(digest, at == served)).collect()
    };
    assert_eq!(previous(&history(0)), Some("b"));
    assert_eq!(previous(&history(1)), Some("a"), "rolled back once already");
    assert_eq!(previous(&history(2)), None, "there is nothing older");
    assert_eq!(previous(&history(9)), Some("c"), "nothing is served");
    assert_eq!(previous(&[]), None);
}

#[test]
fn a_history_reads_well() {
    let digest = format!("sha256:{}", "0123456789abcdef".repeat(4));
    let pinned = TagObservation {
        pinned: true,
        cached: true,
        first_seen_at: Some(Timestamp { seconds: -7200, nanos: 0 }),
        last_seen_at: Some(Timestamp::default()),
        ..observation(&digest, true)
    };
    assert_eq!(
        table(&[pinned.clone(), observation("x", true)], false, SystemTime::UNIX_EPOCH).to_string(),
        "DIGEST         FIRST SEEN    LAST SEEN   CACHED   STATE\n\
         0123456789ab   2 hours ago   just now    yes      pinned\n\
         x              -             -           no       served\n"
    );
    assert!(table(&[pinned], true, SystemTime::UNIX_EPOCH).to_string().contains(&digest));
}
