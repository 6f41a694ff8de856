//! The client itself: its limits, and how one operation is sent.

use std::sync::Arc;

use http::{HeaderMap, Method, StatusCode, header};
use tracing::debug;

use super::{Target, UpstreamError, UpstreamMetrics, UpstreamTimeouts, header::media_type, metrics::RequestKind};
use crate::control::Conditions;
use crate::upstream::{
    auth::authorization::{Authorizer, is_refusal},
    health::{
        account::{Accounts, Admitted},
        suspension::BY_HEAD,
    },
    transport::{
        connections::Connections,
        destination::{Lookup, system_lookup},
        encoding::Encoded,
        exchange::{Ask, Exchange, within},
        redirect::Answer,
    },
};

/// The HTTP client cannot be set up: the system has no usable certificates, for example.
#[derive(Debug, thiserror::Error)]
#[error("upstream registries cannot be reached by https; are the system's CA certificates installed?")]
pub struct UpstreamSetupError(#[from] reqwest::Error);

/// The client of upstream registries. Keeps connections, challenges and tokens.
pub struct UpstreamClient {
    pub(super) exchange: Exchange,
    pub(super) authorizer: Authorizer,
    pub(super) accounts: Accounts,
}

impl UpstreamClient {
    /// Keeps to the pauses in `conditions`, and records there what upstreams say. Trusts the system's certificates; takes proxies from the environment (`HTTPS_PROXY`, `NO_PROXY`, …).
    pub fn new(
        timeouts: UpstreamTimeouts,
        metrics: UpstreamMetrics,
        conditions: Arc<Conditions>,
    ) -> Result<Self, UpstreamSetupError> {
        Self::with_lookup(timeouts, metrics, conditions, system_lookup())
    }

    /// Does the same with names that resolve as `lookup` says.
    pub(super) fn with_lookup(
        timeouts: UpstreamTimeouts,
        metrics: UpstreamMetrics,
        conditions: Arc<Conditions>,
        lookup: Lookup,
    ) -> Result<Self, UpstreamSetupError> {
        let connections = Arc::new(Connections::new(timeouts, lookup));
        connections.check()?;
        let accounts = Accounts::new(conditions, metrics.clone());
        let exchange = Exchange { connections, timeouts, metrics, encoded: Encoded::new() };
        Ok(Self { authorizer: Authorizer::new(exchange.clone()), accounts, exchange })
    }

    /// Sends one request for something of the target's repository, authorized as the upstream requires. An answer of any
    /// status is a success here; a 401 is the upstream's last word.
    pub(super) async fn ask(
        &self,
        target: &Target,
        kind: RequestKind,
        method: Method,
        (resource, query): (&str, Option<&str>),
        headers: HeaderMap,
    ) -> Result<Answer, UpstreamError> {
        let mut url = target.url(resource);
        url.set_query(query);
        let prefix = if method == Method::HEAD { BY_HEAD } else { "" };
        let content = format!("{prefix}{}/{resource}", target.repository);
        let ask = Ask { kind, method, url, headers };
        let health = self.accounts.of(target);
        if let Some(check) = health.admit_to_host(kind)? {
            self.exchange.check_host(&target.upstream, &check).await?;
        }
        let admitted = health.admit(content)?;
        let answered = self.authorized(target, ask, &admitted).await;
        // A refusal that stands is the upstream's word, and so an answer like any other.
        let is_refused = match &answered {
            Ok(answer) => answer.from_upstream && answer.response.status() == StatusCode::UNAUTHORIZED,
            Err(error) => error.is_refusal(),
        };
        if is_refused {
            health.succeeded(Some(&admitted.content));
        }
        answered
    }

    /// Sends a HEAD. `None` where its outcome leaves the decision to a GET: servers exist that refuse HEAD, fail at it, or do not
    /// find what GET serves. An upstream that says when to come back is believed, and so is one that cannot be reached.
    pub(super) async fn ask_by_head(
        &self,
        target: &Target,
        kind: RequestKind,
        resource: &str,
        headers: HeaderMap,
    ) -> Result<Option<Answer>, UpstreamError> {
        match self.ask(target, kind, Method::HEAD, (resource, None), headers).await {
            Ok(answer) if leaves_it_to_get(&answer) => {
                debug!(status = answer.response.status().as_u16(), resource, "a HEAD did not work; a GET decides");
                Ok(None)
            }
            Ok(answer) => Ok(Some(answer)),
            Err(error @ (UpstreamError::Cut { .. } | UpstreamError::CircuitOpen { content: Some(_), .. })) => {
                debug!(%error, resource, "a HEAD did not work; a GET decides");
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    async fn authorized(&self, target: &Target, ask: Ask, admitted: &Admitted) -> Result<Answer, UpstreamError> {
        let sent = self.authorizer.expected(target, admitted).await?;
        let header = sent.as_ref().map(|sent| &sent.header);
        let answer = self.exchange.follow(&target.upstream, ask.clone(), header, Some(admitted)).await?;
        if !answer.from_upstream {
            return Ok(answer);
        }
        let Some(renewed) = self.authorizer.after_refusal(target, admitted, &answer, sent.as_ref()).await? else {
            return Ok(answer);
        };
        self.exchange.discard(target.host(), answer.response).await;
        let answer = self.exchange.follow(&target.upstream, ask, Some(&renewed.header), Some(admitted)).await?;
        if answer.from_upstream && is_refusal(answer.response.status()) {
            renewed.note_refusal();
        }
        Ok(answer)
    }

    /// The time limits.
    pub fn timeouts(&self) -> UpstreamTimeouts {
        self.exchange.timeouts
    }

    /// Bounds a whole operation by its time limit.
    pub(super) async fn bounded<T>(
        &self,
        target: &Target,
        operation: impl Future<Output = Result<T, UpstreamError>>,
    ) -> Result<T, UpstreamError> {
        within(self.exchange.timeouts.whole, target.host(), operation).await
    }
}

fn leaves_it_to_get(answer: &Answer) -> bool {
    let (status, headers) = (answer.response.status(), answer.response.headers());
    let says_when = status.is_server_error() && headers.contains_key(header::RETRY_AFTER);
    let is_page = media_type(headers).is_some_and(|it| it.to_ascii_lowercase().starts_with("text/html"));
    status != StatusCode::TOO_MANY_REQUESTS && !says_when && (status != StatusCode::OK || is_page)
}
