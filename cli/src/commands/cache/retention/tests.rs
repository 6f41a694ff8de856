use super::*;

#[test]
fn what_goes_reads_well() {
    let gone = Eviction {
        image: "docker.io/library/alpine".into(),
        tags: vec!["3.18".into()],
        digest: format!("sha256:{}", "0123456789abcdef".repeat(4)),
        bytes: 2048,
        last_pulled_at: None,
        reason: EvictionReason::Quota.into(),
    };
    let answer = ApplyRetentionResponse { manifests: 1, bytes: 2048, bytes_left: 1024, ..Default::default() };
    assert_eq!(summary(&answer, true).to_string(), "Would remove:    1 manifest: 2.0 KiB\nWould be left:   1.0 KiB\n");
    assert_eq!(
        table(&[gone], SystemTime::UNIX_EPOCH).wide().to_string(),
        "IMAGE                      TAGS   DIGEST         SIZE      LAST PULLED   REASON\n\
         docker.io/library/alpine   3.18   0123456789ab   2.0 KiB   never         quota\n"
    );
}
