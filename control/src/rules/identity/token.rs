//! Tokens: whom they are for, what they are good for, and what can be wrong with a new one.

use std::{fmt, str::FromStr};

use roadstead_proto::{GroupPath, Role, TokenKind};

use crate::rules::{identity::user::UserName, violation::Violation};

/// Fewest and most bytes of a secret that somebody chose: too long to be guessed.
pub const CHOSEN_SECRET_BYTES: std::ops::RangeInclusive<usize> = 32..=1024;
/// Most characters in the name of a token.
pub const MAX_NAME_CHARS: usize = 255;
/// Shortest and longest life of a token that expires, in milliseconds: a second, ten years.
pub const LIFETIME_MS: std::ops::RangeInclusive<i64> = 1000..=10 * 366 * 24 * 3600 * 1000;
/// Shortest and longest life of a job token, in milliseconds: a minute, two hours.
pub const JOB_LIFETIME_MS: std::ops::RangeInclusive<i64> = 60 * 1000..=2 * 3600 * 1000;
/// The life of a job token if nothing is said, in milliseconds: 15 minutes.
pub const DEFAULT_JOB_LIFETIME_MS: i64 = 15 * 60 * 1000;

/// A scope of tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    /// Half of pulling.
    ReadRegistry,
    /// The other half: GitLab wants both, because a pull writes into the cache.
    WriteRegistry,
    /// Reading the group on the control plane.
    ReadApi,
    /// Reading and changing the group on the control plane.
    Api,
    /// Purging the group's cache.
    Purge,
}

impl Scope {
    /// All scopes.
    pub const ALL: [Self; 5] = [Self::ReadRegistry, Self::WriteRegistry, Self::ReadApi, Self::Api, Self::Purge];
    /// The scopes that pulling needs, which are also the default.
    pub const PULL: [Self; 2] = [Self::ReadRegistry, Self::WriteRegistry];

    /// The word that people write.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ReadRegistry => "read_registry",
            Self::WriteRegistry => "write_registry",
            Self::ReadApi => "read_api",
            Self::Api => "api",
            Self::Purge => "purge",
        }
    }
}

impl FromStr for Scope {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        Self::ALL.into_iter().find(|scope| scope.as_str() == text).ok_or(())
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A token as it can be shown: without its secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// Names it in logs and registry tokens.
    pub id: String,
    /// Its kind.
    pub kind: TokenKind,
    /// Chosen by its creator.
    pub name: String,
    /// To sign in with.
    pub username: String,
    /// Of a group's token of any kind: the group's path.
    pub group: Option<GroupPath>,
    /// Of a personal token: the person.
    pub user: Option<TokenUser>,
    /// Of a group access token: as what it acts.
    pub role: Option<Role>,
    /// Its scopes; administrators' and nodes' tokens have none.
    pub scopes: Vec<Scope>,
    /// When it was created.
    pub created_at_ms: i64,
    /// When it stops working.
    pub expires_at_ms: Option<i64>,
    /// When it was last used, coarsely.
    pub last_used_at_ms: Option<i64>,
}

/// The owner of a personal token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenUser {
    /// The user's id.
    pub id: String,
    /// The user's name.
    pub name: String,
}

impl Token {
    /// Returns whether it still works.
    pub fn is_live(&self, now_ms: i64) -> bool {
        self.expires_at_ms.is_none_or(|expires| now_ms < expires)
    }
}

/// That registry tokens are void.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revocation {
    /// Of the token or user with this id.
    pub id: String,
    /// After this time none of them can be good any more.
    pub forget_after_ms: i64,
    /// Of a user: those that carry a lower epoch. 0 for a token: all.
    pub user_epoch: i64,
}

/// The owner and kind of a new token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TokenOwner {
    /// A group's deploy token.
    Group(GroupPath),
    /// A group's access token, which acts in that role.
    GroupAccess(GroupPath, Role),
    /// A CI job's, for one group.
    Job(GroupPath),
    /// Another service's, for one group or all.
    Service(Option<GroupPath>),
    /// A person's.
    Person(UserName),
    /// A node's.
    Node,
}

impl TokenOwner {
    /// The kind of such a token.
    pub fn kind(&self) -> TokenKind {
        match self {
            Self::Group(_) => TokenKind::Group,
            Self::GroupAccess(..) => TokenKind::GroupAccess,
            Self::Job(_) => TokenKind::Job,
            Self::Service(_) => TokenKind::Service,
            Self::Person(_) => TokenKind::Personal,
            Self::Node => TokenKind::Node,
        }
    }

    /// The group that it is for.
    pub fn group(&self) -> Option<&GroupPath> {
        match self {
            Self::Group(path) | Self::GroupAccess(path, _) | Self::Job(path) => Some(path),
            Self::Service(path) => path.as_ref(),
            Self::Person(_) | Self::Node => None,
        }
    }

    /// The role that it acts in.
    pub fn role(&self) -> Option<Role> {
        match self {
            Self::GroupAccess(_, role) => Some(*role),
            _ => None,
        }
    }

    /// The scopes that such a token may have.
    fn possible_scopes(&self) -> &'static [Scope] {
        match self {
            Self::Group(_) | Self::GroupAccess(..) | Self::Person(_) => &Scope::ALL,
            Self::Job(_) => &Scope::PULL,
            Self::Service(_) => &[Scope::Purge],
            Self::Node => &[],
        }
    }

    /// The scopes that it has if nothing is said.
    fn default_scopes(&self) -> &'static [Scope] {
        match self {
            Self::Group(_) | Self::GroupAccess(..) | Self::Person(_) | Self::Job(_) => &Scope::PULL,
            Self::Service(_) => &[Scope::Purge],
            Self::Node => &[],
        }
    }
}

