//! One HTTP request and its answer's headers: bounded in time, traced, counted. No redirects, no authorization.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use http::{HeaderMap, HeaderValue, Method, header};
use reqwest::Response;
use roadstead_proto::UpstreamHost;
use tokio::time::{sleep, timeout};
use tracing::{Instrument, Span, debug, field::Empty, info_span};
use url::Url;

use super::{connections::Connections, encoding::Encoded};
use crate::upstream::{UpstreamError, UpstreamMetrics, UpstreamTimeouts, metrics::RequestKind};
use crate::{control::UpstreamPolicy, trace_context};

/// The pause before a request is sent again.
const RETRY_PAUSE: Duration = Duration::from_millis(150);

/// Sends requests to upstreams, their token services, and where they redirect to.
#[derive(Clone)]
pub(crate) struct Exchange {
    pub(crate) connections: Arc<Connections>,
    pub(crate) timeouts: UpstreamTimeouts,
    pub(crate) metrics: UpstreamMetrics,
    pub(crate) encoded: Encoded,
}

/// A request.
#[derive(Clone, Debug)]
pub(crate) struct Ask {
    pub(crate) kind: RequestKind,
    pub(crate) method: Method,
    pub(crate) url: Url,
    pub(crate) headers: HeaderMap,
}

impl Ask {
    /// `GET /v2/`, which every registry answers.
    pub(crate) fn ping(policy: &UpstreamPolicy) -> Self {
        let mut url = policy.url.clone();
        let path = format!("{}/v2/", url.path().trim_end_matches('/'));
        url.set_path(&path);
        Self { kind: RequestKind::Ping, method: Method::GET, url, headers: HeaderMap::new() }
    }
}

impl Exchange {
    /// Sends a request, and once more if that is safe and may help: the connection failed, or broke before an answer, or an
    /// intermediary is down. Nothing that is asked here changes anything.
    pub(crate) async fn send_patiently(
        &self,
        upstream: &Arc<UpstreamPolicy>,
        ask: Ask,
    ) -> Result<Response, UpstreamError> {
        let first = self.send(upstream, ask.clone()).await;
        if !may_help(&first) {
            return first;
        }
        if let Ok(response) = first {
            self.discard(&upstream.host, response).await;
        }
        sleep(pause()).await;
        self.metrics.retried();
        self.send(upstream, ask).await
    }

    /// Sends a request on behalf of `upstream`. An answer of any status is a success here.
    pub(crate) async fn send(&self, upstream: &Arc<UpstreamPolicy>, ask: Ask) -> Result<Response, UpstreamError> {
        let span = info_span!(
            "upstream",
            http.request.method = %ask.method,
            server.address = ask.url.host_str().unwrap_or_default(),
            upstream.request = ask.kind.as_str(),
            http.response.status_code = Empty,
            duration_ms = Empty,
        );
        async {
            let started = Instant::now();
            let kind = ask.kind;
            let result = self.attempt(upstream, ask).await;
            let status = result.as_ref().ok().map(|response| response.status().as_u16());
            self.metrics.sent(kind, status);
            let span = Span::current();
            span.record("duration_ms", u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX));
            match &result {
                Ok(_) => {
                    span.record("http.response.status_code", status);
                    debug!("upstream answered");
                }
                Err(error) => debug!(%error, error.kind = error.kind(), "no answer from upstream"),
            }
            result
        }
        .instrument(span)
        .await
    }

    async fn attempt(&self, policy: &Arc<UpstreamPolicy>, ask: Ask) -> Result<Response, UpstreamError> {
        let upstream = &policy.host;
        let connection = self.connections.to(policy)?;
        let checked = connection.destinations.check(&ask.url).await;
        checked.map_err(|unsafe_address| UpstreamError::unsafe_address(upstream, &unsafe_address))?;
        let mut headers = ask.headers;
        trace_context::inject(&mut headers);
        headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        let answer = connection.http.request(ask.method, ask.url).headers(headers).send();
        match timeout(self.timeouts.first_byte, answer).await {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(error)) => Err(UpstreamError::from_transport(upstream, error)),
            Err(_) => Err(UpstreamError::Timeout { upstream: upstream.clone(), phase: "first byte" }),
        }
    }
}

/// True if another attempt may succeed. A client that was told when to come back does not come earlier.
fn may_help(first: &Result<Response, UpstreamError>) -> bool {
    match first {
        Ok(response) => {
            matches!(response.status().as_u16(), 502..=504) && !response.headers().contains_key(header::RETRY_AFTER)
        }
        Err(error) => matches!(error, UpstreamError::Connect { .. } | UpstreamError::Cut { .. }),
    }
}

/// Between half of the pause and all of it, so that many that failed together do not come back together.
fn pause() -> Duration {
    let share = getrandom::u32().map_or(1.0, |random| f64::from(random) / f64::from(u32::MAX));
    RETRY_PAUSE.mul_f64(0.5 + share / 2.0)
}

/// Bounds a whole operation.
pub(crate) async fn within<T>(
    limit: Duration,
    upstream: &UpstreamHost,
    operation: impl Future<Output = Result<T, UpstreamError>>,
) -> Result<T, UpstreamError> {
    timeout(limit, operation)
        .await
        .unwrap_or_else(|_| Err(UpstreamError::Timeout { upstream: upstream.clone(), phase: "whole answer" }))
}
