//! Health of each upstream for each set of credentials, as far as that decides whether a request is sent: pauses that
//! the upstream asked for by 429, and circuits.
//!
//! Docker Hub counts manifests, not blobs: a pause does not hold blobs back unless a blob itself was answered with 429. A
//! request that is held back fails at once.

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

use super::{
    circuit::Passage,
    pause::Pauses,
    suspension::{Suspension, Trouble},
};
use crate::control::{Account, Conditions, PullLimit, UpstreamPolicy, UpstreamState};
use crate::upstream::{
    Target, UpstreamError, UpstreamMetrics,
    header::{pull_limit, retry_after},
    metrics::{HeldBack, RequestKind},
};

/// Most accounts remembered; one for each upstream and set of credentials.
const MAX_ACCOUNTS: usize = 10_000;

/// The health of all accounts.
pub(crate) struct Accounts {
    conditions: Arc<Conditions>,
    metrics: UpstreamMetrics,
    known: Mutex<HashMap<Account, Arc<AccountHealth>>>,
}

impl Accounts {
    pub(crate) fn new(conditions: Arc<Conditions>, metrics: UpstreamMetrics) -> Self {
        Self { conditions, metrics, known: Mutex::default() }
    }

    /// The health of the account that `target` uses. An upstream that was moved to another URL starts anew.
    pub(crate) fn of(&self, target: &Target) -> Arc<AccountHealth> {
        let account = target.account();
        let mut known = self.known.lock();
        if known.len() >= MAX_ACCOUNTS && !known.contains_key(&account) {
            known.retain(|_, health| Arc::strong_count(health) > 1);
        }
        let made = || {
            let (conditions, metrics) = (Arc::clone(&self.conditions), self.metrics.clone());
            let (account, url) = (account.clone(), target.upstream.url.clone());
            Arc::new(AccountHealth { account, url, conditions, metrics, state: Mutex::default() })
        };
        let health = known.entry(account.clone()).or_insert_with(made);
        if health.url != target.upstream.url {
            *health = made();
        }
        Arc::clone(health)
    }
}

/// The health of one account.
pub(crate) struct AccountHealth {
    account: Account,
    url: Url,
    conditions: Arc<Conditions>,
    metrics: UpstreamMetrics,
    state: Mutex<State>,
}

/// The part that other nodes do not learn.
#[derive(Default)]
struct State {
    suspension: Suspension,
    pauses: Pauses,
}

impl Drop for AccountHealth {
    fn drop(&mut self) {
        self.metrics.circuits_open.dec_by(self.state.lock().suspension.open());
    }
}

impl AccountHealth {
    /// Admits a request to the host, or fails. `Some` asks the caller to probe the host first.
    pub(crate) fn admit_to_host(self: &Arc<Self>, kind: RequestKind) -> Result<Option<HostCheck>, UpstreamError> {
        if let Some(wait) = self.pause(kind, SystemTime::now()) {
            self.metrics.held_back(HeldBack::Paused);
            return Err(UpstreamError::RateLimited {
                upstream: self.account.upstream.clone(),
                retry_after: Some(wait),
            });
        }
        let passage = self.state.lock().suspension.pass_host(Instant::now());
        Ok(self.passed(passage, None)?.then(|| HostCheck(Arc::clone(self))))
    }

    /// Admits a request for a content, or fails.
    pub(crate) fn admit(self: &Arc<Self>, content: String) -> Result<Admitted, UpstreamError> {
        let passage = self.state.lock().suspension.pass(&content, Instant::now());
        let is_probe = self.passed(passage, Some(&content))?;
        Ok(Admitted { health: Arc::clone(self), content, is_probe })
    }

    /// Returns whether a request that passed is a probe.
    fn passed(&self, passage: Passage, content: Option<&str>) -> Result<bool, UpstreamError> {
        let Passage::Shut(last_error, wait) = passage else { return Ok(passage == Passage::Probe) };
        self.metrics.held_back(HeldBack::CircuitOpen);
        Err(UpstreamError::CircuitOpen {
            upstream: self.account.upstream.clone(),
            content: content.map(str::to_owned),
            last_error,
            retry_after: whole_seconds(wait),
        })
    }

    /// Returns the time for which requests of a kind are held back.
    pub(crate) fn pause(&self, kind: RequestKind, now: SystemTime) -> Option<Duration> {
        let until = match kind {
            RequestKind::BlobHead | RequestKind::BlobGet => {
                let mut state = self.state.lock();
                state.pauses.of(RequestKind::BlobHead).until().max(state.pauses.of(RequestKind::BlobGet).until())
            }
            RequestKind::Token => self.state.lock().pauses.of(kind).until(),
            _ => self.conditions.paused_until(&self.account, now),
        };
        until.and_then(|until| until.duration_since(now).ok()).filter(|wait| !wait.is_zero()).map(whole_seconds)
    }

