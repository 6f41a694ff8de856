//! Members of groups: what a role is worth.

use std::{fmt, str::FromStr};

/// What a member may do in a group and in its subgroups; each role may do what those before it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Pull, and read the group.
    Guest,
    /// Change settings, credentials and tokens, and purge.
    Maintainer,
    /// Change members, rename and delete the group, create subgroups.
    Owner,
}

impl Role {
    /// All roles, the least first.
    pub const ALL: [Self; 3] = [Self::Guest, Self::Maintainer, Self::Owner];

    /// The word that people write and that it is stored as.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Guest => "guest",
            Self::Maintainer => "maintainer",
            Self::Owner => "owner",
        }
    }
}

impl FromStr for Role {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        Self::ALL.into_iter().find(|role| role.as_str() == text).ok_or(())
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A user's role in a group, with where it comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// The user's id.
    pub user_id: String,
    /// The user's name.
    pub user: String,
    /// The role.
    pub role: Role,
    /// The group that gives it.
    pub group: roadstead_proto::GroupPath,
    /// Since when.
    pub added_at_ms: i64,
}
