//! When signing keys come, sign and go: one rule over their times, the same on every replica.
//!
//! A key is published before it signs, so that every node knows it when the first token signed with it arrives,
//! and stays published after it stopped signing until its last token has expired.

/// Time for which a key is published before it signs, in milliseconds: a node that has not heard of a change for a
/// minute is cut off anyway.
pub const PUBLISH_LEAD_MS: i64 = 60 * 1000;
/// Time for which a key signs before the next one takes over, in milliseconds: 30 days.
pub const ROTATE_AFTER_MS: i64 = 30 * 24 * 3600 * 1000;
/// Longest life of a registry token that can be configured, in milliseconds: a day. Whatever the setting was when a
/// token was issued, after this time it has expired.
pub const MAX_TOKEN_LIFETIME_MS: i64 = 24 * 3600 * 1000;

/// A key, as far as the rule goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyTimes {
    /// When it was made.
    pub created_at_ms: i64,
    /// Tokens signed with it are void after this; `None` while it is in use.
    pub not_after_ms: Option<i64>,
}

/// The steps that are due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rotation {
    /// Make a new key.
    pub make: bool,
    /// Keys in use that were made before this time verify only until then.
    pub retire: Option<Retire>,
}

/// Which keys stop being in use, and until when they verify.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retire {
    /// Those made before this time.
    pub made_before_ms: i64,
    /// Their `not_after`.
    pub not_after_ms: i64,
}

/// Which of the keys signs now: the newest that has been published long enough, or the oldest of those that have not.
pub fn signing(keys: &[KeyTimes], now_ms: i64) -> Option<usize> {
    let usable = || keys.iter().enumerate().filter(|(_, key)| key.not_after_ms.is_none());
    usable()
        .filter(|(_, key)| key.created_at_ms + PUBLISH_LEAD_MS <= now_ms)
        .max_by_key(|(_, key)| key.created_at_ms)
        .or_else(|| usable().min_by_key(|(_, key)| key.created_at_ms))
        .map(|(index, _)| index)
}

/// True if a key is due, or some keys have expired.
pub fn due(keys: &[KeyTimes], now_ms: i64) -> Rotation {
    let in_use = || keys.iter().filter(|key| key.not_after_ms.is_none());
    let newest = in_use().map(|key| key.created_at_ms).max();
    let make = newest.is_none_or(|created| created + ROTATE_AFTER_MS <= now_ms);
    // A key that took over leaves those before it without work.
    let signs = in_use().map(|key| key.created_at_ms).filter(|at| at + PUBLISH_LEAD_MS <= now_ms).max();
    let retire = signs
        .filter(|signs| in_use().any(|key| key.created_at_ms < *signs))
        .map(|made_before_ms| Retire { made_before_ms, not_after_ms: now_ms + MAX_TOKEN_LIFETIME_MS });
    Rotation { make, retire }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const DAY: i64 = 24 * 3600 * 1000;

    fn key(created_at_ms: i64) -> KeyTimes {
        KeyTimes { created_at_ms, not_after_ms: None }
    }

    #[test]
    fn a_key_signs_only_after_it_was_published_unless_it_is_the_only_one() {
        for (keys, now, expected) in [
            (vec![], 0, None),
            (vec![key(100)], 100, Some(0)),
            (vec![key(0), key(30 * DAY)], 30 * DAY, Some(0)),
            (vec![key(0), key(30 * DAY)], 30 * DAY + PUBLISH_LEAD_MS - 1, Some(0)),
            (vec![key(0), key(30 * DAY)], 30 * DAY + PUBLISH_LEAD_MS, Some(1)),
            (vec![KeyTimes { not_after_ms: Some(9), ..key(0) }], 1, None),
        ] {
            assert_eq!(signing(&keys, now), expected, "{keys:?} {now}");
        }
    }

    #[test]
    fn keys_are_made_and_retired_in_time() {
        let after = 30 * DAY + PUBLISH_LEAD_MS;
        let retire = Some(Retire { made_before_ms: 30 * DAY, not_after_ms: after + MAX_TOKEN_LIFETIME_MS });
        for (keys, now, expected) in [
            (vec![], 0, Rotation { make: true, retire: None }),
            (vec![key(0)], 30 * DAY - 1, Rotation { make: false, retire: None }),
            (vec![key(0)], 30 * DAY, Rotation { make: true, retire: None }),
            (vec![key(0), key(30 * DAY)], after - 1, Rotation { make: false, retire: None }),
            (vec![key(0), key(30 * DAY)], after, Rotation { make: false, retire }),
        ] {
            assert_eq!(due(&keys, now), expected, "{keys:?} {now}");
        }
    }

    proptest! {
        #[test]
        fn the_key_that_signs_now_verifies_until_a_token_of_now_has_expired(
            steps in prop::collection::vec(1..40 * DAY, 1..40)
        ) {
            let (mut keys, mut now) = (Vec::<KeyTimes>::new(), 0);
            let mut issued: Vec<(i64, i64)> = Vec::new();
            for step in steps {
                let rotation = due(&keys, now);
                if let Some(retire) = rotation.retire {
                    for key in keys.iter_mut().filter(|key| key.created_at_ms < retire.made_before_ms) {
                        key.not_after_ms.get_or_insert(retire.not_after_ms);
                    }
                }
                if rotation.make {
                    keys.push(key(now));
                }
                let signer = keys[signing(&keys, now).unwrap()];
                prop_assert!(signer.not_after_ms.is_none());
                issued.push((signer.created_at_ms, now + MAX_TOKEN_LIFETIME_MS));
                for (created, expires) in &issued {
                    let key = keys.iter().find(|key| key.created_at_ms == *created).unwrap();
                    prop_assert!(key.not_after_ms.is_none_or(|not_after| not_after >= *expires));
                }
                now += step;
            }
        }
    }
}
