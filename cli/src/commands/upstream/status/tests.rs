use prost_types::{Duration, Timestamp};
use roadstead_proto::v1::PullSpend;

use super::*;

#[test]
fn every_limit_has_its_line() {
    let limit = |remaining, source: &str| PullLimit {
        limit: 100,
        remaining,
        window: Some(Duration { seconds: 21_600, nanos: 0 }),
        source: source.into(),
        resets_at: Some(Timestamp { seconds: 3600, nanos: 0 }),
        ..Default::default()
    };
    let spend = |group: &str, pulls| PullSpend { group_path: group.into(), pulls };
    let hub = UpstreamStatus {
        host: "docker.io".into(),
        health: UpstreamHealth::Good.into(),
        limits: vec![limit(76, "192.0.2.1"), limit(3, "192.0.2.2")],
        spent: vec![spend("acme", 20), spend("ops/ci", 4)],
        ..Default::default()
    };
    let ghcr = UpstreamStatus {
        host: "ghcr.io".into(),
        username: "bot".into(),
        health: UpstreamHealth::Open.into(),
        last_error: "connect".into(),
        last_failed_at: Some(Timestamp { seconds: -60, nanos: 0 }),
        paused_until: Some(Timestamp { seconds: 120, nanos: 0 }),
        ..Default::default()
    };
    assert_eq!(
        table(&[hub, ghcr], SystemTime::UNIX_EPOCH).wide().to_string(),
        "HOST        USER   HEALTH                             REMAINING   LIMIT       COUNTED FOR   RESETS      PAUSED         SPENT BY\n\
         docker.io   -      good                               76          100 in 6h   192.0.2.1     in 1 hour   no             acme 20, ops/ci 4\n                                                      \
         3           100 in 6h   192.0.2.2     in 1 hour\n\
         ghcr.io     bot    suspended (connect 1 minute ago)   -           -           -             -           in 2 minutes   -\n"
    );
}
