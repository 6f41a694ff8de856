//! The client itself: its limits, and how one operation is sent.

use std::{sync::Arc, time::Duration};

use http::{HeaderMap, Method, StatusCode};

use super::{Target, UpstreamError, UpstreamMetrics, metrics::RequestKind};
use crate::control::Conditions;
use crate::upstream::{
    auth::{authorization::Authorizer, challenge::Challenge},
    health::account::{Admitted, Standings},
    transport::{
        connections::Connections,
        destination::{Lookup, system_lookup},
        exchange::{Ask, Exchange, within},
        redirect::Answer,
    },
};

/// How long upstreams may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UpstreamTimeouts {
    /// For a connection, TLS included.
    pub connect: Duration,
    /// From sending a request to its answer's headers, a new connection included.
    pub first_byte: Duration,
    /// From one piece of a body to the next.
    pub body_idle: Duration,
    /// For everything before a blob's body, or for all of anything else: tokens, redirects, repetitions, body.
    pub whole: Duration,
}

impl Default for UpstreamTimeouts {
    /// An uncached pull is to fail within ten seconds.
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(3),
            first_byte: Duration::from_secs(5),
            body_idle: Duration::from_secs(15),
            whole: Duration::from_secs(8),
        }
    }
}

/// The HTTP client cannot be set up: the system has no usable certificates, for example.
#[derive(Debug, thiserror::Error)]
#[error("upstream registries cannot be reached by https; are the system's CA certificates installed?")]
pub struct UpstreamSetupError(#[from] reqwest::Error);

/// The client of upstream registries. Keeps connections, challenges and tokens.
pub struct UpstreamClient {
    pub(super) exchange: Exchange,
    pub(super) authorizer: Authorizer,
    pub(super) standings: Standings,
}

impl UpstreamClient {
    /// Keeps to the pauses that `conditions` know of, and tells them what upstreams say. Trusts the system's certificates; takes proxies from the environment (`HTTPS_PROXY`, `NO_PROXY`, …).
    pub fn new(
        timeouts: UpstreamTimeouts,
        metrics: UpstreamMetrics,
        conditions: Arc<Conditions>,
    ) -> Result<Self, UpstreamSetupError> {
        Self::with_lookup(timeouts, metrics, conditions, system_lookup())
    }

    /// The same with names that mean what `lookup` says.
    pub(super) fn with_lookup(
        timeouts: UpstreamTimeouts,
        metrics: UpstreamMetrics,
        conditions: Arc<Conditions>,
        lookup: Lookup,
    ) -> Result<Self, UpstreamSetupError> {
        let connections = Arc::new(Connections::new(timeouts, lookup));
        connections.check()?;
        let standings = Standings::new(conditions, metrics.clone());
        let exchange = Exchange { connections, timeouts, metrics };
        Ok(Self { authorizer: Authorizer::new(exchange.clone()), standings, exchange })
    }

    /// Sends one request for something of the target's repository, authorized as upstream wants it. An answer of any
    /// status is a success here; a 401 is upstream's last word.
    pub(super) async fn ask(
        &self,
        target: &Target,
        kind: RequestKind,
        method: Method,
        (resource, query): (&str, &[(&str, &str)]),
        headers: HeaderMap,
    ) -> Result<Answer, UpstreamError> {
        let mut url = target.url(resource);
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        let ask = Ask { kind, method, url, headers };
        let admitted = self.standings.of(target).admit(kind)?;
        let answered = self.authorized(target, ask, &admitted).await;
        // A refusal that stands is upstream's word, and so an answer like any other.
        let is_refused = match &answered {
            Ok(answer) => answer.from_upstream && answer.response.status() == StatusCode::UNAUTHORIZED,
            Err(error) => error.is_refusal(),
        };
        if is_refused {
            admitted.standing.succeeded();
        }
        answered
    }

    async fn authorized(&self, target: &Target, ask: Ask, admitted: &Admitted) -> Result<Answer, UpstreamError> {
        let standing = &admitted.standing;
        let sent = self.authorizer.expected(target, standing).await?;
        let authorization = sent.as_ref().map(|sent| &sent.header);
        let answer = self.exchange.follow(&target.upstream, ask.clone(), authorization, Some(admitted)).await?;
        if answer.response.status() != StatusCode::UNAUTHORIZED || !answer.from_upstream {
            return Ok(answer);
        }
        let challenge = Challenge::choose(answer.response.headers());
        self.exchange.discard(target.host(), answer.response).await;
        let renewed = self.authorizer.demanded(target, standing, challenge, sent.as_ref()).await?;
        self.exchange.follow(&target.upstream, ask, Some(&renewed.header), Some(admitted)).await
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
