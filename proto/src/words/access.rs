//! The words for who may do what, and for what a group does with its tags.

use super::words;
use crate::v1;

words! {
    /// The clients that may pull from a group, besides its own tokens.
    Visibility, v1::Visibility, "visibility" {
        /// Members and the group's own tokens.
        Private = "private",
        /// Everybody who is signed in, except CI jobs of other groups.
        Internal = "internal",
        /// Everybody who is signed in; without signing in where the group allows anonymous pulls too.
        Public = "public",
    }
}

words! {
    /// The rights of a member in a group and in its subgroups; each role includes those before it.
    Role, v1::Role, "role" {
        /// Pulls, and reads the group.
        Guest = "guest",
        /// Changes settings, credentials and tokens, and purges.
        Maintainer = "maintainer",
        /// Adds and removes members, renames and deletes the group, creates subgroups.
        Owner = "owner",
    }
}

words! {
    /// The purpose of a token.
    TokenKind, v1::TokenKind, "kind of token" {
        /// The administrator's.
        Admin = "admin",
        /// A group's deploy token.
        Group = "group",
        /// A data-plane node's.
        Node = "node",
        /// A person's.
        Personal = "personal",
        /// A group's access token, which acts as a member.
        GroupAccess = "group_access",
        /// A CI job's.
        Job = "job",
        /// Another service's, for purging.
        Service = "service",
    }
}

words! {
    /// The treatment of a cached tag that upstream has deleted.
    MissingTag, v1::MissingTag, "word for a missing tag" {
        /// The tag is gone here too.
        Gone = "gone",
        /// The tag stays as it was when upstream last had it.
        Keep = "keep",
    }
}

words! {
    /// The outcome of an audited event.
    AuditOutcome, v1::AuditOutcome, "outcome" {
        /// It was done.
        Done = "done",
        /// It was refused: the caller may not do it.
        Refused = "refused",
        /// It was tried and failed.
        Failed = "failed",
    }
}

// Derived traits cannot say it of a macro's enum.
#[allow(clippy::derivable_impls)]
impl Default for MissingTag {
    fn default() -> Self {
        Self::Gone
    }
}
