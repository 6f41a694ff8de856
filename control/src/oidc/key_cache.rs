//! Issuers' keys, remembered.
//!
//! - One fetch at a time for each issuer: whoever comes meanwhile waits for it and shares what came of it. A caller
//!   that
//!   goes away takes its fetch with it; the next one that waits starts anew.
//! - Keys are asked for again after ten minutes, so that a withdrawn one is noticed, and when a token names an unknown
//!   one, so that a new one works at once; never more often than every thirty seconds, whatever tokens say.
//! - While the issuer cannot be asked, its last keys are good for a day.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync;
use tracing::{info, warn};

use super::{IssuerUrl, discovery, key_set::KeySet};
use crate::clock::Clock;

/// Time for which keys are used without a refresh, in milliseconds: ten minutes.
const FRESH_MS: i64 = 10 * 60 * 1000;
/// Time for which keys are used while the issuer is unavailable, in milliseconds: a day.
const STALE_MS: i64 = 24 * 3600 * 1000;
/// Shortest time between two fetches, in milliseconds.
const BETWEEN_MS: i64 = 30 * 1000;
/// The limit before the first keys are fetched, while every sign-in fails.
const BETWEEN_WITHOUT_KEYS_MS: i64 = 5 * 1000;

/// An issuer's keys are not known, and cannot be had now.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the keys of issuer {issuer} cannot be fetched right now; try again")]
pub struct KeysUnavailable {
    /// The issuer.
    pub issuer: String,
}

/// The cached state of one issuer.
#[derive(Default)]
struct Known {
    /// Its keys, and when they were fetched.
    keys: Option<(Arc<KeySet>, i64)>,
    /// When it was last asked.
    asked_at_ms: Option<i64>,
}

impl Known {
    /// Its keys, if they need not be asked for again.
    fn fresh(&self, key_id: Option<&str>, now_ms: i64) -> Option<Arc<KeySet>> {
        let (keys, at_ms) = self.keys.as_ref()?;
        (now_ms - at_ms < FRESH_MS && keys.has(key_id)).then(|| keys.clone())
    }

    /// True if it may be asked again.
    fn may_ask(&self, now_ms: i64) -> bool {
        let between = if self.keys.is_some() { BETWEEN_MS } else { BETWEEN_WITHOUT_KEYS_MS };
        self.asked_at_ms.is_none_or(|at_ms| now_ms - at_ms >= between)
    }
}

/// One issuer.
#[derive(Default)]
struct Issuer {
    known: Mutex<Known>,
    /// Held by who asks it.
    asking: sync::Mutex<()>,
}

impl Issuer {
    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The keys of all issuers that were asked for.
pub struct KeyCache {
    clock: Clock,
    /// As many as issuers were ever allowed: others never come here.
    issuers: Mutex<HashMap<String, Arc<Issuer>>>,
}

impl KeyCache {
    /// Knows nothing yet.
    pub fn new(clock: Clock) -> Self {
        Self { clock, issuers: Mutex::default() }
    }

    /// The issuer's keys, the named one among them if it has it. The issuer must be one that is allowed.
    pub async fn keys(&self, url: &IssuerUrl, key_id: Option<&str>) -> Result<Arc<KeySet>, KeysUnavailable> {
        let issuer = {
            let mut issuers = self.issuers.lock().unwrap_or_else(PoisonError::into_inner);
            issuers.entry(url.as_str().to_owned()).or_default().clone()
        };
        // Known keys wait for nobody, even while others wait for an unknown one.
        if let Some(keys) = issuer.known().fresh(key_id, self.clock.now_ms()) {
            return Ok(keys);
        }
        let _asking = issuer.asking.lock().await;
        let now_ms = self.clock.now_ms();
        // Looked at again: whoever asked in between may have found it.
        let is_due = {
            let known = issuer.known();
            known.fresh(key_id, now_ms).is_none() && known.may_ask(now_ms)
        };
        if is_due {
            let fetched = discovery::fetch(url).await;
            let mut known = issuer.known();
            known.asked_at_ms = Some(now_ms);
            match fetched {
                Ok(keys) => {
                    info!(oidc.issuer = %url, "fetched the issuer's keys");
                    known.keys = Some((Arc::new(keys), now_ms));
                }
                Err(error) => warn!(oidc.issuer = %url, %error, "cannot fetch the issuer's keys"),
            }
        }
        match &issuer.known().keys {
            Some((keys, at_ms)) if now_ms - at_ms < STALE_MS => Ok(keys.clone()),
            _ => Err(KeysUnavailable { issuer: url.to_string() }),
        }
    }

    /// Forgets an issuer's keys.
    pub fn forget(&self, url: &str) {
        self.issuers.lock().unwrap_or_else(PoisonError::into_inner).remove(url);
    }
}
