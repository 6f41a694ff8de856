//! The rules of pulling from groups, behind `docker login` and every registry token.
//!
//! It guarantees that a private group of others cannot be told from one that is not there, and that a refusal
//! says what is missing to whoever may know that the group exists: its members, those of its subgroups (whose own
//! path names it), and for internal and public groups everybody who is signed in.

use roadstead_proto::{GroupPath, Role, Visibility};

use crate::rules::{
    groups::group,
    identity::{login_throttle::TooManyFailures, token::Scope},
};

/// The identity that signs in. Wrong, expired and revoked credentials are all [`Identity::Unknown`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Identity {
    /// No credentials were given. `allowed`: the node allows anonymous pulls.
    Anonymous {
        /// True if the node allows anonymous pulls.
        allowed: bool,
    },
    /// A person.
    User {
        /// The user's name.
        name: String,
        /// Administrators are at home in every group.
        admin: bool,
        /// Of the personal token signed in with; `None` for the password, which is good for all.
        scopes: Option<Vec<Scope>>,
    },
    /// A group's token.
    GroupToken {
        /// Its kind.
        kind: GroupToken,
        /// The user name that goes with it.
        username: String,
        /// The group it belongs to; its subgroups are within its reach.
        group: GroupPath,
        /// Its scopes.
        scopes: Vec<Scope>,
    },
    /// A job somewhere else, vouched for by an OpenID Connect issuer.
    Oidc {
        /// The subject that the issuer names, for messages and logs.
        subject: String,
        /// The groups that trust the issuer for such a job; their subgroups are within its reach.
        groups: Vec<GroupPath>,
    },
    /// The credentials are right, but the user is disabled.
    DisabledUser {
        /// The user's name.
        name: String,
    },
    /// The token is good, but not for pulling.
    OtherToken {
        /// The kind of token, as in "a node token".
        what: &'static str,
    },
    /// Invalid credentials.
    Unknown,
}

/// The kinds of tokens of groups that pull.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GroupToken {
    /// A deploy token.
    Deploy,
    /// A group access token.
    Access,
    /// A CI job's token.
    Job,
}

/// The facts of a group that matter for pulls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PulledGroup {
    /// Its path.
    pub path: GroupPath,
    /// The group's visibility.
    pub visibility: Visibility,
    /// True if anonymous pulls are on.
    pub anonymous_pull: bool,
    /// True if pulls are possible at all.
    pub enabled: bool,
    /// The role that the user has there, if it is a user that pulls.
    pub role: Option<Role>,
    /// True if that user is a member of a group below it.
    pub member_below: bool,
}

/// The reason for refusing a pull.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PullRefused {
    /// The credentials are invalid.
    #[error(
        "wrong user name, password or token, or the token is expired or revoked; make a new one with `token create`"
    )]
    WrongCredentials,
    /// The ID token is invalid.
    #[error("{0}")]
    IdToken(String),
    /// Nothing was looked at: too many failures before.
    #[error(transparent)]
    TooManyFailures(#[from] TooManyFailures),
    /// The issuer's keys are unavailable, so that an ID token cannot be checked now.
    #[error("{0}")]
    IssuerUnavailable(String),
    /// Credentials are needed.
    #[error("sign in first: `docker login` with a user's name and password or a token")]
    SignInNeeded,
    /// The user is disabled.
    #[error("user {name} is disabled; an administrator can enable it")]
    DisabledUser {
        /// The user's name.
        name: String,
    },
    /// The token does not pull.
    #[error(
        "{what} does not pull images; sign in with a user's password, or a personal, deploy, group access or job token"
    )]
    OtherToken {
        /// The kind of token.
        what: &'static str,
    },
    /// The token lacks scopes.
    #[error(
        "pulling needs the scopes read_registry and write_registry; this token lacks {}",
        missing.iter().map(|scope| scope.as_str()).collect::<Vec<_>>().join(" and ")
    )]
    MissingScopes {
        /// Those it lacks.
        missing: Vec<Scope>,
    },
    /// The credentials are good, but not for this group.
    #[error("{who} may not pull from {path}; its owners can let them in")]
    MayNot {
        /// The identity, as in "user alice".
        who: String,
        /// The group.
        path: GroupPath,
    },
    /// The group is switched off.
    #[error("the dependency proxy of group {path} is switched off; a maintainer can switch it on")]
    Disabled {
        /// The group.
        path: GroupPath,
    },
    /// The group does not exist, as far as the caller may know.
    #[error("there is no group {path} here that these credentials may pull from")]
    NotFound {
        /// The path as asked for.
        path: String,
    },
}

