//! Limits on everything that owners of groups can make, so that no owner fills the memory of every node, the database,
//! or the room that all groups share.
//!
//! A limit is looked at after a write, in its transaction: a write that makes more of what is at its limit is refused
//! and undone. One that makes less goes through, even where an operator has lowered the limit since.

use std::fmt::Display;

/// Something that is limited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// Subgroups of one top-level group, at every depth.
    Subgroups,
    /// Segments of a group's path.
    Depth,
    /// Bytes of one group's settings.
    GroupBytes,
    /// Bytes of the settings of one top-level group and its subgroups.
    TreeBytes,
    /// Bytes of the settings of all groups and upstreams: what every node keeps in its memory.
    TotalBytes,
    /// Tokens of one top-level group with its subgroups, or of one user; those that nodes still remember as revoked
    /// count.
    Tokens,
    /// Members of one group.
    Members,
    /// Trusts of one group in issuers of ID tokens.
    Trusts,
    /// Prefetch schedules of one group.
    Schedules,
    /// Pinned tags of one group.
    Pins,
}

impl Limit {
    /// Every limit.
    pub const ALL: [Self; 10] = [
        Self::Subgroups,
        Self::Depth,
        Self::GroupBytes,
        Self::TreeBytes,
        Self::TotalBytes,
        Self::Tokens,
        Self::Members,
        Self::Trusts,
        Self::Schedules,
        Self::Pins,
    ];

    /// The flag that sets it.
    pub const fn flag(self) -> &'static str {
        match self {
            Self::Subgroups => "--max-subgroups",
            Self::Depth => "--max-group-depth",
            Self::GroupBytes => "--max-group-settings",
            Self::TreeBytes => "--max-tree-settings",
            Self::TotalBytes => "--max-total-settings",
            Self::Tokens => "--max-tokens",
            Self::Members => "--max-members",
            Self::Trusts => "--max-trusts",
            Self::Schedules => "--max-schedules",
            Self::Pins => "--max-pins",
        }
    }

    /// The most where an operator chose nothing.
    pub const fn default_most(self) -> i64 {
        match self {
            Self::Depth => 20,
            Self::GroupBytes => 128 * 1024,
            Self::TreeBytes => 8 * 1024 * 1024,
            Self::TotalBytes => 256 * 1024 * 1024,
            Self::Tokens => 10_000,
            Self::Trusts | Self::Schedules => 100,
            Self::Subgroups | Self::Members | Self::Pins => 1000,
        }
    }

    /// The limited things, for a message.
    const fn what(self) -> &'static str {
        match self {
            Self::Subgroups => "subgroups",
            Self::Depth => "segments of its path",
            Self::GroupBytes | Self::TreeBytes | Self::TotalBytes => "bytes of settings",
            Self::Tokens => "tokens, including those revoked in the last day",
            Self::Members => "members",
            Self::Trusts => "trusts",
            Self::Schedules => "prefetch schedules",
            Self::Pins => "pinned tags",
        }
    }
}

/// A write would make more than is allowed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{of} would have {have} {what}, and {most} is the most here; remove some, or ask the operator for a higher {flag}",
    what = limit.what(),
    flag = limit.flag()
)]
pub struct LimitReached {
    /// The limit.
    pub limit: Limit,
    /// The most that is allowed.
    pub most: i64,
    /// The number there would be.
    pub have: i64,
    /// The owner: "group acme".
    pub of: String,
}

/// The limits of an installation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits([i64; Limit::ALL.len()]);

impl Default for Limits {
    fn default() -> Self {
        Self(Limit::ALL.map(Limit::default_most))
    }
}

impl Limits {
    /// The same with another value for one.
    #[must_use]
    pub const fn with(mut self, limit: Limit, most: i64) -> Self {
        self.0[limit as usize] = most;
        self
    }

    /// The most that is allowed.
    pub const fn most(&self, limit: Limit) -> i64 {
        self.0[limit as usize]
    }

    /// Refuses a write after which there are `have` of something of which there were `had` before.
    pub fn check(&self, limit: Limit, of: impl Display, had: i64, have: i64) -> Result<(), LimitReached> {
        let most = self.most(limit);
        if have > most && have > had {
            return Err(LimitReached { limit, most, have, of: of.to_string() });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_limit_has_a_place_of_its_own() {
        for (position, limit) in Limit::ALL.into_iter().enumerate() {
            assert_eq!(limit as usize, position);
            assert_eq!(Limits::default().with(limit, 7).most(limit), 7);
        }
    }

    #[test]
    fn more_than_the_limit_is_refused_and_less_never() {
        let limits = Limits::default().with(Limit::Pins, 3);
        for (had, have, allowed) in [(2, 3, true), (3, 4, false), (9, 8, true), (9, 9, true), (9, 10, false)] {
            assert_eq!(limits.check(Limit::Pins, "group acme", had, have).is_ok(), allowed, "{had} {have}");
        }
        let refused = limits.check(Limit::Pins, "group acme", 3, 4).unwrap_err().to_string();
        assert_eq!(
            refused,
            "group acme would have 4 pinned tags, and 3 is the most here; remove some, or ask the operator for a higher --max-pins"
        );
    }
}
