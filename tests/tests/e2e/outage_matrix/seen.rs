//! The result of one pull.

use std::{fmt, time::Duration};

/// An answer, as far as the matrix is about it.
#[derive(Clone, Debug)]
pub struct Seen {
    /// 0 where the connection ended before there was one.
    pub status: u16,
    /// The error's code, or empty.
    pub code: String,
    /// `X-Cache`.
    pub cache: String,
    /// The number that `Warning` begins with, or empty.
    pub warning: String,
    pub has_age: bool,
    pub has_retry_after: bool,
    /// The body came to its end.
    pub is_complete: bool,
    /// It was what had been asked for.
    pub is_right: bool,
    pub took: Duration,
    /// The requests to upstream meanwhile.
    pub asked: String,
}

impl Seen {
    /// Without what it took.
    pub fn outcome(&self) -> String {
        match self.status {
            _ if !self.is_complete => "*broken off*".to_owned(),
            200 if self.warning.is_empty() => format!("200 `{}`", self.cache),
            200 => format!("200 `{}` {}", self.cache, self.warning),
            status if self.has_retry_after => format!("{status} `{}`, `Retry-After`", self.code),
            status => format!("{status} `{}`", self.code),
        }
    }
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.outcome())?;
        if self.asked.is_empty() { Ok(()) } else { write!(f, " ({})", self.asked) }
    }
}
