//! The rules of access on the control port. Plain data in, a decision out.
//!
//! Two things decide: what the credentials are good for at all (their kind and scopes), asked before the request is
//! looked at, and the caller's role in the group concerned. It guarantees that a private group in which the caller
//! has no role cannot be told from one that is not there.

pub mod pull;

use roadstead_proto::{GroupPath, Role, Visibility};

use crate::rules::{groups::group, identity::token::Scope};

/// The token that somebody calls with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldToken {
    /// Its id.
    pub id: String,
    /// The name that its maker gave it.
    pub name: String,
    /// Its scopes.
    pub scopes: Vec<Scope>,
}

/// The authenticated caller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Principal {
    /// Somebody with the administrator's token.
    Admin,
    /// A person.
    User {
        /// The user's id.
        id: String,
        /// The user's name.
        name: String,
        /// True if the user is an administrator.
        admin: bool,
        /// The personal token; `None` for name and password, which are good for all that the person may do.
        token: Option<HeldToken>,
    },
    /// Somebody with a group's deploy or access token.
    Group {
        /// The token.
        token: HeldToken,
        /// The group it belongs to; its subgroups are within its reach.
        group: GroupPath,
        /// As what it acts there; deploy tokens act as maintainers, within their scopes.
        role: Role,
    },
    /// Another service, that purges.
    Service {
        /// The token.
        token: HeldToken,
        /// The group it is for, with its subgroups; `None` for all groups.
        group: Option<GroupPath>,
    },
    /// A CI job. Has no business on the control port.
    Job {
        /// The token.
        token: HeldToken,
    },
    /// A data-plane node.
    Node,
}

/// A caller and its address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Actor {
    /// The caller.
    pub principal: Principal,
    /// The address that the call came from; `None` within the process.
    pub client_address: Option<String>,
}

impl Actor {
    /// Describes the caller for the audit log.
    pub fn describe(&self) -> String {
        self.principal.describe()
    }
}

/// An action on the control port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Anything that concerns the whole installation: create top-level groups, set upstreams, make users and node
    /// tokens.
    Administer,
    /// Read what concerns the whole installation: users, all tokens.
    ReadEverything,
    /// Read what is the same for everybody: the list of upstreams.
    ReadUpstreams,
    /// Read oneself, as a person.
    ReadSelf,
    /// Change what is one's own, as a person: personal tokens.
    ChangeSelf,
    /// Change one's own password.
    ChangePassword,
    /// Read a group: settings, members, cached content.
    ReadGroup,
    /// Read who and what can get into a group: tokens, trusts.
    ReviewGroup,
    /// Read what was changed in a group, and who was refused.
    AuditGroup,
    /// Change a group: settings, tokens, credentials.
    ChangeGroup,
    /// Purge a group's cache.
    PurgeGroup,
    /// Purge the caches of all groups at once.
    PurgeEverything,
    /// Change a group's members, rename or delete it, create subgroups.
    OwnGroup,
    /// The calls of data-plane nodes.
    ServeAsNode,
}

impl Action {
    /// The scopes of which one is needed, the least first.
    fn scopes(self) -> &'static [Scope] {
        match self {
            Self::ReadEverything
            | Self::ReadUpstreams
            | Self::ReadSelf
            | Self::ReadGroup
            | Self::ReviewGroup
            | Self::AuditGroup => &[Scope::ReadApi, Scope::Api],
            Self::PurgeGroup | Self::PurgeEverything => &[Scope::Purge, Scope::Api],
            Self::Administer
            | Self::ChangeSelf
            | Self::ChangePassword
            | Self::ChangeGroup
            | Self::OwnGroup
            | Self::ServeAsNode => &[Scope::Api],
        }
    }

    /// The role that is needed in the group concerned; `None` where no group is.
    fn role(self) -> Option<Role> {
        match self {
            Self::ReadGroup => Some(Role::Guest),
            Self::ReviewGroup | Self::ChangeGroup | Self::PurgeGroup => Some(Role::Maintainer),
            Self::OwnGroup | Self::AuditGroup => Some(Role::Owner),
            Self::Administer
            | Self::ReadEverything
            | Self::ReadUpstreams
            | Self::ReadSelf
            | Self::ChangeSelf
            | Self::ChangePassword
            | Self::PurgeEverything
            | Self::ServeAsNode => None,
        }
    }
}

/// The group that an action concerns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Its path, as asked for.
    pub path: GroupPath,
    /// Its visibility; `None` if it is not there.
    pub visibility: Option<Visibility>,
    /// The role that the calling user's memberships give there; `None` for other callers.
    pub membership: Option<Role>,
}

