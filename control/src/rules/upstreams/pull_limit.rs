//! Pull limits of upstreams: what a new observation makes of what is known, when nodes must hear of it at once, and
//! what it means for pulls.
//!
//! It guarantees that only newer observations win, that a pause is never cut short by one, and that an observation
//! counts only until its window has passed.

use roadstead_proto::UpstreamHost;

use crate::rules::tags::freshness::UpstreamState;

/// Time for which an observation counts if upstream does not name the window, in milliseconds: six hours, as Docker
/// Hub's.
pub const DEFAULT_WINDOW_MS: i64 = 6 * 3600 * 1000;
/// Longest pause that is believed, in milliseconds: a day. A mistaken `Retry-After` must not shut an upstream for
/// years.
pub const MAX_PAUSE_MS: i64 = 24 * 3600 * 1000;
/// Longest window that is believed, in seconds: 31 days.
const MAX_WINDOW_SECONDS: i64 = 31 * 24 * 3600;

/// The known state of an upstream for one set of credentials and one source that it counts for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Condition {
    /// The upstream's host.
    pub upstream: String,
    /// User name of the credentials; empty for none.
    pub username: String,
    /// The client that upstream counts for; empty if it does not say.
    pub source: String,
    /// Nothing is fetched until then; 0 if it did not ask for that.
    pub paused_until_ms: i64,
    /// Pulls in a window; 0 where no limit was told.
    pub limit: i64,
    /// Pulls left.
    pub remaining: i64,
    /// The window; 0 if not said.
    pub window_seconds: i64,
    /// When the limit was told; 0 if none was.
    pub seen_at_ms: i64,
}

impl Condition {
    /// Returns its key as one text: none of the three parts has a line break.
    pub fn key(&self) -> String {
        format!("{}\n{}\n{}", self.upstream, self.username, self.source)
    }

    /// Upstream, user name and source of a key.
    pub fn parts(key: &str) -> (&str, &str, &str) {
        let (upstream, rest) = key.split_once('\n').unwrap_or((key, ""));
        let (username, source) = rest.split_once('\n').unwrap_or((rest, ""));
        (upstream, username, source)
    }

    /// Time for which its limit counts, in milliseconds.
    pub fn window_ms(&self) -> i64 {
        if self.window_seconds > 0 { self.window_seconds.saturating_mul(1000) } else { DEFAULT_WINDOW_MS }
    }

    /// True if its limit still counts.
    pub fn counts(&self, now_ms: i64) -> bool {
        self.seen_at_ms > 0 && self.limit > 0 && now_ms - self.seen_at_ms < self.window_ms()
    }

    /// True if it has anything that nodes must know.
    pub fn matters(&self, now_ms: i64) -> bool {
        self.paused_until_ms > now_ms || self.counts(now_ms)
    }

    /// True if less is left than the reserve.
    pub fn below_reserve(&self, reserve_percent: i64, now_ms: i64) -> bool {
        self.counts(now_ms) && self.remaining.saturating_mul(100) < self.limit.saturating_mul(reserve_percent)
    }

    /// As a node sent it, cut down to what can be: a clock that is ahead must not make its word the last one.
    pub fn bounded(self, now_ms: i64) -> Self {
        let limit = self.limit.max(0);
        Self {
            paused_until_ms: self.paused_until_ms.clamp(0, now_ms.saturating_add(MAX_PAUSE_MS)),
            limit,
            remaining: self.remaining.clamp(0, limit),
            window_seconds: self.window_seconds.clamp(0, MAX_WINDOW_SECONDS),
            seen_at_ms: self.seen_at_ms.clamp(0, now_ms),
            ..self
        }
    }

    /// Returns the state after `newer` was observed too.
    pub fn merged(&self, newer: &Self) -> Self {
        let told = if newer.limit > 0 && newer.seen_at_ms > self.seen_at_ms { newer } else { self };
        Self { paused_until_ms: self.paused_until_ms.max(newer.paused_until_ms), ..told.clone() }
    }

    /// Checks whether nodes must hear at once that this became `after`: a pause, or a crossed reserve.
    pub fn matters_at_once(&self, after: &Self, reserve_percent: i64, now_ms: i64) -> bool {
        let paused = after.paused_until_ms > now_ms && after.paused_until_ms > self.paused_until_ms;
        paused || self.below_reserve(reserve_percent, now_ms) != after.below_reserve(reserve_percent, now_ms)
    }
}