/// Returns whether `who` can sign in at all, leaving the group aside.
pub fn may_sign_in(who: &Identity) -> Result<(), PullRefused> {
    match who {
        Identity::Unknown => Err(PullRefused::WrongCredentials),
        Identity::DisabledUser { name } => Err(PullRefused::DisabledUser { name: name.clone() }),
        Identity::OtherToken { what } => Err(PullRefused::OtherToken { what }),
        Identity::Anonymous { allowed: false } => Err(PullRefused::SignInNeeded),
        Identity::Anonymous { allowed: true } | Identity::Oidc { .. } => Ok(()),
        Identity::User { scopes, .. } => match scopes {
            // As GitLab has it: a person's `api` token may do all that the person may.
            Some(scopes) if !scopes.contains(&Scope::Api) => has_pull_scopes(scopes),
            _ => Ok(()),
        },
        Identity::GroupToken { scopes, .. } => has_pull_scopes(scopes),
    }
}

/// Returns whether `who` may pull from `group`, which was asked for as `path`; `None` stands for a missing group.
pub fn may_pull(who: &Identity, path: &str, group: Option<&PulledGroup>) -> Result<(), PullRefused> {
    let not_found = || PullRefused::NotFound { path: path.to_owned() };
    let group = match who {
        Identity::Unknown | Identity::DisabledUser { .. } | Identity::OtherToken { .. } => return may_sign_in(who),
        Identity::Anonymous { allowed } => {
            let open = |group: &&PulledGroup| group.visibility == Visibility::Public && group.anonymous_pull;
            group.filter(open).filter(|_| *allowed).ok_or(PullRefused::SignInNeeded)?
        }
        Identity::User { .. } | Identity::GroupToken { .. } | Identity::Oidc { .. } => {
            let group = group.ok_or_else(not_found)?;
            let belongs = who.belongs_to(group);
            if group.visibility == Visibility::Private && !belongs && !who.belongs_below(group) {
                return Err(not_found());
            }
            may_sign_in(who)?;
            if !belongs && !who.is_let_in_by(group.visibility) {
                return Err(PullRefused::MayNot { who: who.describe(), path: group.path.clone() });
            }
            group
        }
    };
    if group.enabled { Ok(()) } else { Err(PullRefused::Disabled { path: group.path.clone() }) }
}

impl Identity {
    /// Describes the identity for messages and logs.
    pub fn describe(&self) -> String {
        match self {
            Self::Anonymous { .. } => "anonymous".to_owned(),
            Self::User { name, .. } | Self::DisabledUser { name } => format!("user {name}"),
            Self::GroupToken { kind, username, .. } => match kind {
                GroupToken::Deploy => format!("deploy token {username}"),
                GroupToken::Access => format!("group access token {username}"),
                GroupToken::Job => format!("job token {username}"),
            },
            Self::Oidc { subject, .. } => format!("oidc {subject}"),
            Self::OtherToken { what } => (*what).to_owned(),
            Self::Unknown => "unknown".to_owned(),
        }
    }

    /// Returns whether it is a member of the group, or a token of it or of a group above.
    fn belongs_to(&self, group: &PulledGroup) -> bool {
        match self {
            Self::User { admin, .. } => *admin || group.role.is_some(),
            Self::GroupToken { group: own, .. } => group::contains(own, &group.path),
            Self::Oidc { groups, .. } => groups.iter().any(|own| group::contains(own, &group.path)),
            _ => false,
        }
    }

    /// Returns whether it belongs to a subgroup.
    fn belongs_below(&self, group: &PulledGroup) -> bool {
        match self {
            Self::User { .. } => group.member_below,
            Self::GroupToken { group: own, .. } => group::contains(&group.path, own),
            Self::Oidc { groups, .. } => groups.iter().any(|own| group::contains(&group.path, own)),
            _ => false,
        }
    }

    /// Returns whether groups of this visibility let it in though it does not belong to them. Jobs were let in by one
    /// group: that makes them no members of the installation, so that internal groups stay closed to them.
    fn is_let_in_by(&self, visibility: Visibility) -> bool {
        match visibility {
            Visibility::Private => false,
            Visibility::Internal => !matches!(self, Self::Oidc { .. } | Self::GroupToken { kind: GroupToken::Job, .. }),
            Visibility::Public => true,
        }
    }
}

fn has_pull_scopes(scopes: &[Scope]) -> Result<(), PullRefused> {
    let missing: Vec<_> = Scope::PULL.into_iter().filter(|scope| !scopes.contains(scope)).collect();
    if missing.is_empty() { Ok(()) } else { Err(PullRefused::MissingScopes { missing }) }
}

#[cfg(test)]
mod tests;
