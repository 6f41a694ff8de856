//! Paths of groups.

use std::{fmt, str::FromStr, sync::Arc};

/// Most characters in a path, as GitLab has it.
const MAX_CHARS: usize = 255;
/// Most segments in a path.
const MAX_SEGMENTS: usize = 20;

/// The text is not a group's path.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidGroupPath {
    /// Nothing was given.
    #[error("a group path must not be empty")]
    Empty,
    /// Too many characters.
    #[error("a group path has at most {MAX_CHARS} characters")]
    TooLong,
    /// Too many segments.
    #[error("a group path has at most {MAX_SEGMENTS} segments")]
    TooDeep,
    /// A segment breaks the rules; carries the segment.
    #[error(
        "group path segment {0:?} must start and end with a letter or digit and hold only letters, digits, '-', '_' and single '.'"
    )]
    BadSegment(String),
    /// The path would be taken apart wrongly in an image's name.
    #[error("group path segment {0:?} is reserved")]
    Reserved(String),
}

/// A group's path: 1 to 20 segments joined by `/`. Case does not matter; it is kept lower-case.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct GroupPath(Arc<str>);

impl GroupPath {
    /// The path as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The first segment: the path of the top-level group.
    pub fn top_level(&self) -> &str {
        self.0.split_once('/').map_or(&*self.0, |(top, _)| top)
    }

    /// The path of the top-level group that it is or is within.
    #[must_use]
    pub fn top(&self) -> Self {
        Self(self.top_level().into())
    }
}

fn check_segment(segment: &str) -> Result<(), InvalidGroupPath> {
    let bad = || InvalidGroupPath::BadSegment(segment.chars().take(64).collect());
    let bytes = segment.as_bytes();
    let (Some(first), Some(last)) = (bytes.first(), bytes.last()) else { return Err(bad()) };
    let good = first.is_ascii_alphanumeric()
        && last.is_ascii_alphanumeric()
        && bytes.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
        && !segment.contains("..");
    if !good {
        return Err(bad());
    }
    if segment.eq_ignore_ascii_case("dependency_proxy") {
        return Err(InvalidGroupPath::Reserved(segment.to_owned()));
    }
    Ok(())
}

impl FromStr for GroupPath {
    type Err = InvalidGroupPath;

    fn from_str(text: &str) -> Result<Self, InvalidGroupPath> {
        if text.is_empty() {
            return Err(InvalidGroupPath::Empty);
        }
        if text.len() > MAX_CHARS {
            return Err(InvalidGroupPath::TooLong);
        }
        if text.split('/').count() > MAX_SEGMENTS {
            return Err(InvalidGroupPath::TooDeep);
        }
        text.split('/').try_for_each(check_segment)?;
        Ok(Self(text.to_ascii_lowercase().into()))
    }
}

impl fmt::Display for GroupPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_checked_and_lowered() {
        let path: GroupPath = "Acme/Back-End/ci_1.x".parse().unwrap();
        assert_eq!((path.as_str(), path.top_level()), ("acme/back-end/ci_1.x", "acme"));
        assert_eq!(path.top().top(), "acme".parse().unwrap());
        let deep = vec!["a"; 21].join("/");
        let long = "a".repeat(256);
        for text in [
            "",
            "/",
            "a/",
            "/a",
            "a//b",
            "..",
            "a/../b",
            "-a",
            "a-",
            "a b",
            "a%2fb",
            "ä",
            "dependency_proxy",
            &deep,
            &long,
        ] {
            assert!(text.parse::<GroupPath>().is_err(), "{text}");
        }
    }
}
