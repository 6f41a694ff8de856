//! Signing in to the registry: credentials in, a registry token or a refusal out.

use std::{sync::Arc, time::Duration};

use roadstead_proto::{GroupPath, PROXY_INFIX};
use secrecy::{ExposeSecret as _, SecretString};

use super::credentials::{Authenticator, Credentials};
use crate::{
    auth::{
        key_ring::KeyRing,
        registry_token::{Access, Claims},
        secret,
    },
    clock::Clock,
    rules::{
        access::pull::{self, Identity, PullRefused, PulledGroup},
        audit::{Entry, shown_name},
        identity::login_throttle::Attempt,
    },
    store::{
        ReadTx, Store,
        groups::{group, member},
    },
    usecases::{UseCaseError, UseCaseResult, audit::AuditLog},
};

/// Most characters of what a client sent that are recorded.
const MAX_SHOWN_CHARS: usize = 255;
/// Most scopes in one request.
const MAX_SCOPES: usize = 10;

/// Longest time for which nodes give a token again without asking, in seconds: less than the precision of the times at which tokens
/// and users were last seen.
const MAX_REUSE_SECONDS: i64 = 120;

/// The credentials of a sign-in, and the requested access.
pub struct Request {
    /// Empty, with an empty password, if anonymous.
    pub username: String,
    /// A password, a token's secret, or an ID token.
    pub password: SecretString,
    /// The requested access; empty for `docker login`.
    pub scopes: Vec<PullScope>,
    /// True if the node allows anonymous pulls.
    pub anonymous_allowed: bool,
    /// The client's address; empty if it is unknown.
    pub client_address: String,
}

/// A repository as clients name it.
#[derive(Clone, Debug)]
pub struct PullScope {
    /// "acme/dependency_proxy/containers/alpine".
    pub name: String,
    /// "acme".
    pub group_path: String,
}

/// A registry token.
#[derive(Debug)]
pub struct SignedIn {
    /// The JWT.
    pub token: String,
    /// Its lifetime.
    pub expires_in_seconds: i64,
    /// When it was issued.
    pub issued_at_ms: i64,
    /// Time for which a node may give it again for the same credentials and scopes; 0: not at all.
    pub reusable_seconds: i64,
    /// True if somebody could guess the credentials.
    pub guessable: bool,
}

/// Issues registry tokens.
pub struct SignIn {
    store: Store,
    clock: Clock,
    authenticator: Arc<Authenticator>,
    audit: Arc<AuditLog>,
    keys: Arc<KeyRing>,
    /// Time for which a token is good.
    lifetime: Duration,
}

impl SignIn {
    /// Issues tokens that are good for `lifetime`, signed with `keys`.
    pub fn new(
        store: Store,
        clock: Clock,
        authenticator: Arc<Authenticator>,
        audit: Arc<AuditLog>,
        keys: Arc<KeyRing>,
        lifetime: Duration,
    ) -> Self {
        Self { store, clock, authenticator, audit, keys, lifetime }
    }

    /// Issues a token for those of the scopes that the credentials are good for; if for none, answers why not for the
    /// first.
    pub async fn sign_in(&self, request: Request) -> UseCaseResult<Result<SignedIn, PullRefused>> {
        if request.scopes.len() > MAX_SCOPES {
            return Err(UseCaseError::invalid("scopes", format!("at most {MAX_SCOPES}; ask for the rest separately")));
        }
        let who = if request.username.is_empty() && request.password.expose_secret().is_empty() {
            Credentials::anonymous(request.anonymous_allowed)
        } else {
            let attempt = Attempt::new(&request.client_address, &request.username);
            let refused = match self.authenticator.credentials(&attempt, &request.username, &request.password).await {
                Ok(Ok(who)) => Ok(who),
                Ok(Err(refused)) => Err(refused),
                Err(UseCaseError::TooManyFailures(problem)) => Err(problem.into()),
                Err(UseCaseError::Keys(problem)) => Err(PullRefused::IssuerUnavailable(problem.to_string())),
                Err(problem) => return Err(problem),
            };
            match refused {
                Ok(who) => who,
                Err(refused) => return self.refuse(&request, None, refused).await,
            }
        };
        let access = if request.scopes.is_empty() {
            pull::may_sign_in(&who.identity).map(|()| Vec::new())
        } else {
            self.access(&who, &request.scopes).await?
        };
        match access {
            Ok(access) => {
                // What was granted in part may be granted whole a moment later, and nothing tells nodes of that.
                let is_whole = access.len() == request.scopes.len();
                self.issue(who, access, is_whole, &request.password)
            }
            Err(refused) => self.refuse(&request, Some(&who.identity), refused).await,
        }
    }

    /// Refuses, and records it. A request without credentials is not an attempt to sign in, and is not recorded.
    async fn refuse(
        &self,
        request: &Request,
        who: Option<&Identity>,
        refused: PullRefused,
    ) -> UseCaseResult<Result<SignedIn, PullRefused>> {
        if refused == PullRefused::SignInNeeded {
            return Ok(Err(refused));
        }
        let detail = match &refused {
            // Without the seconds, which are others each time: repeats are counted.
            PullRefused::TooManyFailures(_) => "too many failed sign-ins".to_owned(),
            refused => refused.to_string(),
        };
        let asked = request.scopes.first().map(|scope| scope.group_path.as_str()).unwrap_or_default();
        let group = match asked.parse::<GroupPath>() {
            Ok(path) => group::by_present_or_old_path(&mut *self.store.read().await?, &path).await?,
            Err(_) => None,
        };
        let actor = match who {
            None | Some(Identity::Unknown) => shown_name(&request.username),
            Some(who) => who.describe(),
        };
        let subject = asked.chars().take(MAX_SHOWN_CHARS).collect::<String>();
        let entry = Entry::refused_sign_in(actor, request.client_address.clone(), subject, detail);
        self.audit
            .refused(match group {
                Some(group) => entry.of_group(&group.path),
                None => entry,
            })
            .await;
        Ok(Err(refused))
    }

