//! How each upstream is doing for each set of credentials, as far as that decides whether a request goes out: pauses that
//! upstream asked for by 429, and the circuit.
//!
//! Docker Hub counts manifests, not blobs: a pause lets blobs go on unless a blob itself was answered 429. A request
//! that is held back fails at once.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, SystemTime},
};

use http::{HeaderMap, StatusCode};
use parking_lot::Mutex;
use reqwest::Response;
use tokio::time::Instant;
use url::Url;

use super::circuit::{Circuit, Passage};
use crate::control::{Account, Conditions, PullLimit, UpstreamPolicy, UpstreamState};
use crate::upstream::{
    Target, UpstreamError, UpstreamMetrics,
    metrics::{HeldBack, RequestKind},
    transport::header::{pull_limit, retry_after},
};

/// How long a 429 that says nothing of how long holds requests back.
const DEFAULT_PAUSE: Duration = Duration::from_secs(60);
/// The longest pause that is believed.
const MAX_PAUSE: Duration = Duration::from_secs(24 * 60 * 60);
/// Most standings remembered; one for each upstream and user name.
const MAX_STANDINGS: usize = 10_000;

/// All of them.
pub(crate) struct Standings {
    conditions: Arc<Conditions>,
    metrics: UpstreamMetrics,
    known: Mutex<HashMap<Account, Arc<Standing>>>,
}

impl Standings {
    pub(crate) fn new(conditions: Arc<Conditions>, metrics: UpstreamMetrics) -> Self {
        Self { conditions, metrics, known: Mutex::default() }
    }

    pub(crate) fn of(&self, target: &Target) -> Arc<Standing> {
        let username = target.credential.as_ref().map(|credential| credential.username()).unwrap_or_default();
        let account = Account { upstream: target.host().clone(), username: username.to_owned() };
        let mut known = self.known.lock();
        if known.len() >= MAX_STANDINGS && !known.contains_key(&account) {
            known.retain(|_, standing| Arc::strong_count(standing) > 1);
        }
        let made = || {
            let (conditions, metrics) = (Arc::clone(&self.conditions), self.metrics.clone());
            let (account, url) = (account.clone(), target.upstream.url.clone());
            Arc::new(Standing { account, url, conditions, metrics, state: Mutex::default() })
        };
        let standing = known.entry(account.clone()).or_insert_with(made);
        if standing.url != target.upstream.url {
            // An upstream that was moved has a clean record.
            *standing = made();
        }
        Arc::clone(standing)
    }
}

/// One of them.
pub(crate) struct Standing {
    account: Account,
    url: Url,
    conditions: Arc<Conditions>,
    metrics: UpstreamMetrics,
    state: Mutex<State>,
}

impl Drop for Standing {
    fn drop(&mut self) {
        if self.state.lock().circuit.is_open() {
            self.metrics.circuits_open.dec();
        }
    }
}

/// What other nodes are not told.
#[derive(Default)]
struct State {
    circuit: Circuit,
    blobs_paused_until: Option<SystemTime>,
    tokens_paused_until: Option<SystemTime>,
}

impl Standing {
    /// Lets a request out, or says why not.
    pub(crate) fn admit(self: &Arc<Self>, kind: RequestKind) -> Result<Admitted, UpstreamError> {
        if let Some(wait) = self.pause(kind, SystemTime::now()) {
            self.metrics.held_back(HeldBack::Paused);
            return Err(UpstreamError::RateLimited {
                upstream: self.account.upstream.clone(),
                retry_after: Some(wait),
            });
        }
        let passage = self.state.lock().circuit.pass(Instant::now());
        match passage {
            Passage::Shut(last_error, wait) => {
                self.metrics.held_back(HeldBack::CircuitOpen);
                let upstream = self.account.upstream.clone();
                Err(UpstreamError::CircuitOpen { upstream, last_error, retry_after: whole_seconds(wait) })
            }
            passage => Ok(Admitted { standing: Arc::clone(self), is_probe: passage == Passage::Probe }),
        }
    }

    /// How long requests of a kind are held back.
    pub(crate) fn pause(&self, kind: RequestKind, now: SystemTime) -> Option<Duration> {
        let state = self.state.lock();
        let until = match kind {
            RequestKind::BlobHead | RequestKind::BlobGet => state.blobs_paused_until,
            RequestKind::Token => state.tokens_paused_until,
            _ => self.conditions.paused_until(&self.account, now),
        };
        until.and_then(|until| until.duration_since(now).ok()).filter(|wait| !wait.is_zero()).map(whole_seconds)
    }

