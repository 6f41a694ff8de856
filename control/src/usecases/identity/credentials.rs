//! Checks credentials: passwords and tokens of all kinds, on the registry port and on the control port.

use roadstead_proto::{Role, TokenKind};

use std::sync::Arc;

use secrecy::{ExposeSecret as _, SecretString};
use subtle::ConstantTimeEq as _;

use super::{
    last_used::LastUses,
    login_throttle::LoginThrottle,
    oidc::{TrustedToken, trusted_token},
    user::with_password,
};
use crate::{
    auth::{
        password::Passwords,
        registry_token::{ANONYMOUS, UserMark},
        secret,
    },
    clock::Clock,
    oidc::KeyCache,
    rules::{
        access::{
            HeldToken, Principal,
            pull::{GroupToken, Identity, PullRefused},
        },
        identity::{login_throttle::Attempt, token::Token, user::User},
    },
    store::{
        Store,
        identity::{token, user},
    },
    usecases::UseCaseResult,
};

/// The user name that goes with ID tokens of OpenID Connect issuers.
const OIDC_USERNAME: &str = "oidc";
/// Longest password that is looked at, in bytes.
const MAX_PASSWORD_BYTES: usize = 4096;

/// Verified credentials, with the claims that a registry token for them carries.
#[derive(Debug)]
pub struct Credentials {
    /// The identity.
    pub identity: Identity,
    /// The `sub` of registry tokens.
    pub subject: String,
    /// The token that was signed in with.
    pub token_id: Option<String>,
    /// The user that signed in.
    pub user: Option<UserMark>,
    /// When they stop being good.
    pub expires_at_ms: Option<i64>,
}

impl Credentials {
    /// Of nobody.
    pub fn anonymous(allowed: bool) -> Self {
        Self { identity: Identity::Anonymous { allowed }, ..Self::unknown() }
    }

    /// No good.
    pub fn unknown() -> Self {
        Self {
            identity: Identity::Unknown,
            subject: ANONYMOUS.to_owned(),
            token_id: None,
            user: None,
            expires_at_ms: None,
        }
    }

    fn of_user(user: User, token: Option<Token>) -> Self {
        let name = user.name.to_string();
        if user.disabled {
            return Self { identity: Identity::DisabledUser { name }, ..Self::unknown() };
        }
        let expires_at_ms = token.as_ref().and_then(|token| token.expires_at_ms);
        let (token_id, scopes) = token.map(|token| (token.id, token.scopes)).unzip();
        Self {
            subject: name.clone(),
            identity: Identity::User { name, admin: user.admin, scopes },
            token_id,
            user: Some(UserMark { id: user.id, epoch: user.epoch }),
            expires_at_ms,
        }
    }

    fn of_job(trusted: TrustedToken) -> Self {
        let claim = |name| trusted.token.claims.get(name).and_then(|value| value.as_str());
        let subject = match claim("sub") {
            Some(subject) => format!("{} {subject}", trusted.token.issuer),
            None => trusted.token.issuer.clone(),
        };
        Self {
            subject: OIDC_USERNAME.to_owned(),
            // Registry tokens end with this trust; for its group and subgroups they end with any of the trusts.
            token_id: trusted.trusts.first().map(|trust| trust.id.clone()),
            user: None,
            expires_at_ms: Some(trusted.token.expires_at_ms),
            identity: Identity::Oidc { subject, groups: trusted.trusts.into_iter().map(|trust| trust.group).collect() },
        }
    }

    fn of_other_token(what: &'static str) -> Self {
        Self { identity: Identity::OtherToken { what }, ..Self::unknown() }
    }
}

/// Finds out whose credentials are shown, on the registry port and on the control port.
pub struct Authenticator {
    store: Store,
    clock: Clock,
    /// The token of the node in this process; kept in memory only.
    embedded_node_token: SecretString,
    passwords: Arc<Passwords>,
    issuer_keys: Arc<KeyCache>,
    throttle: LoginThrottle,
    last_uses: LastUses,
}

