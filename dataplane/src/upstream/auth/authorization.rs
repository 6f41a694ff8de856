//! Meeting challenges: what is sent as `Authorization`, to the upstream itself.

use std::{sync::Arc, time::Duration};

use http::{HeaderValue, StatusCode};
use quick_cache::sync::Cache;
use roadstead_proto::{Digest, RepositoryName};
use tokio::time::Instant;
use tracing::warn;
use url::Url;

use super::{
    basic::basic,
    challenge::{Bearer, Challenge},
    token::{Token, TokenKey, Tokens},
    token_service::{self, Trust},
};
use crate::upstream::{
    Target, UpstreamError,
    health::account::Admitted,
    said::Said,
    transport::{
        exchange::{Ask, Exchange},
        redirect::Answer,
    },
};

/// Challenges remembered; one for each repository and credential.
const REMEMBERED: usize = 10_000;
/// The time that an answer of `/v2/` without a challenge is remembered.
const NO_CHALLENGE_TIME: Duration = Duration::from_secs(60);

/// The subject of a challenge: an upstream's demands may depend on all three.
type ChallengeKey = (Url, RepositoryName, Option<Digest>);
/// Likewise for a whole registry.
type RegistryKey = (Url, Option<Digest>);

/// Remembers what upstreams want, so that a warm request is one request, and the tokens they take.
pub(crate) struct Authorizer {
    exchange: Exchange,
    challenges: Cache<ChallengeKey, Arc<Challenge>>,
    /// Challenges of `/v2/`, of registries whose repositories answer without one; `Err` is when to ask again.
    registries: Cache<RegistryKey, Result<Arc<Challenge>, Instant>>,
    tokens: Tokens,
}

/// The credentials for a request to the upstream.
pub(crate) struct Authorization {
    pub(crate) header: HeaderValue,
    /// The challenge that it meets.
    challenge: Arc<Challenge>,
    /// The token in it; none for Basic.
    token: Option<Arc<Token>>,
    /// The token was there before this request.
    is_remembered: bool,
}

impl Authorization {
    /// It was refused, though its token was issued for this very request.
    pub(crate) fn note_refusal(&self) {
        if let Some(token) = self.token.as_ref().filter(|_| !self.is_remembered) {
            token.note_refusal();
        }
    }

    /// Returns whether a refusal may mean no more than that the token has become stale.
    fn may_be_stale(&self) -> bool {
        self.is_remembered && self.token.as_ref().is_some_and(|token| !token.was_just_refused())
    }
}

impl Authorizer {
    pub(crate) fn new(exchange: Exchange) -> Self {
        let (challenges, registries) = (Cache::new(REMEMBERED), Cache::new(REMEMBERED));
        Self { exchange, challenges, registries, tokens: Tokens::new() }
    }

    /// Returns the credentials to send before the upstream has asked: what it asked for last time. `None` if it never asked.
    pub(crate) async fn expected(
        &self,
        target: &Target,
        admitted: &Admitted,
    ) -> Result<Option<Authorization>, UpstreamError> {
        let key = challenge_key(target);
        let known = self.challenges.get(&key).or_else(|| self.registries.get(&registry_key(target))?.ok());
        let Some(challenge) = known else { return Ok(None) };
        let met = self.meet(target, admitted, &challenge, None).await;
        if met.is_err() {
            // The next request finds out what the upstream wants now.
            self.challenges.remove(&key);
            self.registries.remove(&registry_key(target));
        }
        met.map(Some)
    }

