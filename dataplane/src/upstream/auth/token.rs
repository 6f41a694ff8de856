//! The memory of tokens: each is fetched once, however many ask for it, and kept until it expires.

use std::{sync::Arc, time::Duration};

use http::HeaderValue;
use parking_lot::Mutex;
use quick_cache::sync::Cache;
use roadstead_proto::{Digest, UpstreamHost};
use tokio::time::Instant;

use super::challenge::Bearer;
use crate::singleflight::Singleflight;
use crate::upstream::UpstreamError;

/// Tokens remembered; one for each image that is being pulled.
const REMEMBERED: usize = 10_000;

/// The time that the refusal of a new token is believed of it: for the further requests of one pull.
const REFUSAL_TIME: Duration = Duration::from_secs(5);

/// The access of a token. The upstream is part of it so that none can ask for another one's tokens.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct TokenKey {
    pub(crate) upstream: UpstreamHost,
    pub(crate) bearer: Bearer,
    /// [`Credential::id`](crate::control::Credential::id); `None` for an anonymous token.
    pub(crate) credential: Option<Digest>,
}

/// A token, ready to be sent.
#[derive(Debug)]
pub(crate) struct Token {
    pub(crate) header: HeaderValue,
    good_until: Instant,
    /// When it was refused though it was new.
    refused_at: Mutex<Option<Instant>>,
}

impl Token {
    /// A token that was issued just now. It is used until shortly before it expires, so that it does not on its way.
    pub(crate) fn new(header: HeaderValue, lifetime: Duration) -> Self {
        let leeway = (lifetime / 4).min(Duration::from_secs(10));
        Self { header, good_until: Instant::now() + (lifetime - leeway), refused_at: Mutex::default() }
    }

    /// It was refused though it was new: a newer one would be refused as well.
    pub(crate) fn note_refusal(&self) {
        *self.refused_at.lock() = Some(Instant::now());
    }

    pub(crate) fn was_just_refused(&self) -> bool {
        let refused_at = *self.refused_at.lock();
        refused_at.is_some_and(|at| at.elapsed() < REFUSAL_TIME)
    }

    fn is_good(&self) -> bool {
        Instant::now() < self.good_until
    }
}

type Fetched = Result<Arc<Token>, UpstreamError>;

/// The tokens.
pub(crate) struct Tokens {
    known: Arc<Cache<TokenKey, Arc<Token>>>,
    fetching: Singleflight<TokenKey, Fetched>,
}

impl Tokens {
    pub(crate) fn new() -> Self {
        Self { known: Arc::new(Cache::new(REMEMBERED)), fetching: Singleflight::default() }
    }

    /// The token for `key`, and whether it is a remembered one; a new one from `fetch` if that was `refused`.
    pub(crate) async fn get<F>(
        &self,
        key: &TokenKey,
        refused: Option<&Arc<Token>>,
        fetch: impl FnOnce() -> F + Send + 'static,
    ) -> Result<(Arc<Token>, bool), UpstreamError>
    where
        F: Future<Output = Result<Token, UpstreamError>> + Send + 'static,
    {
        if let Some(refused) = refused {
            // Only that very token: others may have renewed it meanwhile.
            self.known.remove_if(key, |known| Arc::ptr_eq(known, refused));
        }
        if let Some(token) = good(&self.known, key) {
            return Ok((token, true));
        }
        let (known, wanted) = (Arc::clone(&self.known), key.clone());
        let work = move || async move {
            // One that was fetched between our look and our turn will do.
            if let Some(token) = good(&known, &wanted) {
                return Ok(token);
            }
            let token = Arc::new(fetch().await?);
            known.insert(wanted, Arc::clone(&token));
            Ok(token)
        };
        match self.fetching.run(key.clone(), work).await {
            Ok((fetched, _)) => fetched.map(|token| (token, false)),
            Err(lost) => Err(UpstreamError::TokenService {
                upstream: key.upstream.clone(),
                problem: lost.to_string(),
                status: None,
                retry_after: None,
            }),
        }
    }
}

fn good(known: &Cache<TokenKey, Arc<Token>>, key: &TokenKey) -> Option<Arc<Token>> {
    known.get(key).filter(|token| token.is_good())
}
