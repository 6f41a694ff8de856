//! Issuers' keys, remembered.
//!
//! - One fetch at a time for each issuer: whoever comes meanwhile waits for it and shares what came of it. A caller that
//!   goes away takes its fetch with it; the next one that waits starts anew.
//! - Keys are asked for again after ten minutes, so that a withdrawn one is noticed, and when a token names an unknown
//!   one, so that a new one works at once; never more often than every thirty seconds, whatever tokens say.
//! - While the issuer cannot be asked, its last keys are good for a day.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::sync;
use tracing::{info, warn};

use super::{IssuerUrl, discovery, key_set::KeySet};
use crate::clock::Clock;

/// How long keys are used without asking, in milliseconds: ten minutes.
const FRESH_MS: i64 = 10 * 60 * 1000;
/// How long keys are used while the issuer cannot be asked, in milliseconds: a day.
const STALE_MS: i64 = 24 * 3600 * 1000;
/// Shortest time between two fetches, in milliseconds.
const BETWEEN_MS: i64 = 30 * 1000;
/// The same while there are no keys at all: nobody can sign in then.
const BETWEEN_WITHOUT_KEYS_MS: i64 = 5 * 1000;

/// An issuer's keys are not known, and cannot be had now.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the keys of issuer {issuer} cannot be fetched right now; try again")]
pub struct KeysUnavailable {
    /// The issuer.
    pub issuer: String,
}

/// What is known of one issuer.
#[derive(Default)]
struct Known {
    /// Its keys, and when they were fetched.
    keys: Option<(Arc<KeySet>, i64)>,
    /// When it was last asked.
    asked_at_ms: Option<i64>,
}

impl Known {
    fn is_due(&self, key_id: Option<&str>, now_ms: i64) -> bool {
        let (wanted, between) = match &self.keys {
            None => (true, BETWEEN_WITHOUT_KEYS_MS),
            Some((keys, at_ms)) => (now_ms - at_ms >= FRESH_MS || !keys.has(key_id), BETWEEN_MS),
        };
        wanted && self.asked_at_ms.is_none_or(|at_ms| now_ms - at_ms >= between)
    }
}

/// The keys of all issuers that were asked for.
pub struct KeyCache {
    clock: Clock,
    /// As many as issuers were ever allowed: others never come here.
    issuers: Mutex<HashMap<String, Arc<sync::Mutex<Known>>>>,
}

impl KeyCache {
    /// Knows nothing yet.
    pub fn new(clock: Clock) -> Self {
        Self { clock, issuers: Mutex::default() }
    }

    /// The issuer's keys, the named one among them if it has it. The issuer must be one that is allowed.
    pub async fn keys(&self, issuer: &IssuerUrl, key_id: Option<&str>) -> Result<Arc<KeySet>, KeysUnavailable> {
        let known = {
            let mut issuers = self.issuers.lock().unwrap_or_else(PoisonError::into_inner);
            issuers.entry(issuer.as_str().to_owned()).or_default().clone()
        };
        let mut known = known.lock().await;
        let now_ms = self.clock.now_ms();
        if known.is_due(key_id, now_ms) {
            let fetched = discovery::fetch(issuer).await;
            known.asked_at_ms = Some(now_ms);
            match fetched {
                Ok(keys) => {
                    info!(oidc.issuer = %issuer, "fetched the issuer's keys");
                    known.keys = Some((Arc::new(keys), now_ms));
                }
                Err(error) => warn!(oidc.issuer = %issuer, %error, "cannot fetch the issuer's keys"),
            }
        }
        match &known.keys {
            Some((keys, at_ms)) if now_ms - at_ms < STALE_MS => Ok(keys.clone()),
            _ => Err(KeysUnavailable { issuer: issuer.to_string() }),
        }
    }

    /// Forgets an issuer's keys.
    pub fn forget(&self, issuer: &str) {
        self.issuers.lock().unwrap_or_else(PoisonError::into_inner).remove(issuer);
    }
}
