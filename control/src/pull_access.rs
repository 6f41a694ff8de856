//! Who may pull from which group: the rule behind `docker login` and every registry token.
//!
//! It guarantees that a private group of others cannot be told from one that is not there, and that a refusal
//! says what is missing to whoever may know that the group exists.

use roadstead_proto::GroupPath;

use crate::{
    group::{self, Visibility},
    oidc::OidcRefused,
    token::Scope,
};

/// Who signs in. Wrong, expired and revoked credentials are all [`Identity::Unknown`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Identity {
    /// No credentials were given. `allowed`: the node allows anonymous pulls.
    Anonymous {
        /// Whether the node allows anonymous pulls.
        allowed: bool,
    },
    /// A group's deploy token.
    DeployToken {
        /// The group it belongs to.
        group: GroupPath,
        /// What it may be used for.
        scopes: Vec<Scope>,
    },
    /// A CI job with an ID token that groups trust.
    Oidc {
        /// The groups; at least one.
        groups: Vec<GroupPath>,
    },
    /// Credentials that are no good.
    Unknown,
}

/// What matters of the group that is pulled from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PulledGroup {
    /// Its path.
    pub path: GroupPath,
    /// Who may pull.
    pub visibility: Visibility,
    /// Whether anonymous pulls are on.
    pub anonymous_pull: bool,
    /// Whether pulls are possible at all.
    pub enabled: bool,
}

/// Why not.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PullRefused {
    /// The credentials are no good.
    #[error("wrong user name or token, or the token is expired or revoked; make a new one with `token create`")]
    WrongCredentials,
    /// An ID token is no good.
    #[error(transparent)]
    Oidc(#[from] OidcRefused),
    /// Credentials are needed.
    #[error("sign in first: `docker login` with a token of the group")]
    SignInNeeded,
    /// The token lacks scopes.
    #[error(
        "pulling needs the scopes read_registry and write_registry; this token lacks {}",
        missing.iter().map(|scope| scope.as_str()).collect::<Vec<_>>().join(" and ")
    )]
    MissingScopes {
        /// Those it lacks.
        missing: Vec<Scope>,
    },
    /// The group is switched off.
    #[error("the dependency proxy of group {path} is switched off; a maintainer can switch it on")]
    Disabled {
        /// The group.
        path: GroupPath,
    },
    /// There is no such group, as far as the caller may know.
    #[error("there is no group {path} here that these credentials may pull from")]
    NotFound {
        /// The path as asked for.
        path: String,
    },
}

/// Whether `who` can sign in at all, leaving the group aside.
pub fn may_sign_in(who: &Identity) -> Result<(), PullRefused> {
    match who {
        Identity::Unknown => Err(PullRefused::WrongCredentials),
        Identity::Anonymous { allowed: false } => Err(PullRefused::SignInNeeded),
        Identity::Anonymous { allowed: true } | Identity::Oidc { .. } => Ok(()),
        Identity::DeployToken { scopes, .. } => has_pull_scopes(scopes),
    }
}

/// Whether `who` may pull from `group`, which was asked for as `path` and is `None` if there is none.
pub fn may_pull(who: &Identity, path: &str, group: Option<&PulledGroup>) -> Result<(), PullRefused> {
    match who {
        Identity::Unknown => return Err(PullRefused::WrongCredentials),
        Identity::Anonymous { allowed } => {
            let open = group.is_some_and(|group| group.visibility == Visibility::Public && group.anonymous_pull);
            if !(*allowed && open) {
                return Err(PullRefused::SignInNeeded);
            }
        }
        Identity::DeployToken { group: own, scopes } => {
            let may_know =
                group.is_some_and(|group| group.visibility != Visibility::Private || group::contains(own, &group.path));
            if !may_know {
                return Err(PullRefused::NotFound { path: path.to_owned() });
            }
            has_pull_scopes(scopes)?;
        }
        Identity::Oidc { groups } => {
            let may_know = group.is_some_and(|group| {
                group.visibility != Visibility::Private || groups.iter().any(|own| group::contains(own, &group.path))
            });
            if !may_know {
                return Err(PullRefused::NotFound { path: path.to_owned() });
            }
        }
    }
    match group {
        Some(group) if group.enabled => Ok(()),
        Some(group) => Err(PullRefused::Disabled { path: group.path.clone() }),
        None => Err(PullRefused::NotFound { path: path.to_owned() }),
    }
}

fn has_pull_scopes(scopes: &[Scope]) -> Result<(), PullRefused> {
    let missing: Vec<_> = Scope::PULL.into_iter().filter(|scope| !scopes.contains(scope)).collect();
    if missing.is_empty() { Ok(()) } else { Err(PullRefused::MissingScopes { missing }) }
}