/// The caller may not do that; says what would be needed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// Only administrators may.
    #[error("this needs an administrator")]
    NeedsAdmin,
    /// Only nodes may.
    #[error("this needs a node token; create one with `token create --node`")]
    NeedsNode,
    /// Only people may.
    #[error("this needs a user: sign in with a personal token, or with name and password")]
    NeedsUser,
    /// Only the present password will do.
    #[error("a token cannot change the password of its user; sign in with name and password")]
    NeedsPassword,
    /// The token lacks a scope.
    #[error("this token lacks the scope {}", needs.as_str())]
    NeedsScope {
        /// The least scope that suffices.
        needs: Scope,
    },
    /// The caller's role does not suffice.
    #[error(
        "this needs the role {needs} in group {group}; {}",
        have.map_or("you have none there".to_owned(), |have| format!("yours is {have}"))
    )]
    NeedsRole {
        /// The least role that suffices.
        needs: Role,
        /// The caller's.
        have: Option<Role>,
        /// The group.
        group: GroupPath,
    },
    /// A job token does not work here.
    #[error("a job token pulls images and does nothing else; use an API token")]
    JobToken,
    /// The group does not exist, as far as the caller may know.
    #[error("there is no group {path}; `group list` shows those there are")]
    NoSuchGroup {
        /// The path as asked for.
        path: GroupPath,
    },
}

/// Which groups a caller's lists show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reach {
    /// All.
    All,
    /// A group and its subgroups.
    Within(GroupPath),
    /// Those that the user with this id has a role in.
    MemberOf(String),
}

impl Principal {
    /// Describes the caller for the audit log and for logs.
    pub fn describe(&self) -> String {
        match self {
            Self::Admin => "admin token".to_owned(),
            Self::User { name, token: None, .. } => format!("user {name}"),
            Self::User { name, token: Some(token), .. } => format!("user {name}, token {} ({})", token.id, token.name),
            Self::Group { token, .. } | Self::Service { token, .. } | Self::Job { token } => {
                format!("token {} ({})", token.id, token.name)
            }
            Self::Node => "node".to_owned(),
        }
    }

    /// Returns whether the caller is an administrator, scopes aside.
    pub fn is_admin(&self) -> bool {
        matches!(self, Self::Admin | Self::User { admin: true, .. })
    }

    /// The id of the user that is calling.
    pub fn user_id(&self) -> Option<&str> {
        match self {
            Self::User { id, .. } => Some(id),
            _ => None,
        }
    }

    /// Returns whether the caller could do this to any group at all. Asked before the request is looked at.
    pub fn may(&self, action: Action) -> Result<(), Denied> {
        match (self, action) {
            (Self::Node, Action::ServeAsNode) => return Ok(()),
            (_, Action::ServeAsNode) => return Err(Denied::NeedsNode),
            (Self::Node, _) => return Err(Denied::NeedsAdmin),
            (Self::Job { .. }, _) => return Err(Denied::JobToken),
            (
                Self::Group { .. } | Self::Service { .. },
                Action::ReadSelf | Action::ChangeSelf | Action::ChangePassword,
            ) => return Err(Denied::NeedsUser),
            // Otherwise whoever finds a token could take the whole account over.
            (Self::User { token: Some(_), .. }, Action::ChangePassword) => return Err(Denied::NeedsPassword),
            (Self::Service { group: None, .. }, Action::PurgeEverything) => {}
            (_, Action::Administer | Action::ReadEverything | Action::PurgeEverything) if !self.is_admin() => {
                return Err(Denied::NeedsAdmin);
            }
            _ => {}
        }
        match self.token() {
            Some(token) if !action.scopes().iter().any(|scope| token.scopes.contains(scope)) => {
                Err(Denied::NeedsScope { needs: action.scopes()[0] })
            }
            _ => Ok(()),
        }
    }

    /// Returns whether the caller may do this to that group, there or not.
    pub fn may_on(&self, action: Action, target: &Target) -> Result<(), Denied> {
        self.may(action)?;
        let Some(needs) = action.role() else { return Ok(()) };
        match self.role_in(target) {
            Some(have) if have >= needs => Ok(()),
            None if target.visibility.is_none_or(|visibility| visibility == Visibility::Private) => {
                Err(Denied::NoSuchGroup { path: target.path.clone() })
            }
            have => Err(Denied::NeedsRole { needs, have, group: target.path.clone() }),
        }
    }

    /// The caller's role in that group.
    pub fn role_in(&self, target: &Target) -> Option<Role> {
        let within = |group: &GroupPath| group::contains(group, &target.path);
        match self {
            Self::Admin | Self::User { admin: true, .. } | Self::Service { group: None, .. } => Some(Role::Owner),
            Self::User { .. } => target.membership,
            Self::Group { group, role, .. } => within(group).then_some(*role),
            Self::Service { group: Some(group), .. } => within(group).then_some(Role::Maintainer),
            Self::Job { .. } | Self::Node => None,
        }
    }

    /// The groups that this caller's view is limited to.
    pub fn reach(&self) -> Reach {
        match self {
            Self::User { id, admin: false, .. } => Reach::MemberOf(id.clone()),
            Self::Group { group, .. } | Self::Service { group: Some(group), .. } => Reach::Within(group.clone()),
            Self::Admin | Self::User { .. } | Self::Service { group: None, .. } | Self::Job { .. } | Self::Node => {
                Reach::All
            }
        }
    }

    /// The token whose scopes limit the caller; administrators' and nodes' tokens have none.
    fn token(&self) -> Option<&HeldToken> {
        match self {
            Self::Admin | Self::Node => None,
            Self::User { token, .. } => token.as_ref(),
            Self::Group { token, .. } | Self::Service { token, .. } | Self::Job { token } => Some(token),
        }
    }
}

#[cfg(test)]
mod tests;