    async fn access(&self, who: &Credentials, scopes: &[PullScope]) -> UseCaseResult<Result<Vec<Access>, PullRefused>> {
        let mut tx = self.store.read().await?;
        let mut access = Vec::new();
        let mut first_refusal = None;
        for scope in scopes {
            let group = match scope.group_path.parse::<GroupPath>() {
                Ok(path) if names_image_of(&scope.name, &path) => group::by_present_or_old_path(&mut tx, &path).await?,
                _ => None,
            };
            let facts = match &group {
                Some(group) => Some(facts(&mut tx, who, group).await?),
                None => None,
            };
            match (pull::may_pull(&who.identity, &scope.group_path, facts.as_ref()), group) {
                (Ok(()), Some(group)) => {
                    access.push(Access::pull(scope.name.clone(), group.id, group.access_epoch));
                }
                (Ok(()), None) => {}
                (Err(refused), _) => {
                    first_refusal.get_or_insert(refused);
                }
            }
        }
        Ok(match first_refusal {
            Some(refused) if access.is_empty() => Err(refused),
            _ => Ok(access),
        })
    }

    fn issue(
        &self,
        who: Credentials,
        access: Vec<Access>,
        is_whole: bool,
        password: &SecretString,
    ) -> UseCaseResult<Result<SignedIn, PullRefused>> {
        let now_ms = self.clock.now_ms();
        let mut lifetime_seconds = i64::try_from(self.lifetime.as_secs()).unwrap_or(i64::MAX);
        // Never longer than what was signed in with: its expiry must not be outlived by what it was good for.
        if let Some(expires_at_ms) = who.expires_at_ms {
            lifetime_seconds = lifetime_seconds.min((expires_at_ms - now_ms).div_euclid(1000));
        }
        if lifetime_seconds < 1 {
            return Ok(Err(PullRefused::WrongCredentials));
        }
        // An ID token ends with keys and trusts that nodes do not know.
        let is_lasting = is_whole && !matches!(who.identity, Identity::Oidc { .. });
        let reusable_seconds = if is_lasting { MAX_REUSE_SECONDS.min(lifetime_seconds / 4) } else { 0 };
        let guessable = !matches!(who.identity, Identity::Anonymous { .. }) && !secret::is_ours(password);
        let claims = Claims::new(who.subject, who.token_id, who.user, access, now_ms, lifetime_seconds);
        let token = self.keys.sign(&claims, now_ms)?;
        let (expires_in_seconds, issued_at_ms) = (lifetime_seconds, now_ms);
        Ok(Ok(SignedIn { token, expires_in_seconds, issued_at_ms, reusable_seconds, guessable }))
    }
}

/// Returns the facts about a group that the rule needs.
async fn facts(
    tx: &mut ReadTx,
    who: &Credentials,
    group: &crate::rules::groups::group::Group,
) -> UseCaseResult<PulledGroup> {
    let (role, member_below) = match (&who.identity, &who.user) {
        (Identity::User { .. }, Some(user)) => {
            (member::role_at(tx, &user.id, &group.path).await?, member::is_below(tx, &user.id, &group.path).await?)
        }
        _ => (None, false),
    };
    Ok(PulledGroup {
        path: group.path.clone(),
        visibility: group.settings.visibility,
        anonymous_pull: group.settings.anonymous_pull,
        enabled: group.settings.enabled,
        role,
        member_below,
    })
}

/// Checks that `name` is an image below this group: a token must not name a repository of another group than the
/// checked one.
fn names_image_of(name: &str, group: &GroupPath) -> bool {
    let lower = name.to_ascii_lowercase();
    lower
        .strip_prefix(group.as_str())
        .and_then(|rest| rest.strip_prefix('/'))
        .and_then(|rest| rest.strip_prefix(PROXY_INFIX))
        .and_then(|rest| rest.strip_prefix('/'))
        .is_some_and(|image| !image.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scope_names_an_image_of_the_group_that_is_checked() {
        for (name, group, expected) in [
            ("acme/dependency_proxy/containers/alpine", "acme", true),
            ("Acme/dependency_proxy/containers/alpine", "acme", true),
            ("acme/ci/dependency_proxy/containers/ghcr.io/a/b", "acme/ci", true),
            ("acme/ci/dependency_proxy/containers/alpine", "acme", false),
            ("acme/dependency_proxy/containers/", "acme", false),
            ("acme/dependency_proxy/containers", "acme", false),
            ("other/dependency_proxy/containers/alpine", "acme", false),
            ("acmex/dependency_proxy/containers/alpine", "acme", false),
        ] {
            assert_eq!(names_image_of(name, &group.parse().unwrap()), expected, "{name} {group}");
        }
    }
}
