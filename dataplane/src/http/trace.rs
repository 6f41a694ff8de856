//! One span and one set of counts per request.

use std::{sync::Arc, time::Duration};

use http::Request;
use opentelemetry_http::HeaderExtractor;
use tracing::{Level, Span, field::Empty, info_span};
use tracing_opentelemetry::OpenTelemetrySpanExt;

use crate::{
    metrics::Metrics,
    respond::{Answer, Body, OciError},
    route::{Route, RouteError},
    trail::{AccessLog, Broken, Trail},
};

/// A request on its way to its answer. Dropping it (the client left) ends the span and the trail.
pub struct Observed {
    span: Span,
    in_flight: InFlight,
    /// Taken with the answer.
    trail: Option<Trail>,
}

impl Drop for Observed {
    fn drop(&mut self) {
        if let Some(trail) = self.trail.take() {
            trail.end(0, Some(Broken::ByClient));
        }
    }
}

impl Observed {
    /// Opens the span and starts the clock.
    pub fn begin<B>(
        metrics: &Arc<Metrics>,
        log: AccessLog,
        request: &Request<B>,
        route: &Result<Route, RouteError>,
    ) -> Self {
        // Most requests are warm pulls, for which a span costs more than the answer: at the usual level only requests
        // that have to wait for something get one, from their flow.
        let span = if tracing::enabled!(Level::DEBUG) { span_of(request, route) } else { Span::none() };
        let trail = Some(Trail::begin(log, request.method(), route));
        Self { span, in_flight: InFlight::new(Arc::clone(metrics)), trail }
    }

    /// The span that the request is handled in.
    pub fn span(&self) -> Span {
        self.span.clone()
    }

    /// Notes something in the trail of the request.
    pub fn note(&mut self, note: impl FnOnce(&mut Trail)) {
        self.trail.as_mut().map(note);
    }

    /// Counts the answer, and returns it as it goes out. The trail goes on with its body.
    pub fn end(mut self, answered: Result<Answer, OciError>) -> Answer {
        let Some(mut trail) = self.trail.take() else { return answered.unwrap_or_else(OciError::into_answer) };
        let mut answer = answered.unwrap_or_else(|error| {
            trail.failed(error.cause(), error.is_challenge());
            error.into_answer()
        });
        let (status, elapsed) = (answer.status(), trail.elapsed());
        self.in_flight.0.answered(trail.route(), status.as_u16(), elapsed);
        self.span.in_scope(|| log(&self.span, elapsed, &answer));
        let contents = answer.body_mut().take_contents();
        trail.answered(status.as_u16(), answer.headers().get("x-cache"), contents);
        if trail.is_head() {
            // Whatever a flow answers: HEAD has no body, in any version of HTTP. Content-Length stays.
            *answer.body_mut() = Body::default();
        }
        answer.body_mut().end_with(trail);
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

fn log(span: &Span, elapsed: Duration, answer: &Answer) {
    if span.is_none() {
        return;
    }
    let cache = answer.headers().get("x-cache").and_then(|value| value.to_str().ok()).unwrap_or_default();
    span.record("http.response.status_code", answer.status().as_u16());
    span.record("duration_ms", elapsed.as_millis() as u64);
    span.record("cache.status", cache);
    tracing::debug!("answered");
}
