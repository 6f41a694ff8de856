//! Members of groups: what a role is worth.

use roadstead_proto::Role;

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
