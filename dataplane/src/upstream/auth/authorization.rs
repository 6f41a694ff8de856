//! Meeting challenges: what is sent as `Authorization`, to the upstream itself.

use std::sync::Arc;

use base64::{Engine, prelude::BASE64_STANDARD};
use http::HeaderValue;
use quick_cache::sync::Cache;
use roadstead_proto::{Digest, RepositoryName, UpstreamHost};
use secrecy::ExposeSecret;
use tracing::warn;
use url::Url;

use super::{
    challenge::{Bearer, Challenge},
    token::{Token, TokenKey, Tokens},
    token_service::{self, Trust},
};
use crate::control::Credential;
use crate::upstream::{Target, UpstreamError, health::account::Standing, transport::exchange::Exchange};

/// Challenges remembered; one for each repository and credential.
const REMEMBERED: usize = 10_000;

/// Whose challenge it is: what an upstream wants may depend on all three.
type ChallengeKey = (Url, RepositoryName, Option<Digest>);

/// Remembers what upstreams want, so that a warm request is one request, and the tokens they take.
pub(crate) struct Authorizer {
    exchange: Exchange,
    challenges: Cache<ChallengeKey, Arc<Challenge>>,
    tokens: Tokens,
}

/// What is sent to the upstream.
pub(crate) struct Authorization {
    pub(crate) header: HeaderValue,
    /// The token in it; none for Basic.
    token: Option<Arc<Token>>,
}

impl Authorizer {
    pub(crate) fn new(exchange: Exchange) -> Self {
        Self { exchange, challenges: Cache::new(REMEMBERED), tokens: Tokens::new() }
    }

    /// What to send before upstream has asked: what it asked for last time. `None` if it never asked.
    pub(crate) async fn expected(
        &self,
        target: &Target,
        standing: &Arc<Standing>,
    ) -> Result<Option<Authorization>, UpstreamError> {
        let key = challenge_key(target);
        let Some(challenge) = self.challenges.get(&key) else { return Ok(None) };
        let met = self.meet(target, standing, &challenge, None).await;
        if met.is_err() {
            // The next request finds out what upstream wants now.
            self.challenges.remove(&key);
        }
        met.map(Some)
    }

    /// What to send now that upstream has asked, and has `refused` what was sent before.
    pub(crate) async fn demanded(
        &self,
        target: &Target,
        standing: &Arc<Standing>,
        challenge: Option<Challenge>,
        refused: Option<&Authorization>,
    ) -> Result<Authorization, UpstreamError> {
        let challenge = challenge.ok_or_else(|| unauthorized(target))?;
        let authorization = self.meet(target, standing, &challenge, refused).await?;
        self.challenges.insert(challenge_key(target), Arc::new(challenge));
        Ok(authorization)
    }

    async fn meet(
        &self,
        target: &Target,
        standing: &Arc<Standing>,
        challenge: &Challenge,
        refused: Option<&Authorization>,
    ) -> Result<Authorization, UpstreamError> {
        let bearer = match (challenge, &target.credential) {
            (Challenge::Bearer(bearer), _) => bearer,
            (Challenge::Basic, Some(credential)) if refused.is_none_or(|refused| refused.token.is_some()) => {
                return Ok(Authorization { header: basic(target.host(), credential)?, token: None });
            }
            (Challenge::Basic, _) => return Err(unauthorized(target)),
        };
        let token = self.token(target, standing, bearer, refused.and_then(|refused| refused.token.as_ref())).await?;
        Ok(Authorization { header: token.header.clone(), token: Some(token) })
    }

    async fn token(
        &self,
        target: &Target,
        standing: &Arc<Standing>,
        bearer: &Bearer,
        refused: Option<&Arc<Token>>,
    ) -> Result<Arc<Token>, UpstreamError> {
        let (realm, trust) = token_service::realm(&target.upstream, bearer)?;
        let credential = target.credential.clone().filter(|_| trust == Trust::Credentials);
        let scope = bearer.scope.clone().unwrap_or_else(|| target.repository.pull_scope());
        let bearer = Bearer { scope: Some(scope), ..bearer.clone() };
        let id = credential.as_ref().map(|credential| *credential.id());
        let key = TokenKey { upstream: target.host().clone(), bearer: bearer.clone(), credential: id };
        let (exchange, upstream, standing) =
            (self.exchange.clone(), Arc::clone(&target.upstream), Arc::clone(standing));
        let withheld = target.credential.is_some() && credential.is_none();
        let fetch = move || {
            if withheld {
                let realm = realm.host_str().unwrap_or_default();
                warn!(upstream = %upstream.host, realm, "credentials are kept from a token service that is not the upstream's own");
            }
            token_service::fetch(exchange, upstream, realm, bearer, credential, Some(standing))
        };
        self.tokens.get(&key, refused, fetch).await
    }
}

fn challenge_key(target: &Target) -> ChallengeKey {
    let credential = target.credential.as_ref().map(|credential| *credential.id());
    (target.upstream.url.clone(), target.repository.clone(), credential)
}

fn unauthorized(target: &Target) -> UpstreamError {
    UpstreamError::Unauthorized { upstream: target.host().clone() }
}

/// `Basic`, as RFC 7617 has it.
pub(crate) fn basic(upstream: &UpstreamHost, credential: &Credential) -> Result<HeaderValue, UpstreamError> {
    let pair = format!("{}:{}", credential.username(), credential.password().expose_secret());
    let mut header = HeaderValue::try_from(format!("Basic {}", BASE64_STANDARD.encode(pair)))
        .map_err(|_| UpstreamError::Unauthorized { upstream: upstream.clone() })?;
    header.set_sensitive(true);
    Ok(header)
}
