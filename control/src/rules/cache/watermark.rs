//! The fill level of the store: above the high watermark, the least recently pulled images of all groups are evicted
//! down to the low one.

use std::fmt;

/// A fill level: bytes, or a share of the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// So many bytes.
    Bytes(i64),
    /// So much of the store, in percent: 1 to 100.
    Percent(u8),
}

impl Level {
    /// In bytes, of a store of that size; `None` for a share of a store whose size is not known.
    pub fn bytes(self, store_bytes: Option<i64>) -> Option<i64> {
        match self {
            Self::Bytes(bytes) => Some(bytes),
            Self::Percent(percent) => {
                let share = i128::from(store_bytes?) * i128::from(percent) / 100;
                Some(i64::try_from(share).unwrap_or(i64::MAX))
            }
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bytes(bytes) => write!(f, "{bytes}"),
            Self::Percent(percent) => write!(f, "{percent}%"),
        }
    }
}

/// Between which fill levels the store is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Watermarks {
    /// Beyond it, images go.
    pub high: Level,
    /// Until it is as full as this.
    pub low: Level,
    /// The store's size, where nodes do not tell it or tell another.
    pub store_bytes: Option<i64>,
}

impl Watermarks {
    /// Of a store of that size, both in bytes: the high one first. `None` while the store's size is needed and not
    /// known.
    pub fn bytes(&self, reported: Option<i64>) -> Option<(i64, i64)> {
        let size = self.store_bytes.or(reported);
        let high = self.high.bytes(size)?;
        Some((high, self.low.bytes(size)?.min(high)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_of_what_was_set_or_else_of_what_nodes_tell() {
        let marks = |high, low, store_bytes| Watermarks { high, low, store_bytes };
        let (p90, p80) = (Level::Percent(90), Level::Percent(80));
        for (marks, reported, expected) in [
            (marks(p90, p80, None), Some(1000), Some((900, 800))),
            (marks(p90, p80, Some(100)), Some(1000), Some((90, 80))),
            (marks(p90, p80, None), None, None),
            (marks(Level::Bytes(70), Level::Bytes(60), None), None, Some((70, 60))),
            (marks(Level::Bytes(70), p80, None), Some(1000), Some((70, 70))),
        ] {
            assert_eq!(marks.bytes(reported), expected, "{marks:?} {reported:?}");
        }
    }
}
