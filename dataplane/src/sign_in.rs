//! The token service, `/jwt/auth`: credentials and scopes in, a registry token out.
//! Protocol: Docker's "Token Authentication Specification" (GET with Basic) and its OAuth2 form (POST).

mod guesses;
mod memory;

use std::{
    net::IpAddr,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::Bytes;
use http::{HeaderMap, Method, Request, header};
use http_body_util::{BodyExt, Limited};
use roadstead_proto::{GroupPath, REGISTRY_SERVICE};
use secrecy::{ExposeSecret, SecretString};
use serde_json::json;
use tokio::time::timeout;
use url::form_urlencoded;

pub use self::memory::{SignInMemory, SignInName};
use crate::{
    access::authenticate::{ANYBODY, Authenticator},
    control::{
        ControlError, ControlLiveness, NodeClient, Policy, PullScope, RegistryToken, SignIn, SignInRefusal,
        SignInResult, SyncGuard,
    },
    listener::BodyError,
    respond::{Answer, OciError, ok_json},
    route::{group_of_scope, named_image},
    trail::Subject,
};

/// Longest form we read, in bytes: the longest password with each byte escaped, and the rest.
const MAX_FORM_BYTES: usize = 4 * MAX_PASSWORD_BYTES;
/// Longest time that a form may take to arrive.
const FORM_TIME: Duration = Duration::from_secs(10);
/// Longest user name, in bytes.
const MAX_USERNAME_BYTES: usize = 1024;
/// Longest password, in bytes; an ID token of a CI system is the longest there is.
const MAX_PASSWORD_BYTES: usize = 16 * 1024;
/// Lifetime that a token says it has while the control plane is unavailable, in seconds: the least that clients accept.
/// They ask again then.
const OUTAGE_TOKEN_SECONDS: i64 = 60;
/// Most scopes in one request.
const MAX_SCOPES: usize = 10;

/// Issues registry tokens, as the control plane decides.
pub struct TokenService {
    /// Asks the control plane, which decides about sign-ins.
    pub client: Arc<NodeClient>,
    /// Says which groups admit anonymous callers while the control plane is unavailable.
    pub policy: Arc<Policy>,
    /// Tells since when it is.
    pub liveness: Arc<ControlLiveness>,
    /// True if this node admits anonymous callers, where the group does.
    pub allow_anonymous_pulls: bool,
    /// Tells which tokens are still good.
    pub authenticator: Arc<Authenticator>,
    /// Tells whether this node may have missed what voids a token.
    pub sync: Arc<SyncGuard>,
    /// Sign-ins, for those who repeat them.
    pub remembered: SignInMemory,
    /// The longest time that anything is served without contact to the control plane.
    pub max_control_outage: Duration,
}

/// A sign-in request, read to its end.
#[derive(Default)]
pub struct Form {
    service: Option<String>,
    scopes: Vec<String>,
    grant_type: Option<String>,
    username: String,
    password: String,
}

impl Form {
    /// Reads a request to its end.
    pub async fn receive<B>(request: Request<B>) -> Result<Self, OciError>
    where
        B: http_body::Body<Data = Bytes, Error: Into<BodyError>> + Send + Unpin,
    {
        let mut form = Self::default();
        form.take(request.uri().query().unwrap_or_default().as_bytes());
        // Credentials in a URL end up in logs.
        (form.username, form.password) = basic(request.headers())?.unwrap_or_default();
        if *request.method() != Method::POST {
            return Ok(form);
        }
        let body = timeout(FORM_TIME, Limited::new(request.into_body(), MAX_FORM_BYTES).collect())
            .await
            .map_err(|_| OciError::slow_form())?
            .map_err(|_| OciError::long_form())?;
        form.take(&body.to_bytes());
        match form.grant_type.as_deref() {
            Some("password") => Ok(form),
            // We issue no refresh tokens; clients that hear 401 sign in with their password.
            Some("refresh_token") => {
                Err(OciError::wrong_credentials("refresh tokens are not issued here; sign in with a password"))
            }
            _ => Err(OciError::bad_sign_in("grant_type must be password")),
        }
    }

    /// The name that it signs in by; empty for anonymous callers.
    pub fn name(&self) -> String {
        self.username.clone()
    }

    /// The first image that it is for, if it names one.
    pub fn subject(&self, mirror: Option<&GroupPath>) -> Option<Subject> {
        let (name, _) = self.scopes.iter().find_map(|scope| group_of_scope(scope, mirror))?;
        let (group, image) = named_image(&name)?;
        Some(Subject { group, image, reference: None })
    }

    fn take(&mut self, encoded: &[u8]) {
        for (key, value) in form_urlencoded::parse(encoded) {
            match &*key {
                "service" => self.service = Some(value.into_owned()),
                // Several scopes come as several parameters, or separated by spaces.
                "scope" => self.scopes.extend(value.split(' ').filter(|scope| !scope.is_empty()).map(str::to_owned)),
                "grant_type" => self.grant_type = Some(value.into_owned()),
                "username" => self.username = value.into_owned(),
                "password" => self.password = value.into_owned(),
                _ => {}
            }
        }
    }
}

/// The credentials of an `Authorization: Basic` header; `None` without one.
fn basic(headers: &HeaderMap) -> Result<Option<(String, String)>, OciError> {
    let Some(value) = headers.get(header::AUTHORIZATION) else { return Ok(None) };
    let decoded = value
        .to_str()
        .ok()
        .and_then(|value| value.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("basic"))
        .and_then(|(_, encoded)| BASE64_STANDARD.decode(encoded.trim()).ok())
        .and_then(|bytes| String::from_utf8(bytes).ok());
    match decoded.as_deref().and_then(|text| text.split_once(':')) {
        Some((username, password)) => Ok(Some((username.to_owned(), password.to_owned()))),
        None => Err(OciError::wrong_credentials("the Authorization header holds no Basic credentials")),
    }
}

impl TokenService {
    /// Answers one request of the client at this address. `mirror` is the group that scopes without one mean.
    pub async fn answer(
        &self,
        form: Form,
        client: Option<IpAddr>,
        mirror: Option<&GroupPath>,
    ) -> Result<Answer, OciError> {
        match &form.service {
            Some(service) if service != REGISTRY_SERVICE => {
                let message = format!("there is no service {service:?} here, only {REGISTRY_SERVICE:?}");
                return Err(OciError::unknown_scope(message));
            }
            _ => {}
        }
        self.sign_in(form, client, mirror).await
    }

    async fn sign_in(
        &self,
        form: Form,
        client: Option<IpAddr>,
        mirror: Option<&GroupPath>,
    ) -> Result<Answer, OciError> {
        if form.scopes.len() > MAX_SCOPES {
            return Err(OciError::bad_sign_in("too many scopes at once"));
        }
        if form.username.len() > MAX_USERNAME_BYTES || form.password.len() > MAX_PASSWORD_BYTES {
            return Err(OciError::wrong_credentials("user name or password is too long"));
        }
        let scopes: Vec<PullScope> = form
            .scopes
            .iter()
            .filter_map(|scope| group_of_scope(scope, mirror))
            .map(|(name, group)| PullScope { name: name.to_string(), group })
            .collect();
        if scopes.is_empty() && !form.scopes.is_empty() {
            let message = "images here are named GROUP/dependency_proxy/containers/IMAGE";
            return Err(OciError::unknown_scope(message));
        }
        let sign_in = SignIn {
            username: form.username,
            password: SecretString::from(form.password),
            scopes,
            anonymous_allowed: self.allow_anonymous_pulls,
            client_address: client.map(|address| address.to_string()).unwrap_or_default(),
        };
        let name = self.remembered.name(&sign_in, &self.policy.memory_id());
        if let Some(token) = self.again(name, &sign_in) {
            return Ok(token_answer(&token));
        }
        let is_anonymous = sign_in.username.is_empty() && sign_in.password.expose_secret().is_empty();
        let groups: Vec<_> = sign_in.scopes.iter().map(|scope| scope.group.clone()).collect();
        let has_another_way = is_anonymous || self.remembered.get(name).is_some();
        let asking = self.remembered.asking(&sign_in, &self.policy.current());
        let refused = match self.client.sign_in(sign_in, has_another_way).await {
            Ok(SignInResult::Token(token)) => {
                self.remembered.put(name, token.clone(), asking);
                return Ok(token_answer(&token));
            }
            Ok(SignInResult::Refused(refused)) => refused,
            Err(error) if is_anonymous => return self.anonymous_without_control(&groups, &error),
            Err(error) => return self.again_without_control(name, &error),
        };
        if !is_anonymous && refused.reason != SignInRefusal::Unavailable {
            asking.failed();
        }
        if refused.reason != SignInRefusal::Unavailable && refused.reason != SignInRefusal::TooManyRequests {
            self.remembered.forget(name);
        }
        Err(OciError::from_sign_in(refused))
    }

    /// The token that the same credentials got a moment ago for the same scopes, as long as the control plane said that it may be
    /// given again, and nothing that it depends on has changed. The watch tells of all that: a client that kept its token would go
    /// on using it just as long.
    fn again(&self, name: SignInName, sign_in: &SignIn) -> Option<RegistryToken> {
        if self.sync.may_be_stale() {
            return None;
        }
        let token = self.remembered.again(name, sign_in, &self.policy.current())?;
        self.authenticator.takes(&token.token).then_some(token)
    }
}

/// Signing in while the control plane cannot be form.
impl TokenService {
    /// Answers an anonymous sign-in: the snapshot says which groups admit those.
    fn anonymous_without_control(&self, groups: &[GroupPath], error: &ControlError) -> Result<Answer, OciError> {
        self.goes_on(error)?;
        let policy = self.policy.current();
        let admits = |path: &GroupPath| policy.group(path).is_some_and(|group| group.anonymous_pull);
        if !self.allow_anonymous_pulls || !(groups.is_empty() || groups.iter().any(admits)) {
            return Err(OciError::wrong_credentials(
                "sign in first: `docker login` with a user's name and password or a token",
            ));
        }
        Ok(self.outage_token(ANYBODY.to_owned()))
    }

    /// Answers credentials that signed in before with the same token while that is good, and refuses all others.
    fn again_without_control(&self, name: SignInName, error: &ControlError) -> Result<Answer, OciError> {
        self.goes_on(error)?;
        match self.remembered.get(name) {
            Some(known) if self.authenticator.takes(&known.token) => Ok(self.outage_token(known.token)),
            _ => {
                let message = "the control plane of this cache is unavailable: credentials cannot be checked, and these did \
                               not sign in for this image before; try again";
                Err(OciError::unchecked_credentials(message))
            }
        }
    }

    /// Fails unless sign-ins may go on without the control plane for now.
    fn goes_on(&self, error: &ControlError) -> Result<(), OciError> {
        tracing::warn!(%error, "signing in without the control plane");
        let in_time = self.policy.has_snapshot() && self.liveness.silent_for() <= self.max_control_outage;
        if error.retryable() && in_time { Ok(()) } else { Err(OciError::from_control(error)) }
    }

    fn outage_token(&self, token: String) -> Answer {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
        let issued_at_ms = i64::try_from(now).unwrap_or(i64::MAX);
        let (expires_in_seconds, reusable_for) = (OUTAGE_TOKEN_SECONDS, Duration::ZERO);
        token_answer(&RegistryToken { token, expires_in_seconds, issued_at_ms, reusable_for, guessable: false })
    }
}

fn token_answer(token: &RegistryToken) -> Answer {
    let answer = json!({
        "token": token.token,
        "access_token": token.token,
        "expires_in": token.expires_in_seconds,
        "issued_at": humantime_of(token.issued_at_ms),
    });
    ok_json(&answer)
}

/// RFC 3339, as the token specification wants it.
fn humantime_of(milliseconds: i64) -> String {
    let since = Duration::from_millis(u64::try_from(milliseconds).unwrap_or_default());
    humantime::format_rfc3339_seconds(UNIX_EPOCH + since).to_string()
}