impl Authenticator {
    /// Checks passwords and ID tokens with these.
    pub fn new(
        store: Store,
        clock: Clock,
        embedded_node_token: SecretString,
        passwords: Arc<Passwords>,
        issuer_keys: Arc<KeyCache>,
    ) -> Self {
        let throttle = LoginThrottle::new(clock.clone());
        Self { store, clock, embedded_node_token, passwords, issuer_keys, throttle, last_uses: LastUses::default() }
    }

    /// Writes when tokens and users were last seen.
    pub(crate) async fn write_last_used(&self) -> UseCaseResult<()> {
        self.last_uses.write(&self.store).await
    }

    /// Finds out whose user name and password on the registry port these are.
    pub(crate) async fn credentials(
        &self,
        attempt: &Attempt,
        username: &str,
        password: &SecretString,
    ) -> UseCaseResult<Result<Credentials, PullRefused>> {
        if !username.eq_ignore_ascii_case(OIDC_USERNAME) {
            return Ok(Ok(self.local_credentials(attempt, username, password).await?));
        }
        match trusted_token(&self.store, &self.clock, &self.issuer_keys, password).await? {
            Ok(trusted) => Ok(Ok(Credentials::of_job(trusted))),
            Err(refused) => {
                self.throttle.throttled::<()>(Some(attempt), nothing()).await?;
                Ok(Err(PullRefused::IdToken(refused.to_string())))
            }
        }
    }

    /// As [`Authenticator::credentials`], for those that were made here.
    async fn local_credentials(
        &self,
        attempt: &Attempt,
        username: &str,
        password: &SecretString,
    ) -> UseCaseResult<Credentials> {
        let is_possible = !username.is_empty() && password.expose_secret().len() <= MAX_PASSWORD_BYTES;
        // Before anything is counted: a token is too long to be guessed, whoever else fails at the same address.
        if is_possible && let Some(token) = self.live_token(password).await? {
            let found = self.token_credentials(username, token).await?;
            if found.identity != Identity::Unknown {
                return Ok(found);
            }
        }
        let check = async {
            // A secret in our own format cannot be a password: spares the slow check when an old token is used.
            if !is_possible || secret::is_ours(password) {
                return Ok(None);
            }
            let user = self.user_with_password(username, password).await?;
            Ok(user.map(|user| Credentials::of_user(user, None)).filter(|found| found.identity != Identity::Unknown))
        };
        Ok(self.throttle.throttled(Some(attempt), check).await?.unwrap_or_else(Credentials::unknown))
    }

    async fn token_credentials(&self, username: &str, token: Token) -> UseCaseResult<Credentials> {
        let kind = match token.kind {
            TokenKind::Admin => return Ok(Credentials::of_other_token("the administrator's token")),
            TokenKind::Node => return Ok(Credentials::of_other_token("a node token")),
            TokenKind::Service => return Ok(Credentials::of_other_token("a service token")),
            _ if !is_same_name(username, &token.username) => return Ok(Credentials::unknown()),
            TokenKind::Personal => {
                let user = self.user_of(&token).await?;
                return Ok(user.map_or_else(Credentials::unknown, |user| Credentials::of_user(user, Some(token))));
            }
            TokenKind::Group => GroupToken::Deploy,
            TokenKind::GroupAccess => GroupToken::Access,
            TokenKind::Job => GroupToken::Job,
        };
        let Some(group) = token.group else { return Ok(Credentials::unknown()) };
        Ok(Credentials {
            subject: token.username.clone(),
            identity: Identity::GroupToken { kind, username: token.username, group, scopes: token.scopes },
            token_id: Some(token.id),
            user: None,
            expires_at_ms: token.expires_at_ms,
        })
    }

    /// Returns the holder of this secret on the control port, if it is valid. Without an attempt to count (within the
    /// process) any number may be tried.
    pub async fn authenticate(
        &self,
        attempt: Option<&Attempt>,
        secret: &SecretString,
    ) -> UseCaseResult<Option<Principal>> {
        let given = secret.expose_secret().as_bytes();
        if bool::from(given.ct_eq(self.embedded_node_token.expose_secret().as_bytes())) {
            return Ok(Some(Principal::Node));
        }
        // Before anything is counted: a token is too long to be guessed, whoever else fails at the same address.
        if let Some(token) = self.live_token(secret).await?
            && let Some(principal) = self.principal(token).await?
        {
            return Ok(Some(principal));
        }
        self.throttle.throttled(attempt, nothing()).await
    }

