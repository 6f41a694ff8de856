//! How full the store may be: beyond the high watermark, the least recently pulled images of all groups go until it is as
//! full as the low one says.

use std::{fmt, str::FromStr};

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

impl FromStr for Level {
    type Err = String;

    /// "90%", or bytes as [`bytes_of`] reads them.
    fn from_str(text: &str) -> Result<Self, String> {
        let Some(percent) = text.strip_suffix('%') else { return bytes_of(text).map(Self::Bytes) };
        match percent.parse() {
            Ok(percent @ 1..=100) => Ok(Self::Percent(percent)),
            _ => Err("expected 1% to 100%, or bytes, for example 90% or 500GiB".to_owned()),
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

/// Reads a number of bytes: "1073741824", "500MB", "50GiB".
pub fn bytes_of(text: &str) -> Result<i64, String> {
    const UNITS: [(&str, i64); 13] = [
        ("KiB", 1 << 10),
        ("MiB", 1 << 20),
        ("GiB", 1 << 30),
        ("TiB", 1 << 40),
        ("PiB", 1 << 50),
        ("kB", 1_000),
        ("KB", 1_000),
        ("MB", 1_000_000),
        ("GB", 1_000_000_000),
        ("TB", 1_000_000_000_000),
        ("PB", 1_000_000_000_000_000),
        ("B", 1),
        ("", 1),
    ];
    let wrong = || format!("{text:?} is not a size; expected for example 50GiB, 500MB or 1073741824");
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let number: i64 = number.parse().map_err(|_| wrong())?;
    let (_, factor) = UNITS.iter().find(|(name, _)| *name == unit.trim_start()).ok_or_else(wrong)?;
    number.checked_mul(*factor).ok_or_else(|| format!("{text:?} is more than can be counted"))
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
    /// Of a store of that size, both in bytes: the high one first. `None` while the store's size is needed and not known.
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
    fn levels_are_shares_or_sizes() {
        for (text, expected) in [
            ("90%", Some(Level::Percent(90))),
            ("100%", Some(Level::Percent(100))),
            ("0%", None),
            ("101%", None),
            ("50GiB", Some(Level::Bytes(50 << 30))),
            ("50 GB", Some(Level::Bytes(50_000_000_000))),
            ("12", Some(Level::Bytes(12))),
            ("1 parsec", None),
            ("-1", None),
            ("", None),
            ("9223372036854775807KiB", None),
        ] {
            assert_eq!(text.parse().ok(), expected, "{text}");
        }
    }

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