    /// Records how a request to the upstream itself, or to its token service, ended. `Some` asks the caller to check the
    /// host by a request that is not for content.
    pub(crate) fn observe(
        self: &Arc<Self>,
        policy: &UpstreamPolicy,
        (kind, content): (RequestKind, Option<&str>),
        result: &Result<Response, UpstreamError>,
    ) -> Option<HostCheck> {
        let trouble = match result {
            Ok(response) => {
                self.observe_answer(policy, (kind, content), response.status(), response.headers());
                is_trouble(response.status()).then_some(Trouble::Content("status_5xx"))
            }
            Err(error) => Trouble::of(error),
        };
        self.failed(if kind == RequestKind::Token { trouble?.of_content() } else { trouble? }, content)
    }

    fn observe_answer(
        &self,
        policy: &UpstreamPolicy,
        (kind, content): (RequestKind, Option<&str>),
        status: StatusCode,
        headers: &HeaderMap,
    ) {
        let now = SystemTime::now();
        if status == StatusCode::TOO_MANY_REQUESTS {
            let wait = self.state.lock().pauses.of(kind).limited(retry_after(headers, now), now);
            tracing::warn!(
                upstream = %self.account.upstream,
                username = self.account.username,
                request = kind.as_str(),
                wait_seconds = wait.as_secs(),
                "the upstream's limit is reached; requests are paused"
            );
            self.conditions.note_pause(&self.account, now + wait);
        }
        if status.is_success() {
            self.state.lock().pauses.of(kind).succeeded();
        }
        if let Some(told) = pull_limit(headers) {
            let limit = PullLimit { limit: told.limit, remaining: told.remaining, window: told.window, seen_at: now };
            self.conditions.note_limit(&self.account, &told.source, limit, policy.reserve_percent);
        }
        match (status, kind) {
            (status, _) if is_trouble(status) => {}
            (_, RequestKind::Token) => {}
            // The host works. Whether the request for content does is seen when a token has been sent.
            (StatusCode::UNAUTHORIZED, _) => self.succeeded(None),
            _ => self.succeeded(content),
        }
    }

    /// A manifest was fetched by GET, which pull limits count.
    pub(crate) fn spent(&self, target: &Target) {
        self.conditions.note_spent(&self.account, &target.group);
    }

    /// The upstream answered; with the content, where some was asked for.
    pub(crate) fn succeeded(&self, content: Option<&str>) {
        let was_suspended = self.change(|suspension| {
            let was_suspended = suspension.is_host_suspended();
            suspension.succeeded(content);
            was_suspended
        });
        if was_suspended {
            tracing::info!(upstream = %self.account.upstream, username = self.account.username, "the upstream answers again");
        }
        self.conditions.note_answer(&self.account, UpstreamState::Good);
    }

    fn failed(self: &Arc<Self>, trouble: Trouble, content: Option<&str>) -> Option<HostCheck> {
        let (opened, is_suspended, wants_check) = self.change(|suspension| {
            let before = suspension.open();
            let wants_check = suspension.failed(trouble, content, Instant::now());
            (suspension.open() > before, suspension.is_host_suspended(), wants_check)
        });
        if opened {
            tracing::warn!(
                upstream = %self.account.upstream,
                username = self.account.username,
                content = content.filter(|_| !is_suspended),
                error.kind = trouble.kind(),
                "requests suspended (circuit open) after repeated failures; probing periodically"
            );
        }
        let state = if is_suspended { UpstreamState::Open } else { UpstreamState::Failing };
        self.conditions.note_failure(&self.account, trouble.kind(), state);
        wants_check.then(|| HostCheck(Arc::clone(self)))
    }

    /// Changes the circuits and counts those that are open.
    fn change<T>(&self, change: impl FnOnce(&mut Suspension) -> T) -> T {
        let mut state = self.state.lock();
        let before = state.suspension.open();
        let changed = change(&mut state.suspension);
        self.metrics.circuits_open.inc_by(state.suspension.open() - before);
        changed
    }
}

/// A request for content that may be sent. If it is dropped before an outcome was observed, another may probe instead.
pub(crate) struct Admitted {
    pub(crate) health: Arc<AccountHealth>,
    pub(crate) content: String,
    pub(crate) is_probe: bool,
}

impl Drop for Admitted {
    fn drop(&mut self) {
        if self.is_probe {
            self.health.state.lock().suspension.probe_abandoned(&self.content);
        }
    }
}

/// A check of the host that is due. If it is dropped before an outcome was observed, another becomes due.
pub(crate) struct HostCheck(pub(crate) Arc<AccountHealth>);

impl Drop for HostCheck {
    fn drop(&mut self) {
        self.0.state.lock().suspension.check_abandoned();
    }
}

/// Returns whether a status tells of trouble. 501 is an answer: the request is not supported.
fn is_trouble(status: StatusCode) -> bool {
    status.is_server_error() && status != StatusCode::NOT_IMPLEMENTED
}

/// Rounds up, so that a client that returns after this time is not too early.
fn whole_seconds(wait: Duration) -> Duration {
    Duration::from_millis(
        u64::try_from(wait.as_millis()).unwrap_or(u64::MAX).div_ceil(1000).max(1).saturating_mul(1000),
    )
}
