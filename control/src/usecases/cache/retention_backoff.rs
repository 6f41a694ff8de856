//! Pauses between searches for content to remove: a search is expensive, and a search that finds nothing is mostly
//! wasted.
//!
//! It guarantees that at most a share of the time is spent on looking, that what yields nothing is looked at ever more
//! rarely, and that new settings are looked at at once.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use crate::rules::groups::group::GroupSettings;

/// Interval of the searches while they find something, in milliseconds.
pub(crate) const ROOM_EVERY_MS: i64 = 5_000;
/// Longest interval while they find nothing, in milliseconds: ten minutes.
const MOST_MS: i64 = 10 * 60 * 1000;
/// Largest share of the time that searches may take.
const LOOK_SHARE: u32 = 20;

#[derive(Debug)]
struct Backoff {
    until_ms: i64,
    length_ms: i64,
    /// Those that were looked at; none where it is the whole store.
    settings: Option<GroupSettings>,
}

/// The pauses, by a group's id, or "" for the whole store.
#[derive(Debug, Default)]
pub(crate) struct RetentionBackoff(Mutex<HashMap<String, Backoff>>);

impl RetentionBackoff {
    /// True if a search is due.
    pub(crate) fn is_due(&self, key: &str, settings: Option<&GroupSettings>, now_ms: i64) -> bool {
        let backoffs = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        backoffs.get(key).is_none_or(|backoff| now_ms >= backoff.until_ms || backoff.settings.as_ref() != settings)
    }

    /// It was looked at for so long; `in_vain` if there was too much, and nothing that might go.
    pub(crate) fn looked(
        &self,
        key: &str,
        settings: Option<&GroupSettings>,
        now_ms: i64,
        spent: Duration,
        in_vain: bool,
    ) {
        let mut backoffs = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let before = backoffs.get(key).filter(|backoff| in_vain && backoff.settings.as_ref() == settings);
        let doubled = before.map_or(0, |backoff| (backoff.length_ms * 2).min(MOST_MS));
        let length_ms =
            i64::try_from((spent * LOOK_SHARE).as_millis()).unwrap_or(MOST_MS).max(ROOM_EVERY_MS).max(doubled);
        let backoff = Backoff { until_ms: now_ms.saturating_add(length_ms), length_ms, settings: settings.cloned() };
        backoffs.insert(key.to_owned(), backoff);
    }

    /// Forgets all groups but these, and keeps the store's.
    pub(crate) fn keep(&self, groups: &[&str]) {
        let mut backoffs = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        backoffs.retain(|key, _| key.is_empty() || groups.contains(&key.as_str()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_yields_nothing_is_looked_at_ever_more_rarely_and_what_costs_much_seldom() {
        let backoffs = RetentionBackoff::default();
        let looked = |spent_ms, in_vain| {
            backoffs.looked("", None, 0, Duration::from_millis(spent_ms), in_vain);
            let due = (0..=MOST_MS * 2).step_by(1000).find(|now_ms| backoffs.is_due("", None, *now_ms));
            due.unwrap() / 1000
        };
        assert!(backoffs.is_due("", None, 0));
        let in_vain: Vec<_> = (0..9).map(|_| looked(1, true)).collect();
        assert_eq!(in_vain, [5, 10, 20, 40, 80, 160, 320, 600, 600]);
        assert_eq!(looked(1, false), 5, "there was something");
        assert_eq!(looked(2_000, false), 40, "a twentieth of the time");
        assert_eq!(looked(60_000, true), 1200);
        backoffs.keep(&[]);
        assert!(!backoffs.is_due("", None, 0));
    }
}
