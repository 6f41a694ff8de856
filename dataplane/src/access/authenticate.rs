//! Verifies registry tokens with the keys of the snapshot.

use std::{
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use http::{HeaderMap, header};
use jsonwebtoken::{Algorithm, Validation, decode, decode_header};
use quick_cache::sync::Cache;
use roadstead_proto::REGISTRY_SERVICE;
use serde::Deserialize;
use tracing::debug_span;

use super::AccessError;
use crate::control::{ControlLiveness, Policy, PolicySnapshot};

/// Longest registry token we look at, in bytes; one that names ten images is a quarter of that.
const MAX_TOKEN_BYTES: usize = 16 * 1024;
/// Verified tokens remembered. A fleet of a thousand machines that pull ten images has ten thousand.
const REMEMBERED_TOKENS: usize = 20_000;
/// Clock skew that is tolerated, in seconds: a new token must not look premature on a node whose clock is behind.
const CLOCK_BEHIND_SECONDS: u64 = 150;
/// Grace after a token's expiry, in seconds, for a request that was on its way.
const EXPIRY_LEEWAY_SECONDS: u64 = 2;

/// The token of anonymous callers while the control plane is unavailable. It is not secret, and good on every node: it lets its bearer do
/// what the snapshot lets anybody do, at that moment.
pub const ANYBODY: &str = "roadstead-anonymous";

/// A token that was verified: who asks, and what for they may.
#[derive(Debug, Deserialize)]
pub struct Caller {
    /// The user name, or `anonymous`.
    pub sub: String,
    /// Seconds since 1970.
    exp: u64,
    /// The token that was signed in with, if it was one.
    #[serde(default)]
    token_id: Option<String>,
    /// The user who signed in, or whom the token is of, if there is one.
    #[serde(default)]
    user_id: Option<String>,
    /// The user's epoch when the token was issued: it goes up when the user may do less.
    #[serde(default)]
    user_epoch: i64,
    /// The images that the caller may pull.
    #[serde(default)]
    pub access: Vec<Access>,
    /// The key that the token is signed with; empty for [`ANYBODY`].
    #[serde(skip)]
    key_id: Box<str>,
    /// It is [`ANYBODY`]: every group that admits the anonymous admits it.
    #[serde(skip)]
    pub is_anybody: bool,
}

/// One thing that a caller may do.
#[derive(Debug, Deserialize)]
pub struct Access {
    /// `GROUP/dependency_proxy/containers/IMAGE`.
    pub name: String,
    /// `pull`.
    pub actions: Vec<String>,
    /// The group that the name meant when the token was issued.
    pub group_id: String,
    /// The group's access epoch when the token was issued.
    #[serde(default)]
    pub access_epoch: i64,
}

impl Caller {
    /// Returns true if the caller did not sign in.
    pub const fn is_anonymous(&self) -> bool {
        self.token_id.is_none() && self.user_id.is_none()
    }

    /// The token that was signed in with, if it was one.
    pub fn token_id(&self) -> Option<&str> {
        self.token_id.as_deref()
    }

    /// Returns true if the token or the user behind it has been revoked.
    fn is_revoked(&self, policy: &PolicySnapshot) -> bool {
        let is_void = |id: &Option<String>, epoch| id.as_deref().is_some_and(|id| policy.is_revoked(id, epoch));
        is_void(&self.token_id, 0) || is_void(&self.user_id, self.user_epoch)
    }
}

/// Verifies tokens and remembers those that were good.
pub struct Authenticator {
    policy: Arc<Policy>,
    liveness: Arc<ControlLiveness>,
    /// Tokens, each with the memory that it was verified under.
    verified: Cache<Box<str>, (Arc<str>, Arc<Caller>)>,
    /// The caller that [`ANYBODY`] stands for, where this node admits anonymous callers.
    anybody: Option<Arc<Caller>>,
}

impl Authenticator {
    /// Verifies with the keys of `policy`, by the time that `liveness` tells. `admits_anybody` tells whether this node admits anonymous callers
    /// at all.
    pub fn new(policy: Arc<Policy>, liveness: Arc<ControlLiveness>, admits_anybody: bool) -> Self {
        let anybody = Caller {
            sub: "anonymous".to_owned(),
            exp: u64::MAX,
            token_id: None,
            user_id: None,
            user_epoch: 0,
            access: Vec::new(),
            key_id: Box::default(),
            is_anybody: true,
        };
        let anybody = admits_anybody.then(|| Arc::new(anybody));
        Self { policy, liveness, verified: Cache::new(REMEMBERED_TOKENS), anybody }
    }

    /// Returns true if a registry token is good now.
    pub fn takes(&self, token: &str) -> bool {
        self.check(token).is_ok()
    }

    /// Returns who sent a request with these headers.
    pub fn authenticate(&self, headers: &HeaderMap) -> Result<Arc<Caller>, AccessError> {
        let _span = debug_span!("auth").entered();
        let value = headers.get(header::AUTHORIZATION).ok_or(AccessError::TokenMissing)?;
        let value = value.to_str().map_err(|_| AccessError::TokenInvalid)?;
        let (scheme, token) = value.split_once(' ').ok_or(AccessError::TokenInvalid)?;
        if !scheme.eq_ignore_ascii_case("bearer") {
            return Err(AccessError::TokenMissing);
        }
        self.check(token)
    }

    fn check(&self, token: &str) -> Result<Arc<Caller>, AccessError> {
        if token == ANYBODY {
            return self.anybody.clone().ok_or(AccessError::TokenInvalid);
        }
        let policy = self.policy.current();
        let judged_at = self.liveness.judged_at();
        let now = judged_at.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let memory_id = self.policy.memory_id();
        let caller = match self.verified.get(token) {
            // A key that is gone, because it leaked, takes the tokens along that it has signed.
            Some((memory, caller)) if memory == memory_id && policy.key_at(&caller.key_id, judged_at).is_some() => {
                caller
            }
            _ => {
                let caller = Arc::new(verify(token, &policy, judged_at).ok_or(AccessError::TokenInvalid)?);
                self.verified.insert(token.into(), (memory_id, Arc::clone(&caller)));
                caller
            }
        };
        let expired = caller.exp.saturating_add(EXPIRY_LEEWAY_SECONDS) < now;
        if expired || caller.is_revoked(&policy) { Err(AccessError::TokenInvalid) } else { Ok(caller) }
    }
}

fn verify(token: &str, policy: &PolicySnapshot, judged_at: SystemTime) -> Option<Caller> {
    if token.len() > MAX_TOKEN_BYTES {
        return None;
    }
    let key_id = decode_header(token).ok()?.kid?;
    let key = policy.key_at(&key_id, judged_at)?;
    let mut validation = Validation::new(Algorithm::EdDSA);
    validation.set_audience(&[REGISTRY_SERVICE]);
    validation.set_issuer(&["roadstead"]);
    validation.set_required_spec_claims(&["exp", "aud", "iss", "sub"]);
    validation.validate_nbf = true;
    // Judged by the caller, at every request.
    validation.validate_exp = false;
    validation.leeway = CLOCK_BEHIND_SECONDS;
    let claims = decode::<Caller>(token, key, &validation).ok()?.claims;
    Some(Caller { key_id: key_id.into(), ..claims })
}
