//! The same, for what nodes report.

use super::{NOW, fresh};
use crate::{
    rules::cluster::node::{Figures, Node},
    store::cluster::node,
};

fn node(heard_at_ms: i64, applied_revision: i64) -> Node {
    Node {
        id: "n".into(),
        name: "node".into(),
        version: "1".into(),
        started_at_ms: NOW,
        heard_at_ms,
        has_stopped: false,
        applied_revision,
        max_outage_ms: 900_000,
        figures: Figures { fills: applied_revision, ..Figures::default() },
        peer_url: String::new(),
        store_id: String::new(),
    }
}

#[tokio::test]
async fn a_report_taken_by_a_replica_whose_clock_is_behind_counts() {
    let (_folder, store) = fresh().await;
    let mut tx = store.write().await.unwrap();
    let steps = [
        (node(NOW, 5), (NOW, 5)),
        // Its clock is behind; what the node says is news all the same.
        (node(NOW - 20_000, 6), (NOW, 6)),
        // Written late, by the other.
        (node(NOW + 1, 5), (NOW + 1, 6)),
    ];
    for (reported, expected) in steps {
        node::put(&mut tx, &reported).await.unwrap();
        let listed = node::page(&mut tx, "", 0, 10).await.unwrap();
        assert_eq!([(listed[0].heard_at_ms, listed[0].applied_revision)], [expected]);
    }
    // It began anew, by an older state.
    node::put_watching(&mut tx, &node(NOW + 2, 3)).await.unwrap();
    assert_eq!(node::page(&mut tx, "", 0, 10).await.unwrap()[0].applied_revision, 3);
}
