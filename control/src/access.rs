//! Who may do what on the control port. Plain data in, a decision out; what the caller may not do is decided
//! without looking whether the object exists.

use roadstead_proto::GroupPath;

use crate::{group, token::Scope};

/// Who is calling.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Principal {
    /// The administrator.
    Admin,
    /// Somebody with a group's token.
    Group {
        /// The token's id.
        token_id: String,
        /// The group it belongs to; its subgroups are within its reach.
        group: GroupPath,
        /// What it may be used for.
        scopes: Vec<Scope>,
    },
    /// A data-plane node.
    Node,
}

/// What somebody wants to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Anything that concerns the whole installation: create or delete groups, set upstreams, make node tokens.
    Administer,
    /// Read what is the same for all groups: the list of upstreams.
    ReadUpstreams,
    /// Read a group: settings, tokens, cached content.
    ReadGroup,
    /// Change a group: settings, tokens, credentials.
    ChangeGroup,
    /// Purge a group's cache.
    PurgeGroup,
    /// What data-plane nodes do.
    ServeAsNode,
}

/// The caller may not do that; says what would be needed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// Only the administrator may.
    #[error("this needs the administrator's token")]
    NeedsAdmin,
    /// Only nodes may.
    #[error("this needs a node token; create one with `token create --node`")]
    NeedsNode,
    /// The token lacks a scope.
    #[error("this token lacks the scope {}", needs.as_str())]
    NeedsScope {
        /// The least scope that suffices.
        needs: Scope,
    },
    /// The token is for another group.
    #[error("this token is for group {group} and its subgroups only")]
    OtherGroup {
        /// The group it is for.
        group: GroupPath,
    },
}

impl Principal {
    /// Whether the caller could do this to any group at all. Asked before the request is looked at.
    pub fn may(&self, action: Action) -> Result<(), Denied> {
        match (self, action) {
            (Self::Node, Action::ServeAsNode) => Ok(()),
            (_, Action::ServeAsNode) => Err(Denied::NeedsNode),
            (Self::Admin, _) => Ok(()),
            (Self::Node, _) | (Self::Group { .. }, Action::Administer) => Err(Denied::NeedsAdmin),
            (Self::Group { scopes, .. }, _) => {
                let good: &[Scope] = match action {
                    Action::ReadGroup | Action::ReadUpstreams => &[Scope::ReadApi, Scope::Api],
                    Action::PurgeGroup => &[Scope::Purge, Scope::Api],
                    Action::ChangeGroup | Action::Administer | Action::ServeAsNode => &[Scope::Api],
                };
                if good.iter().any(|scope| scopes.contains(scope)) {
                    Ok(())
                } else {
                    Err(Denied::NeedsScope { needs: good[0] })
                }
            }
        }
    }

    /// Whether the caller may do this to the group at `path`, there or not.
    pub fn may_on(&self, action: Action, path: &GroupPath) -> Result<(), Denied> {
        self.may(action)?;
        match self {
            Self::Group { group, .. } if !group::contains(group, path) => {
                Err(Denied::OtherGroup { group: group.clone() })
            }
            _ => Ok(()),
        }
    }

    /// The group that this caller's view is limited to; `None` sees all.
    pub fn reach(&self) -> Option<&GroupPath> {
        match self {
            Self::Group { group, .. } => Some(group),
            Self::Admin | Self::Node => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holder(scopes: &[Scope]) -> Principal {
        Principal::Group { token_id: "t".into(), group: "acme".parse().unwrap(), scopes: scopes.to_vec() }
    }

    #[test]
    fn each_role_may_do_exactly_this() {
        use Action::{Administer, ChangeGroup, PurgeGroup, ReadGroup, ReadUpstreams, ServeAsNode};
        let all = [Administer, ReadUpstreams, ReadGroup, ChangeGroup, PurgeGroup, ServeAsNode];
        for (principal, may) in [
            (Principal::Admin, &[Administer, ReadUpstreams, ReadGroup, ChangeGroup, PurgeGroup][..]),
            (Principal::Node, &[ServeAsNode]),
            (holder(&[Scope::Api]), &[ReadUpstreams, ReadGroup, ChangeGroup, PurgeGroup]),
            (holder(&[Scope::ReadApi]), &[ReadUpstreams, ReadGroup]),
            (holder(&[Scope::Purge]), &[PurgeGroup]),
            (holder(&Scope::PULL), &[]),
            (holder(&[]), &[]),
        ] {
            for action in all {
                assert_eq!(principal.may(action).is_ok(), may.contains(&action), "{principal:?} {action:?}");
            }
        }
    }

    #[test]
    fn a_group_token_reaches_its_group_and_subgroups_and_no_other() {
        let token = holder(&[Scope::Api]);
        for (path, expected) in [("acme", true), ("acme/ci", true), ("acme-labs", false), ("other", false)] {
            assert_eq!(token.may_on(Action::ChangeGroup, &path.parse().unwrap()).is_ok(), expected, "{path}");
        }
        assert!(Principal::Admin.may_on(Action::ChangeGroup, &"other".parse().unwrap()).is_ok());
    }

    #[test]
    fn the_scope_is_missed_before_the_group() {
        let denied = holder(&[]).may_on(Action::ReadGroup, &"other".parse().unwrap());
        assert_eq!(denied, Err(Denied::NeedsScope { needs: Scope::ReadApi }));
    }
}
