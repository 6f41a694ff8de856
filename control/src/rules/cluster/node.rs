//! Data-plane nodes: what is known of them, whether one is there, and whether a purge has to reckon with it.

/// Interval of a node's reports, in milliseconds, as in the protocol.
const REPORT_INTERVAL_MS: i64 = 5_000;
/// A node that was not heard for so long is not there: three reports were missed.
const UNREACHABLE_AFTER_MS: i64 = 3 * REPORT_INTERVAL_MS;
/// A change that a node has not applied after so long is one that it lags behind by.
const LAGGING_AFTER_MS: i64 = 3_000;
/// Within this, the node's clock and ours may differ about how long it has heard nothing.
const SILENCE_SLACK_MS: i64 = 30_000;
/// Time for which a silent node is remembered: a day.
pub const FORGOTTEN_AFTER_MS: i64 = 24 * 3600 * 1000;

/// A node, as it last reported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Made by the node at its first start.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Its version of the program.
    pub version: String,
    /// When it started, by its own clock.
    pub started_at_ms: i64,
    /// When it was last heard, by the control plane's clock.
    pub heard_at_ms: i64,
    /// It stopped in order. If it starts again while the control plane is away, it serves by what it knew.
    pub has_stopped: bool,
    /// The revision that it serves by.
    pub applied_revision: i64,
    /// For how long it serves without word from the control plane.
    pub max_outage_ms: i64,
    /// Its activity.
    pub figures: Figures,
    /// The URL by which other nodes reach it; empty if they do not.
    pub peer_url: String,
    /// Names its blob store.
    pub store_id: String,
}

/// The counters and measurements of a node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Downloads from upstream under way.
    pub fills: i64,
    /// Bytes sent to clients since it started.
    pub served_bytes: i64,
    /// Bytes fetched from upstreams since it started.
    pub fetched_bytes: i64,
    /// Bytes fetched from other nodes since it started.
    pub peer_bytes: i64,
    /// Bytes of its store's file system; 0 for a store without a size.
    pub store_total_bytes: i64,
    /// Of those, free.
    pub store_available_bytes: i64,
}

/// The presence of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeState {
    /// It reports.
    Up,
    /// It reports, but has not applied what changed some seconds ago.
    Lagging,
    /// It does not report.
    Unreachable,
}

impl Node {
    /// Decides its presence; `behind_since_ms` is the time of the first change that it has not applied.
    pub fn state(&self, behind_since_ms: Option<i64>, now_ms: i64) -> NodeState {
        if now_ms - self.heard_at_ms > UNREACHABLE_AFTER_MS {
            NodeState::Unreachable
        } else if behind_since_ms.is_some_and(|since| now_ms - since > LAGGING_AFTER_MS) {
            NodeState::Lagging
        } else {
            NodeState::Up
        }
    }

    /// Checks whether it may serve by a revision before `revision`: it has not reported a later one, and has not been
    /// silent for longer than it serves without the control plane.
    pub fn may_serve_before(&self, revision: i64, now_ms: i64) -> bool {
        let silent_ms = now_ms - self.heard_at_ms;
        self.applied_revision < revision && silent_ms <= self.max_outage_ms.saturating_add(SILENCE_SLACK_MS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_000_000_000;

    fn node(silent_ms: i64, applied_revision: i64) -> Node {
        Node {
            id: "n".into(),
            name: "node".into(),
            version: "1".into(),
            started_at_ms: 0,
            heard_at_ms: NOW - silent_ms,
            has_stopped: false,
            applied_revision,
            max_outage_ms: 900_000,
            figures: Figures::default(),
            peer_url: String::new(),
            store_id: String::new(),
        }
    }

    #[test]
    fn a_node_is_there_while_it_reports_and_lags_while_it_does_not_apply() {
        for (silent_ms, behind_ms, expected) in [
            (0, None, NodeState::Up),
            (5_000, Some(2_900), NodeState::Up),
            (5_000, Some(3_001), NodeState::Lagging),
            (15_000, None, NodeState::Up),
            (15_001, None, NodeState::Unreachable),
            (15_001, Some(10_000), NodeState::Unreachable),
        ] {
            let state = node(silent_ms, 1).state(behind_ms.map(|behind| NOW - behind), NOW);
            assert_eq!(state, expected, "{silent_ms} {behind_ms:?}");
        }
    }

    #[test]
    fn a_purge_reckons_with_nodes_that_may_still_serve_by_what_was_before() {
        for (silent_ms, applied, expected) in
            [(0, 7, false), (0, 8, false), (0, 6, true), (900_000, 6, true), (930_001, 6, false), (930_001, 8, false)]
        {
            assert_eq!(node(silent_ms, applied).may_serve_before(7, NOW), expected, "{silent_ms} {applied}");
        }
    }
}
