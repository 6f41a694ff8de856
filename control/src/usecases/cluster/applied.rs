//! Waiting until nodes serve by a change, for whoever answers only then.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::{
    clock::Clock,
    rules::cluster::node::{Node, NodeState},
    store::{Store, cluster::node},
    usecases::UseCaseResult,
};

/// Longest wait for nodes to apply a change.
const NODES_TIME: Duration = Duration::from_secs(3);
/// Pause between two looks whether they have.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Waits until all nodes that are there serve by this revision; answers those that may not.
pub async fn unreached(store: &Store, clock: &Clock, revision: i64) -> UseCaseResult<Vec<Node>> {
    let deadline = Instant::now() + NODES_TIME;
    loop {
        let now_ms = clock.now_ms();
        let mut behind = node::before_revision(&mut *store.read().await?, revision).await?;
        behind.retain(|node| node.may_serve_before(revision, now_ms));
        // One that has stopped may come back while nobody can tell it.
        let is_there = |node: &Node| !node.has_stopped && node.state(None, now_ms) != NodeState::Unreachable;
        if !behind.iter().any(is_there) || Instant::now() >= deadline {
            return Ok(behind);
        }
        sleep(LOOK_EVERY).await;
    }
}