    /// Returns the credentials to send instead, after `sent` was refused; `None` if the refusal is to be believed.
    ///
    /// No form of refusal is believed of a remembered token: it may have become stale, which upstreams tell in many ways.
    /// If nothing was sent and no challenge came, `/v2/` tells what the registry takes.
    pub(crate) async fn after_refusal(
        &self,
        target: &Target,
        admitted: &Admitted,
        refused: &Answer,
        sent: Option<&Authorization>,
    ) -> Result<Option<Authorization>, UpstreamError> {
        let status = refused.response.status();
        let told = match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Challenge::choose(refused.response.headers()),
            // Some registries hide what they do not show to everybody.
            StatusCode::NOT_FOUND if sent.is_none() && target.credential.is_some() => None,
            _ => return Ok(None),
        };
        let challenge = match (told, sent) {
            (Some(told), _) if status == StatusCode::UNAUTHORIZED => Arc::new(told),
            (Some(told), Some(sent)) if sent.may_be_stale() => Arc::new(told),
            (None, Some(sent)) if sent.may_be_stale() => Arc::clone(&sent.challenge),
            (Some(told), None) => Arc::new(told),
            (None, None) => match self.learnt(target).await {
                Some(learnt) => learnt,
                None => return Ok(None),
            },
            (_, Some(_)) => return Ok(None),
        };
        let authorization = self.meet(target, admitted, &challenge, sent).await?;
        self.challenges.insert(challenge_key(target), challenge);
        Ok(Some(authorization))
    }

    /// The challenge of `/v2/`, from memory or by asking.
    async fn learnt(&self, target: &Target) -> Option<Arc<Challenge>> {
        let key = registry_key(target);
        match self.registries.get(&key) {
            Some(Ok(challenge)) => return Some(challenge),
            Some(Err(again)) if Instant::now() < again => return None,
            _ => {}
        }
        let answer = self.exchange.follow(&target.upstream, Ask::ping(&target.upstream), None, None).await.ok()?;
        let is_challenge = answer.from_upstream && answer.response.status() == StatusCode::UNAUTHORIZED;
        let challenge = Challenge::choose(answer.response.headers()).filter(|_| is_challenge).map(|challenge| {
            Arc::new(match challenge {
                // Its scope is that of `/v2/`, and not the repository's.
                Challenge::Bearer(bearer) => Challenge::Bearer(Bearer { scope: None, ..bearer }),
                Challenge::Basic => Challenge::Basic,
            })
        });
        self.exchange.discard(target.host(), answer.response).await;
        self.registries.insert(key, challenge.clone().ok_or_else(|| Instant::now() + NO_CHALLENGE_TIME));
        challenge
    }

    async fn meet(
        &self,
        target: &Target,
        admitted: &Admitted,
        challenge: &Arc<Challenge>,
        refused: Option<&Authorization>,
    ) -> Result<Authorization, UpstreamError> {
        let bearer = match (&**challenge, &target.credential) {
            (Challenge::Bearer(bearer), _) => bearer,
            (Challenge::Basic, Some(credential)) if refused.is_none_or(|refused| refused.token.is_some()) => {
                let header = basic(target.host(), credential)?;
                return Ok(Authorization {
                    header,
                    challenge: Arc::clone(challenge),
                    token: None,
                    is_remembered: false,
                });
            }
            (Challenge::Basic, _) => {
                return Err(UpstreamError::Unauthorized { upstream: target.host().clone(), said: Said::default() });
            }
        };
        let refused = refused.and_then(|refused| refused.token.as_ref());
        let (token, is_remembered) = self.token(target, admitted, bearer, refused).await?;
        let header = token.header.clone();
        Ok(Authorization { header, challenge: Arc::clone(challenge), token: Some(token), is_remembered })
    }

    async fn token(
        &self,
        target: &Target,
        admitted: &Admitted,
        bearer: &Bearer,
        refused: Option<&Arc<Token>>,
    ) -> Result<(Arc<Token>, bool), UpstreamError> {
        let (realm, trust) = token_service::realm(&target.upstream, bearer)?;
        let credential = target.credential.clone().filter(|_| trust == Trust::Credentials);
        let scope = bearer.scope.clone().unwrap_or_else(|| target.repository.pull_scope());
        let bearer = Bearer { scope: Some(scope), ..bearer.clone() };
        let id = credential.as_ref().map(|credential| *credential.id());
        let key = TokenKey { upstream: target.host().clone(), bearer: bearer.clone(), credential: id };
        let (exchange, upstream) = (self.exchange.clone(), Arc::clone(&target.upstream));
        let asker = (Arc::clone(&admitted.health), admitted.content.clone());
        let withheld = target.credential.is_some() && credential.is_none();
        let fetch = move || {
            if withheld {
                let realm = realm.host_str().unwrap_or_default();
                warn!(upstream = %upstream.host, realm, "credentials are withheld from a token service that is not the upstream's own");
            }
            token_service::fetch(exchange, upstream, realm, bearer, credential, Some(asker))
        };
        self.tokens.get(&key, refused, fetch).await
    }
}

fn challenge_key(target: &Target) -> ChallengeKey {
    let (url, credential) = registry_key(target);
    (url, target.repository.clone(), credential)
}

fn registry_key(target: &Target) -> RegistryKey {
    let credential = target.credential.as_ref().map(|credential| *credential.id());
    (target.upstream.url.clone(), credential)
}

/// Returns whether a status refuses the credentials.
pub(crate) const fn is_refusal(status: StatusCode) -> bool {
    matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN)
}
