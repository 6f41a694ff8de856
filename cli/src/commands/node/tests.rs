use prost_types::Timestamp;

use super::*;

#[test]
fn a_list_of_nodes_reads_well() {
    let up = Node {
        id: "0199-a".into(),
        name: "edge-1".into(),
        version: "0.1.0".into(),
        state: NodeState::Up.into(),
        started_at: Some(Timestamp { seconds: 0, nanos: 0 }),
        last_heard_at: Some(Timestamp { seconds: 7198, nanos: 0 }),
        applied_revision: 42,
        revisions_behind: 0,
        fills: 3,
        served_bytes: 3 << 30,
        fetched_bytes: 1 << 20,
        peer_bytes: 0,
        peer_url: String::new(),
        store_total_bytes: 100 << 30,
        store_available_bytes: 40 << 30,
    };
    let gone = Node {
        id: "0199-b".into(),
        name: "edge-2".into(),
        state: NodeState::Unreachable.into(),
        last_heard_at: Some(Timestamp { seconds: 3600, nanos: 0 }),
        applied_revision: 40,
        revisions_behind: 2,
        store_total_bytes: 0,
        ..up.clone()
    };
    let now = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(7200);
    let nodes = table(&[up, gone], now);
    assert!(nodes.fits_80_columns(), "{nodes}");
    let nodes = nodes.wide();
    assert_eq!(
        nodes.to_string(),
        "NAME     STATE         VERSION   SINCE         LAST REPORT   REVISION        FILLS   SERVED    FETCHED   FROM PEERS   FREE     ID\n\
         edge-1   up            0.1.0     2 hours ago   just now      42              3       3.0 GiB   1.0 MiB   0 B          40 GiB   0199-a\n\
         edge-2   unreachable   0.1.0     2 hours ago   1 hour ago    40 (2 behind)   3       3.0 GiB   1.0 MiB   0 B          -        0199-b\n"
    );
}