#[cfg(test)]
mod tests {
    use Visibility::{Internal, Private, Public};

    use super::*;

    fn token(group: &str, scopes: &[Scope]) -> Identity {
        Identity::DeployToken { group: group.parse().unwrap(), scopes: scopes.to_vec() }
    }

    fn verdict(who: &Identity, group: Option<(Visibility, bool, bool)>) -> &'static str {
        let group = group.map(|(visibility, anonymous_pull, enabled)| PulledGroup {
            path: "acme/ci".parse().unwrap(),
            visibility,
            anonymous_pull,
            enabled,
        });
        match may_pull(who, "acme/ci", group.as_ref()) {
            Ok(()) => "ok",
            Err(PullRefused::WrongCredentials | PullRefused::Oidc(_)) => "wrong",
            Err(PullRefused::SignInNeeded) => "sign in",
            Err(PullRefused::MissingScopes { .. }) => "scopes",
            Err(PullRefused::Disabled { .. }) => "disabled",
            Err(PullRefused::NotFound { .. }) => "not found",
        }
    }

    #[test]
    fn identity_by_group_state() {
        let own = token("acme/ci", &Scope::PULL);
        let parent = token("acme", &Scope::PULL);
        let child = token("acme/ci/deep", &Scope::PULL);
        let other = token("other", &Scope::PULL);
        let half = token("acme", &[Scope::ReadRegistry]);
        let api = token("acme", &[Scope::Api]);
        let half_other = token("other", &[Scope::WriteRegistry]);
        let job = Identity::Oidc { groups: vec!["other".parse().unwrap(), "acme".parse().unwrap()] };
        let other_job = Identity::Oidc { groups: vec!["other".parse().unwrap(), "acme/ci/deep".parse().unwrap()] };
        let anonymous = Identity::Anonymous { allowed: true };
        let barred = Identity::Anonymous { allowed: false };
        // columns: private, internal, public, public with anonymous pulls, that switched off, private off, no group
        let states = [
            Some((Private, false, true)),
            Some((Internal, false, true)),
            Some((Public, false, true)),
            Some((Public, true, true)),
            Some((Public, true, false)),
            Some((Private, false, false)),
            None,
        ];
        for (name, who, row) in [
            ("own token", &own, ["ok", "ok", "ok", "ok", "disabled", "disabled", "not found"]),
            ("parent's token", &parent, ["ok", "ok", "ok", "ok", "disabled", "disabled", "not found"]),
            ("subgroup's token", &child, ["not found", "ok", "ok", "ok", "disabled", "not found", "not found"]),
            ("other's token", &other, ["not found", "ok", "ok", "ok", "disabled", "not found", "not found"]),
            ("own, half", &half, ["scopes", "scopes", "scopes", "scopes", "scopes", "scopes", "not found"]),
            ("own, api only", &api, ["scopes", "scopes", "scopes", "scopes", "scopes", "scopes", "not found"]),
            (
                "other, half",
                &half_other,
                ["not found", "scopes", "scopes", "scopes", "scopes", "not found", "not found"],
            ),
            ("job of the parent", &job, ["ok", "ok", "ok", "ok", "disabled", "disabled", "not found"]),
            ("job of others", &other_job, ["not found", "ok", "ok", "ok", "disabled", "not found", "not found"]),
            ("anonymous", &anonymous, ["sign in", "sign in", "sign in", "ok", "disabled", "sign in", "sign in"]),
            ("anonymous, barred", &barred, ["sign in"; 7]),
            ("wrong", &Identity::Unknown, ["wrong"; 7]),
        ] {
            assert_eq!(states.map(|state| verdict(who, state)), row, "{name}");
        }
    }

    #[test]
    fn a_private_group_of_others_reads_like_one_that_is_not_there() {
        let other = token("other", &[]);
        let group =
            PulledGroup { path: "acme".parse().unwrap(), visibility: Private, anonymous_pull: false, enabled: false };
        assert_eq!(may_pull(&other, "acme", Some(&group)), may_pull(&other, "acme", None));
    }

    #[test]
    fn the_refusal_names_the_missing_scope() {
        let refused = may_sign_in(&token("acme", &[Scope::ReadRegistry])).unwrap_err();
        assert!(refused.to_string().ends_with("lacks write_registry"), "{refused}");
        assert!(may_sign_in(&token("acme", &Scope::PULL)).is_ok());
        assert!(may_sign_in(&Identity::Anonymous { allowed: true }).is_ok());
        assert!(may_sign_in(&Identity::Anonymous { allowed: false }).is_err());
        assert!(may_sign_in(&Identity::Unknown).is_err());
    }
}
