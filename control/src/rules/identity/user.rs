//! People: what they are called, and what can be wrong with a new one.

use std::{fmt, str::FromStr};

use secrecy::{ExposeSecret as _, SecretString};

use crate::rules::violation::Violation;

/// Most characters in a user's name.
const MAX_NAME_CHARS: usize = 255;
/// Fewest and most characters in a password.
pub const PASSWORD_CHARS: std::ops::RangeInclusive<usize> = 12..=1024;
/// Names that mean something else when somebody signs in.
const RESERVED: [&str; 2] = ["anonymous", "oidc"];

/// The text is not a user's name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidUserName {
    /// It breaks the rules.
    #[error(
        "a user name has 1 to {MAX_NAME_CHARS} letters, digits, '.', '_' and '-', and begins with a letter or digit"
    )]
    Malformed,
    /// It means something else; carries the name.
    #[error("the user name {0} is reserved")]
    Reserved(String),
}

/// A user's name. Case does not matter; it is kept lower-case.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct UserName(String);

impl UserName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for UserName {
    type Err = InvalidUserName;

    fn from_str(text: &str) -> Result<Self, InvalidUserName> {
        let good = text.len() <= MAX_NAME_CHARS
            && text.starts_with(|first: char| first.is_ascii_alphanumeric())
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'));
        if !good {
            return Err(InvalidUserName::Malformed);
        }
        let name = text.to_ascii_lowercase();
        if RESERVED.contains(&name.as_str()) { Err(InvalidUserName::Reserved(name)) } else { Ok(Self(name)) }
    }
}

impl fmt::Display for UserName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A user as it can be shown: without the password's hash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// Never changes.
    pub id: String,
    /// Unique, lower-case.
    pub name: UserName,
    /// True if the user may do everything.
    pub admin: bool,
    /// True if every sign-in is refused.
    pub disabled: bool,
    /// Goes up with every change.
    pub etag: i64,
    /// Registry tokens that carry a lower one are void.
    pub epoch: i64,
    /// When the user was created.
    pub created_at_ms: i64,
    /// When the user last signed in or used a token, coarsely.
    pub last_seen_at_ms: Option<i64>,
}

/// A user to be made.
#[derive(Debug)]
pub struct NewUser {
    /// As given; parsed by [`NewUser::name`].
    pub name: String,
    /// The password.
    pub password: SecretString,
    /// See [`User::admin`].
    pub admin: bool,
}

impl NewUser {
    /// The name it will have, or everything that is wrong with it.
    pub fn name(&self) -> Result<UserName, Vec<Violation>> {
        let mut found = password_violations(&self.password);
        match self.name.parse::<UserName>() {
            Ok(name) if found.is_empty() => return Ok(name),
            Ok(_) => {}
            Err(problem) => found.insert(0, Violation::new("name", problem.to_string())),
        }
        Err(found)
    }
}

/// A change of a user; `None` leaves what is there.
#[derive(Debug, Default)]
pub struct UserChange {
    /// A new password.
    pub password: Option<SecretString>,
    /// See [`User::admin`].
    pub admin: Option<bool>,
    /// See [`User::disabled`].
    pub disabled: Option<bool>,
}

impl UserChange {
    /// Returns the violations.
    pub fn violations(&self) -> Vec<Violation> {
        self.password.as_ref().map(password_violations).unwrap_or_default()
    }

    /// True if users may do this to themselves: only the password.
    pub fn is_of_password_only(&self) -> bool {
        self.admin.is_none() && self.disabled.is_none()
    }

    /// True if the user's registry tokens must end with it.
    pub fn voids_registry_tokens(&self, before: &User) -> bool {
        self.password.is_some()
            || (before.admin && self.admin == Some(false))
            || (!before.disabled && self.disabled == Some(true))
    }

    /// The names of what changes.
    pub fn changes(&self, before: &User) -> Vec<&'static str> {
        [
            ("password", self.password.is_some()),
            ("admin", self.admin.is_some_and(|admin| admin != before.admin)),
            ("disabled", self.disabled.is_some_and(|disabled| disabled != before.disabled)),
        ]
        .into_iter()
        .filter_map(|(name, differs)| differs.then_some(name))
        .collect()
    }
}

fn password_violations(password: &SecretString) -> Vec<Violation> {
    if PASSWORD_CHARS.contains(&password.expose_secret().chars().count()) {
        return Vec::new();
    }
    let (fewest, most) = (PASSWORD_CHARS.start(), PASSWORD_CHARS.end());
    vec![Violation::new("password", format!("must have {fewest} to {most} characters"))]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked_and_lowered() {
        assert_eq!("Alice.B_c-1".parse::<UserName>().unwrap().as_str(), "alice.b_c-1");
        let long = "a".repeat(256);
        for text in ["", "-a", ".a", "a b", "a:b", "a/b", "ä", "Anonymous", "oidc", &long] {
            assert!(text.parse::<UserName>().is_err(), "{text}");
        }
    }

    #[test]
    fn everything_that_is_wrong_with_a_new_user_is_told_at_once() {
        let of = |name: &str, password: &str| NewUser { name: name.into(), password: password.into(), admin: false };
        let twelve = "ä".repeat(12);
        for (user, expected) in [
            (of("alice", &twelve), vec![]),
            (of("alice", "elf letters"), vec!["password"]),
            (of("alice", &"x".repeat(1025)), vec!["password"]),
            (of("a b", ""), vec!["name", "password"]),
            (of("oidc", &twelve), vec!["name"]),
        ] {
            let found = user.name().err().unwrap_or_default();
            assert_eq!(found.iter().map(|v| v.field.as_str()).collect::<Vec<_>>(), expected);
        }
    }

    #[test]
    fn registry_tokens_end_with_a_password_with_disabling_and_with_losing_admin() {
        let user = |admin, disabled| User {
            id: "u".into(),
            name: "alice".parse().unwrap(),
            admin,
            disabled,
            etag: 1,
            epoch: 1,
            created_at_ms: 0,
            last_seen_at_ms: None,
        };
        let change = UserChange::default;
        for (change, before, expected) in [
            (change(), user(true, false), false),
            (UserChange { password: Some("x".into()), ..change() }, user(false, false), true),
            (UserChange { disabled: Some(true), ..change() }, user(false, false), true),
            (UserChange { disabled: Some(true), ..change() }, user(false, true), false),
            (UserChange { disabled: Some(false), ..change() }, user(false, true), false),
            (UserChange { admin: Some(false), ..change() }, user(true, false), true),
            (UserChange { admin: Some(false), ..change() }, user(false, false), false),
            (UserChange { admin: Some(true), ..change() }, user(false, false), false),
        ] {
            assert_eq!(change.voids_registry_tokens(&before), expected, "{change:?} {before:?}");
        }
    }
}
