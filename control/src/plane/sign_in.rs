//! Signing in to the registry: credentials in, a registry token or a refusal out.

use roadstead_proto::{GroupPath, PROXY_INFIX};
use secrecy::SecretString;
use subtle::ConstantTimeEq as _;

use super::{Plane, PlaneError, PlaneResult, oidc::TrustedToken};
use crate::{
    auth::registry_token::{ANONYMOUS, Access, Claims},
    pull_access::{self, Identity, PullRefused, PulledGroup},
    store::groups,
    token::{Token, TokenKind},
};

/// Most scopes in one request.
const MAX_SCOPES: usize = 10;
/// Longest password that is looked at.
const MAX_PASSWORD_BYTES: usize = 4096;

/// User name of those who sign in with an ID token.
const OIDC_USER: &str = "oidc";

/// What somebody signs in with, and for what.
pub struct SignIn {
    /// Empty, with an empty password, if anonymous.
    pub username: String,
    /// A token's secret.
    pub password: SecretString,
    /// What is to be pulled; none for `docker login`.
    pub scopes: Vec<PullScope>,
    /// Whether the node allows anonymous pulls.
    pub anonymous_allowed: bool,
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
    /// How long it is good.
    pub expires_in_seconds: i64,
    /// When it was issued.
    pub issued_at_ms: i64,
}

/// Somebody who signs in: what the rule must know, and what the registry token will say.
struct Signer {
    who: Identity,
    subject: String,
    /// What the registry token ends with.
    token_id: Option<String>,
    expires_at_ms: Option<i64>,
}

impl Signer {
    fn job(trusted: TrustedToken) -> Self {
        Self {
            subject: OIDC_USER.to_owned(),
            token_id: trusted.trusts.first().map(|trust| trust.id.clone()),
            expires_at_ms: Some(trusted.token.expires_at_ms),
            who: Identity::Oidc { groups: trusted.trusts.into_iter().map(|trust| trust.group).collect() },
        }
    }
}

impl Plane {
    /// Issues a token for those of the scopes that the credentials are good for; if for none, answers why not for the
    /// first.
    pub async fn sign_in(&self, request: SignIn) -> PlaneResult<Result<SignedIn, PullRefused>> {
        if request.scopes.len() > MAX_SCOPES {
            return Err(PlaneError::invalid("scopes", format!("at most {MAX_SCOPES}; ask for the rest separately")));
        }
        let signer = match self.signer(&request).await? {
            Ok(signer) => signer,
            Err(refused) => return Ok(Err(refused)),
        };
        let access = if request.scopes.is_empty() {
            pull_access::may_sign_in(&signer.who).map(|()| Vec::new())
        } else {
            self.access(&signer.who, &request.scopes).await?
        };
        match access {
            Ok(access) => self.issue(signer, access).map(Ok),
            Err(refused) => Ok(Err(refused)),
        }
    }

    /// Whose the credentials are.
    async fn signer(&self, request: &SignIn) -> PlaneResult<Result<Signer, PullRefused>> {
        if request.username == OIDC_USER {
            return Ok(match self.trusted_token(&request.password).await? {
                Ok(trusted) => Ok(Signer::job(trusted)),
                Err(refused) => Err(refused.into()),
            });
        }
        let token = self.deploy_token(request).await?;
        let who = identity(request, token.as_ref());
        Ok(Ok(match token {
            Some(token) => {
                Signer { who, subject: token.username, token_id: Some(token.id), expires_at_ms: token.expires_at_ms }
            }
            None => Signer { who, subject: ANONYMOUS.to_owned(), token_id: None, expires_at_ms: None },
        }))
    }

    /// The live group token that user name and secret both belong to.
    async fn deploy_token(&self, request: &SignIn) -> PlaneResult<Option<Token>> {
        use secrecy::ExposeSecret as _;
        if request.username.is_empty() || request.password.expose_secret().len() > MAX_PASSWORD_BYTES {
            return Ok(None);
        }
        let token = self.live_token(&request.password).await?.filter(|token| token.kind == TokenKind::Group);
        Ok(token.filter(|token| token.username.as_bytes().ct_eq(request.username.as_bytes()).into()))
    }

    async fn access(&self, who: &Identity, scopes: &[PullScope]) -> PlaneResult<Result<Vec<Access>, PullRefused>> {
        let mut tx = self.store.read().await?;
        let mut access = Vec::new();
        let mut first_refusal = None;
        for scope in scopes {
            let group = match scope.group_path.parse::<GroupPath>() {
                Ok(path) if names_image_of(&scope.name, &path) => groups::by_path(&mut tx, &path).await?,
                _ => None,
            };
            let facts = group.as_ref().map(|group| PulledGroup {
                path: group.path.clone(),
                visibility: group.settings.visibility,
                anonymous_pull: group.settings.anonymous_pull,
                enabled: group.settings.enabled,
            });
            match (pull_access::may_pull(who, &scope.group_path, facts.as_ref()), group) {
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

    fn issue(&self, signer: Signer, access: Vec<Access>) -> PlaneResult<SignedIn> {
        let now_ms = self.clock.now_ms();
        let mut lifetime_seconds = i64::try_from(self.registry_token_lifetime.as_secs()).unwrap_or(i64::MAX);
        // Never longer than what was signed in with: its expiry must not be outlived by what it was good for.
        if let Some(expires) = signer.expires_at_ms {
            lifetime_seconds = lifetime_seconds.min((expires - now_ms) / 1000).max(1);
        }
        let claims = Claims::new(signer.subject, signer.token_id, access, now_ms, lifetime_seconds);
        let token = self.keys.sign(&claims, now_ms)?;
        Ok(SignedIn { token, expires_in_seconds: lifetime_seconds, issued_at_ms: now_ms })
    }
}

fn identity(request: &SignIn, token: Option<&Token>) -> Identity {
    use secrecy::ExposeSecret as _;
    match token {
        Some(Token { group: Some(group), scopes, .. }) => {
            Identity::DeployToken { group: group.clone(), scopes: scopes.clone() }
        }
        _ if request.username.is_empty() && request.password.expose_secret().is_empty() => {
            Identity::Anonymous { allowed: request.anonymous_allowed }
        }
        _ => Identity::Unknown,
    }
}

/// Whether `name` is an image below this group: a token must not name a repository of another group than was checked.
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