/// A token to be made.
#[derive(Clone, Debug)]
pub struct NewToken {
    /// Its owner.
    pub owner: TokenOwner,
    /// Chosen by its creator.
    pub name: String,
    /// As given; parsed by [`NewToken::scopes`].
    pub scopes: Vec<String>,
    /// Its lifetime.
    pub lifetime_ms: Option<i64>,
}

impl NewToken {
    /// The scopes it will have, or everything that is wrong with it.
    pub fn scopes(&self) -> Result<Vec<Scope>, Vec<Violation>> {
        let mut found = name_violations(&self.name);
        let (lifetimes, words) = match self.owner {
            TokenOwner::Job(_) => (JOB_LIFETIME_MS, "must be between one minute and two hours"),
            _ => (LIFETIME_MS, "must be between one second and ten years"),
        };
        if self.lifetime_ms.is_some_and(|lifetime| !lifetimes.contains(&lifetime)) {
            found.push(Violation::new("expires_in", words));
        }
        let mut scopes = Vec::new();
        let possible = self.owner.possible_scopes();
        for text in &self.scopes {
            match text.parse::<Scope>() {
                Ok(scope) if scopes.contains(&scope) => {}
                Ok(scope) if possible.contains(&scope) => scopes.push(scope),
                _ if possible.is_empty() => {
                    found.push(Violation::new("scopes", "a node token has no scopes; leave them out"));
                    break;
                }
                _ => {
                    let known = possible.iter().map(|scope| scope.as_str()).collect::<Vec<_>>().join(", ");
                    found.push(Violation::new(
                        "scopes",
                        format!("{text:?} is not a scope of such a token; there are {known}"),
                    ));
                }
            }
        }
        if !found.is_empty() {
            return Err(found);
        }
        if scopes.is_empty() {
            scopes.extend(self.owner.default_scopes());
        }
        scopes.sort();
        Ok(scopes)
    }
}

/// Returns the fault of a secret that somebody chose; `None` if it will do.
pub fn chosen_secret_fault(secret: &str) -> Option<String> {
    let is_fit = CHOSEN_SECRET_BYTES.contains(&secret.len()) && secret.bytes().all(|byte| byte.is_ascii_graphic());
    let (fewest, most) = (CHOSEN_SECRET_BYTES.start(), CHOSEN_SECRET_BYTES.end());
    (!is_fit).then(|| {
        format!(
            "must be {fewest} to {most} printable ASCII characters without spaces; `openssl rand -hex 32` makes a good one"
        )
    })
}

fn name_violations(name: &str) -> Vec<Violation> {
    if name.trim().is_empty() || name.chars().count() > MAX_NAME_CHARS || name.chars().any(char::is_control) {
        return vec![Violation::new(
            "name",
            format!("required: 1 to {MAX_NAME_CHARS} characters, none of them a control character"),
        )];
    }
    Vec::new()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn new(owner: TokenOwner, name: &str, scopes: &[&str], lifetime_ms: Option<i64>) -> NewToken {
        NewToken { owner, name: name.into(), scopes: scopes.iter().map(ToString::to_string).collect(), lifetime_ms }
    }

    #[test]
    fn a_new_token_has_the_scopes_asked_for_or_those_to_pull() {
        let acme = || "acme".parse().unwrap();
        let group = || TokenOwner::Group(acme());
        for (token, expected) in [
            (new(group(), "ci", &[], None), Ok(vec![Scope::ReadRegistry, Scope::WriteRegistry])),
            (new(group(), "ci", &["purge", "api", "api"], None), Ok(vec![Scope::Api, Scope::Purge])),
            (new(TokenOwner::Node, "n1", &[], None), Ok(vec![])),
            (new(TokenOwner::Person("alice".parse().unwrap()), "pc", &["api"], None), Ok(vec![Scope::Api])),
            (new(TokenOwner::GroupAccess(acme(), Role::Guest), "bot", &[], None), Ok(Scope::PULL.to_vec())),
            (new(TokenOwner::Job(acme()), "job", &[], Some(60_000)), Ok(Scope::PULL.to_vec())),
            (new(TokenOwner::Job(acme()), "job", &["api"], None), Err("scopes")),
            (new(TokenOwner::Job(acme()), "job", &[], Some(59_999)), Err("expires_in")),
            (new(TokenOwner::Job(acme()), "job", &[], Some(7_200_001)), Err("expires_in")),
            (new(TokenOwner::Service(None), "s", &[], None), Ok(vec![Scope::Purge])),
            (new(TokenOwner::Service(Some(acme())), "s", &["purge"], None), Ok(vec![Scope::Purge])),
            (new(TokenOwner::Service(None), "s", &["read_registry"], None), Err("scopes")),
            (new(TokenOwner::Node, "n1", &["api"], None), Err("scopes")),
            (new(group(), "ci", &["admin"], None), Err("scopes")),
            (new(group(), "", &[], None), Err("name")),
            (new(group(), " ", &[], None), Err("name")),
            (new(group(), "a\nb", &[], None), Err("name")),
            (new(group(), &"x".repeat(256), &[], None), Err("name")),
            (new(group(), "ci", &[], Some(0)), Err("expires_in")),
            (new(group(), "ci", &[], Some(*LIFETIME_MS.end() + 1)), Err("expires_in")),
        ] {
            let got = token.scopes();
            assert_eq!(
                got.as_ref().map_err(|found| found[0].field.as_str()),
                expected.as_ref().map_err(|f| *f),
                "{token:?}"
            );
        }
    }
}