    /// Finds out whose user name and password (or token) on the control port these are. Attempts as for
    /// [`Authenticator::authenticate`].
    pub async fn authenticate_by_name(
        &self,
        attempt: Option<&Attempt>,
        name: &str,
        secret: &SecretString,
    ) -> UseCaseResult<Option<Principal>> {
        let token = self.live_token(secret).await?.filter(|token| is_same_name(name, &token.username));
        if let Some(token) = token
            && let Some(principal) = self.principal(token).await?
        {
            return Ok(Some(principal));
        }
        let check = async {
            if secret::is_ours(secret) {
                return Ok(None);
            }
            let user = self.user_with_password(name, secret).await?.filter(|user| !user.disabled);
            Ok(user.map(|user| Principal::User {
                id: user.id,
                name: user.name.to_string(),
                admin: user.admin,
                token: None,
            }))
        };
        self.throttle.throttled(attempt, check).await
    }

    /// Returns the principal that a token stands for on the control port.
    async fn principal(&self, token: Token) -> UseCaseResult<Option<Principal>> {
        let user = match token.kind {
            TokenKind::Personal => self.user_of(&token).await?.filter(|user| !user.disabled),
            _ => None,
        };
        let held = HeldToken { id: token.id, name: token.name, scopes: token.scopes };
        Ok(match (token.kind, token.group) {
            (TokenKind::Admin, _) => Some(Principal::Admin),
            (TokenKind::Node, _) => Some(Principal::Node),
            (TokenKind::Group, Some(group)) => Some(Principal::Group { token: held, group, role: Role::Maintainer }),
            (TokenKind::GroupAccess, Some(group)) => {
                token.role.map(|role| Principal::Group { token: held, group, role })
            }
            (TokenKind::Service, group) => Some(Principal::Service { token: held, group }),
            (TokenKind::Job, _) => Some(Principal::Job { token: held }),
            (TokenKind::Personal, _) => user.map(|user| Principal::User {
                id: user.id,
                name: user.name.to_string(),
                admin: user.admin,
                token: Some(held),
            }),
            (TokenKind::Group | TokenKind::GroupAccess, None) => None,
        })
    }

    /// The person that a personal token belongs to; notes that the person is here.
    async fn user_of(&self, token: &Token) -> UseCaseResult<Option<User>> {
        let Some(owner) = &token.user else { return Ok(None) };
        let user = user::by_id(&mut *self.store.read().await?, &owner.id).await?;
        self.note_seen(user.as_ref());
        Ok(user)
    }

    /// As [`with_password`]; notes that the person is here.
    async fn user_with_password(&self, name: &str, password: &SecretString) -> UseCaseResult<Option<User>> {
        let user = with_password(&self.store, &self.passwords, name, password).await?;
        self.note_seen(user.as_ref());
        Ok(user)
    }

    fn note_seen(&self, user: Option<&User>) {
        if let Some(user) = user.filter(|user| !user.disabled) {
            self.last_uses.users.note(&user.id, user.last_seen_at_ms, self.clock.now_ms());
        }
    }

    /// The token with this secret, if it still works; notes that it was used.
    async fn live_token(&self, given: &SecretString) -> UseCaseResult<Option<Token>> {
        if !secret::is_plausible(given) {
            return Ok(None);
        }
        let now_ms = self.clock.now_ms();
        let found = token::by_secret_hash(&mut *self.store.read().await?, &secret::hash(given)).await?;
        let live = found.filter(|token| token.is_live(now_ms));
        if let Some(token) = &live {
            self.last_uses.tokens.note(&token.id, token.last_used_at_ms, now_ms);
        }
        Ok(live)
    }
}

/// A check that is over, and found nothing.
async fn nothing<T>() -> UseCaseResult<Option<T>> {
    Ok(None)
}

/// Names of users are not told by case, and neither are those of tokens, which are lower-case.
fn is_same_name(given: &str, name: &str) -> bool {
    given.to_ascii_lowercase().as_bytes().ct_eq(name.as_bytes()).into()
}
