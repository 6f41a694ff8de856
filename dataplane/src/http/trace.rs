//! One span and one set of counts per request.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use http::{Method, Request};
use opentelemetry_http::HeaderExtractor;
use tracing::{Level, Span, field::Empty, info_span};
use tracing_opentelemetry::OpenTelemetrySpanExt;

use crate::{
    metrics::Metrics,
    respond::{Answer, Body},
    route::{Route, RouteError},
};

/// A request on its way to its answer. Dropping it (the client left) ends the span.
pub struct Observed {
    span: Span,
    route: &'static str,
    is_head: bool,
    started: Instant,
    in_flight: InFlight,
}

impl Observed {
    /// Opens the span and starts the clock.
    pub fn begin<B>(metrics: &Arc<Metrics>, request: &Request<B>, route: &Result<Route, RouteError>) -> Self {
        // Most requests are warm pulls, for which a span costs more than the answer: at the usual level only requests
        // that have to wait for something get one, from their flow.
        let span = if tracing::enabled!(Level::DEBUG) { span_of(request, route) } else { Span::none() };
        Self {
            span,
            route: label(route),
            is_head: *request.method() == Method::HEAD,
            started: Instant::now(),
            in_flight: InFlight::new(Arc::clone(metrics)),
        }
    }

    /// The span that the request is handled in.
    pub fn span(&self) -> Span {
        self.span.clone()
    }

    /// Counts the answer, and returns it as it goes out.
    pub fn end(self, mut answer: Answer) -> Answer {
        let (status, elapsed) = (answer.status(), self.started.elapsed());
        self.in_flight.0.answered(self.route, status.as_u16(), elapsed);
        self.span.in_scope(|| log(&self.span, self.route, elapsed, &answer));
        if self.is_head {
            // Whatever a flow answers: HEAD has no body, in any version of HTTP. Content-Length stays.
            *answer.body_mut() = Body::default();
        }
        answer
    }
}

fn label(route: &Result<Route, RouteError>) -> &'static str {
    route.as_ref().map_or("none", Route::label)
}

fn span_of<B>(request: &Request<B>, route: &Result<Route, RouteError>) -> Span {
    let image = match route {
        Ok(Route::Image(image)) => Some(image),
        _ => None,
    };
    let span = info_span!(
        "request",
        otel.kind = "server",
        http.request.method = request.method().as_str(),
        http.route = label(route),
        http.response.status_code = Empty,
        caller.name = Empty,
        group.path = image.map(|image| image.group.as_str()),
        repository.name = image.map(|image| &*image.name),
        cache.status = Empty,
        duration_ms = Empty,
    );
    if request.headers().contains_key("traceparent") {
        let parent = opentelemetry::global::get_text_map_propagator(|p| p.extract(&HeaderExtractor(request.headers())));
        // Without an exporter there is no trace to be part of.
        let _ = span.set_parent(parent);
    }
    span
}

/// One more request in flight, until dropped.
struct InFlight(Arc<Metrics>);

impl InFlight {
    fn new(metrics: Arc<Metrics>) -> Self {
        metrics.requests_in_flight.inc();
        Self(metrics)
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.requests_in_flight.dec();
    }
}

fn log(span: &Span, route: &'static str, elapsed: Duration, answer: &Answer) {
    let status = answer.status();
    if status.is_server_error() {
        tracing::warn!(http.route = route, http.response.status_code = status.as_u16(), "answered with an error");
    }
    if span.is_none() {
        return;
    }
    let cache = answer.headers().get("x-cache").and_then(|value| value.to_str().ok()).unwrap_or_default();
    span.record("http.response.status_code", status.as_u16());
    span.record("duration_ms", elapsed.as_millis() as u64);
    span.record("cache.status", cache);
    tracing::debug!("answered");
}
