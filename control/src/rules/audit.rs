//! Audit events: the actor, action, subject, address and outcome of changes and refusals. Never a secret.
//!
//! A change is recorded in the transaction that makes it, so that neither is there without the other.

use roadstead_proto::{AuditOutcome, GroupPath};

use crate::rules::access::Actor;

/// One record, before it is written.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Entry {
    /// The actor, as [`Actor::describe`] names it.
    pub actor: String,
    /// From where; empty for what happens within the process.
    pub client_address: String,
    /// The action: "group.create", "token.delete", …
    pub action: &'static str,
    /// To what: a path, name, id or host.
    pub subject: String,
    /// Path of the group concerned; empty if none is.
    pub group_path: String,
    /// The outcome.
    pub outcome: AuditOutcome,
    /// More for the reader.
    pub detail: String,
}

/// One record, as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// UUIDv7: its order is that of time.
    pub id: String,
    /// When.
    pub at_ms: i64,
    /// See [`Entry::actor`].
    pub actor: String,
    /// See [`Entry::client_address`].
    pub client_address: String,
    /// See [`Entry::action`].
    pub action: String,
    /// See [`Entry::subject`].
    pub subject: String,
    /// See [`Entry::group_path`].
    pub group_path: String,
    /// See [`Entry::outcome`].
    pub outcome: AuditOutcome,
    /// See [`Entry::detail`].
    pub detail: String,
    /// The number of times it happened within a minute.
    pub count: i64,
}

/// Which events to read.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// Only those of this group and its subgroups.
    pub group: Option<GroupPath>,
    /// Also those of other groups that had the path, or one below it, before.
    pub of_earlier_groups: bool,
    /// Only those at or after this time.
    pub since_ms: i64,
    /// Only those before this time.
    pub until_ms: i64,
}

impl Actor {
    /// The record that this actor did something.
    pub fn did(&self, action: &'static str, subject: impl Into<String>) -> Entry {
        Entry {
            actor: self.describe(),
            client_address: self.client_address.clone().unwrap_or_default(),
            action,
            subject: subject.into(),
            group_path: String::new(),
            outcome: AuditOutcome::Done,
            detail: String::new(),
        }
    }
}

impl Entry {
    /// The record of what the server did by itself.
    pub fn by_server(action: &'static str, subject: impl Into<String>) -> Self {
        Self {
            actor: "server".to_owned(),
            client_address: String::new(),
            action,
            subject: subject.into(),
            group_path: String::new(),
            outcome: AuditOutcome::Done,
            detail: String::new(),
        }
    }

    /// Names the group concerned.
    pub fn of_group(mut self, path: &GroupPath) -> Self {
        self.group_path = path.to_string();
        self
    }

    /// Says more.
    pub fn detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = detail.into();
        self
    }

    /// The record that credentials were refused, or were not good for what was asked.
    pub fn refused_sign_in(
        actor: String,
        client_address: String,
        subject: impl Into<String>,
        detail: impl Into<String>,
    ) -> Self {
        Self {
            actor,
            client_address,
            action: "sign_in",
            subject: subject.into(),
            group_path: String::new(),
            outcome: AuditOutcome::Refused,
            detail: detail.into(),
        }
    }

    /// The record for what is beyond counting one by one: the same, by nobody in particular.
    pub fn one_of_many(self) -> Self {
        Self {
            actor: "(many)".to_owned(),
            client_address: String::new(),
            subject: String::new(),
            detail: "more than could be recorded one by one".to_owned(),
            ..self
        }
    }

    /// Ended otherwise than done.
    pub fn ended(mut self, outcome: AuditOutcome) -> Self {
        self.outcome = outcome;
        self
    }
}

/// A user name as somebody gave it, to be recorded: short, on one line, and not if it looks like a secret that was put
/// in the wrong place.
pub fn shown_name(given: &str) -> String {
    /// Most characters that are recorded.
    const MAX_CHARS: usize = 255;
    // Our tokens, and JWTs.
    if given.starts_with("rs_") || given.starts_with("eyJ") {
        return "(a secret in place of a user name)".to_owned();
    }
    if given.is_empty() {
        return "(no user name)".to_owned();
    }
    given.chars().take(MAX_CHARS).map(|character| if character.is_control() { '\u{fffd}' } else { character }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_recorded_without_secrets_and_line_breaks() {
        for (given, shown) in [
            ("alice", "alice"),
            ("rs_dep_0123", "(a secret in place of a user name)"),
            ("eyJhbGciOi", "(a secret in place of a user name)"),
            ("", "(no user name)"),
            ("a\nb", "a\u{fffd}b"),
        ] {
            assert_eq!(shown_name(given), shown);
        }
        assert_eq!(shown_name(&"x".repeat(1000)).len(), 255);
    }
}