    /// Takes note of how a request to the upstream itself, or to its token service, ended.
    pub(crate) fn observe(&self, policy: &UpstreamPolicy, kind: RequestKind, result: &Result<Response, UpstreamError>) {
        match result {
            Ok(response) => self.observe_answer(policy, kind, response.status(), response.headers()),
            Err(error) if error.retryable() || matches!(error, UpstreamError::Tls { .. }) => self.failed(error.kind()),
            Err(_) => {}
        }
    }

    fn observe_answer(&self, policy: &UpstreamPolicy, kind: RequestKind, status: StatusCode, headers: &HeaderMap) {
        let now = SystemTime::now();
        let told = pull_limit(headers);
        if status == StatusCode::TOO_MANY_REQUESTS {
            let window = told.as_ref().and_then(|told| told.window);
            let wait = retry_after(headers, now).or(window).unwrap_or(DEFAULT_PAUSE).min(MAX_PAUSE);
            tracing::warn!(
                upstream = %self.account.upstream,
                username = self.account.username,
                request = kind.as_str(),
                wait_seconds = wait.as_secs(),
                "upstream's limit is reached; fetching is paused"
            );
            self.pause_until(kind, now + wait);
        }
        if let Some(told) = told {
            let limit = PullLimit { limit: told.limit, remaining: told.remaining, window: told.window, seen_at: now };
            self.conditions.note_limit(&self.account, &told.source, limit, policy.reserve_percent);
        }
        match (status, kind) {
            (status, _) if status.is_server_error() => self.failed("status_5xx"),
            // Whether the request works out is seen when a token has been sent.
            (StatusCode::UNAUTHORIZED, _) | (_, RequestKind::Token) => {}
            _ => self.succeeded(),
        }
    }

    fn pause_until(&self, kind: RequestKind, until: SystemTime) {
        {
            let mut state = self.state.lock();
            match kind {
                RequestKind::BlobHead | RequestKind::BlobGet => {
                    state.blobs_paused_until = state.blobs_paused_until.max(Some(until))
                }
                RequestKind::Token => state.tokens_paused_until = state.tokens_paused_until.max(Some(until)),
                _ => {}
            }
        }
        self.conditions.note_pause(&self.account, until);
    }

    /// A manifest was fetched by GET, which is what pull limits count.
    pub(crate) fn spent(&self, target: &Target) {
        self.conditions.note_spent(&self.account, &target.group);
    }

    /// Upstream has answered.
    pub(crate) fn succeeded(&self) {
        let was_open = {
            let mut state = self.state.lock();
            let was_open = state.circuit.is_open();
            state.circuit.succeeded();
            was_open
        };
        if was_open {
            tracing::info!(upstream = %self.account.upstream, username = self.account.username, "upstream answers again");
            self.metrics.circuits_open.dec();
        }
        self.conditions.note_answer(&self.account, UpstreamState::Good);
    }

    fn failed(&self, kind: &'static str) {
        let (was_open, is_open) = {
            let mut state = self.state.lock();
            let was_open = state.circuit.is_open();
            state.circuit.failed(kind, Instant::now());
            (was_open, state.circuit.is_open())
        };
        if is_open && !was_open {
            tracing::warn!(
                upstream = %self.account.upstream,
                username = self.account.username,
                error.kind = kind,
                "upstream has failed repeatedly; it is left alone but for a probe now and then"
            );
            self.metrics.circuits_open.inc();
        }
        let state = if is_open { UpstreamState::Open } else { UpstreamState::Failing };
        self.conditions.note_failure(&self.account, kind, state);
    }
}

/// A request that may go out. If it is dropped before it was observed, another may probe in its place.
pub(crate) struct Admitted {
    pub(crate) standing: Arc<Standing>,
    pub(crate) is_probe: bool,
}

impl Drop for Admitted {
    fn drop(&mut self) {
        if self.is_probe {
            self.standing.state.lock().circuit.probe_abandoned();
        }
    }
}

/// Rounded up: who comes back then is not too early.
fn whole_seconds(wait: Duration) -> Duration {
    Duration::from_millis(
        u64::try_from(wait.as_millis()).unwrap_or(u64::MAX).div_ceil(1000).max(1).saturating_mul(1000),
    )
}