/// Returns the effect of the conditions of one set of credentials on pulls. Several sources are several places that
/// nodes ask from; which of them the next pull comes from is not known, so the worst counts.
pub fn state(host: &UpstreamHost, conditions: &[Condition], reserve_percent: i64, now_ms: i64) -> UpstreamState {
    UpstreamState {
        paused_until_ms: conditions.iter().map(|condition| condition.paused_until_ms).max().unwrap_or_default(),
        below_reserve: conditions.iter().any(|condition| condition.below_reserve(reserve_percent, now_ms)),
        // Docker Hub says that it does not count them; of others nothing is known.
        heads_count: host.as_str() != UpstreamHost::DOCKER_HUB,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_800_000_000_000;

    fn condition(limit: i64, remaining: i64, seen_at_ms: i64) -> Condition {
        Condition {
            upstream: "docker.io".into(),
            limit,
            remaining,
            seen_at_ms,
            window_seconds: 60,
            ..Condition::default()
        }
    }

    #[test]
    fn the_reserve_is_a_share_of_the_limit_and_counts_within_the_window() {
        for (condition, reserve, expected) in [
            (condition(100, 10, NOW), 10, false),
            (condition(100, 9, NOW), 10, true),
            (condition(100, 9, NOW), 0, false),
            (condition(100, 0, NOW), 0, false),
            (condition(100, 9, NOW - 59_999), 10, true),
            (condition(100, 9, NOW - 60_000), 10, false),
            (Condition { window_seconds: 0, ..condition(100, 9, NOW - DEFAULT_WINDOW_MS + 1) }, 10, true),
            (condition(0, 0, NOW), 10, false),
            (condition(0, 0, 0), 90, false),
        ] {
            assert_eq!(condition.below_reserve(reserve, NOW), expected, "{condition:?} {reserve}");
        }
    }

    #[test]
    fn only_newer_observations_win_and_a_pause_is_never_cut_short() {
        let known = Condition { paused_until_ms: NOW + 50, ..condition(100, 50, NOW) };
        for (name, newer, remaining, paused_until_ms) in [
            ("newer", condition(100, 40, NOW + 1), 40, NOW + 50),
            ("older", condition(100, 60, NOW - 1), 50, NOW + 50),
            ("at the same time", condition(100, 60, NOW), 50, NOW + 50),
            (
                "a longer pause without a limit",
                Condition { paused_until_ms: NOW + 90, ..condition(0, 0, 0) },
                50,
                NOW + 90,
            ),
            ("a shorter pause", Condition { paused_until_ms: NOW + 10, ..condition(100, 0, NOW + 1) }, 0, NOW + 50),
        ] {
            let merged = known.merged(&newer);
            assert_eq!((merged.remaining, merged.paused_until_ms), (remaining, paused_until_ms), "{name}");
        }
    }

    #[test]
    fn what_nodes_send_is_bounded() {
        let sent = Condition { paused_until_ms: i64::MAX, window_seconds: -1, ..condition(100, 200, i64::MAX) };
        let bounded = sent.bounded(NOW);
        assert_eq!(bounded.paused_until_ms, NOW + MAX_PAUSE_MS);
        assert_eq!((bounded.remaining, bounded.window_seconds, bounded.seen_at_ms), (100, 0, NOW));
        let bounded = condition(-1, -1, -1).bounded(NOW);
        assert_eq!((bounded.limit, bounded.remaining, bounded.seen_at_ms), (0, 0, 0));
    }

    #[test]
    fn nodes_hear_at_once_of_pauses_and_of_crossing_the_reserve() {
        let fine = condition(100, 50, NOW);
        for (name, after, expected) in [
            ("a few less", condition(100, 40, NOW), false),
            ("below the reserve", condition(100, 9, NOW), true),
            ("a pause", Condition { paused_until_ms: NOW + 1, ..fine.clone() }, true),
            ("a pause that is over", Condition { paused_until_ms: NOW, ..fine.clone() }, false),
        ] {
            assert_eq!(fine.matters_at_once(&after, 10, NOW), expected, "{name}");
            let back = after.below_reserve(10, NOW);
            assert_eq!(after.matters_at_once(&fine, 10, NOW), back, "{name}, back");
        }
    }

    #[test]
    fn the_worst_source_counts() {
        let hub = "docker.io".parse().unwrap();
        let paused = Condition { paused_until_ms: NOW + 1500, ..condition(0, 0, 0) };
        let got = state(&hub, &[condition(100, 50, NOW), condition(100, 9, NOW), paused], 10, NOW);
        assert_eq!(got, UpstreamState { paused_until_ms: NOW + 1500, below_reserve: true, heads_count: false });
        assert_eq!((got.pause_seconds(NOW), got.pause_seconds(NOW + 1500)), (Some(2), None));
        assert!(state(&"quay.io".parse().unwrap(), &[], 10, NOW).heads_count);
    }
}
