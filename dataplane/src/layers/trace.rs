//! One span and one set of counts per request.

use std::{
    convert::Infallible,
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Instant,
};

use http::{HeaderMap, Method, Request, StatusCode};
use opentelemetry::propagation::Extractor;
use pin_project_lite::pin_project;
use tower::{Layer, Service};
use tracing::{Span, field::Empty, info_span};
use tracing_opentelemetry::OpenTelemetrySpanExt;

use crate::{
    metrics::Metrics,
    respond::{Answer, Body},
    route::{Route, RouteError},
};

/// Opens the span, parses the route once for all further layers, and counts the answer.
#[derive(Clone)]
pub struct TraceLayer(pub Metrics);

impl<S> Layer<S> for TraceLayer {
    type Service = Trace<S>;

    fn layer(&self, inner: S) -> Trace<S> {
        Trace { inner, metrics: self.0.clone() }
    }
}

/// See [`TraceLayer`].
#[derive(Clone)]
pub struct Trace<S> {
    inner: S,
    metrics: Metrics,
}

/// The client's own trace context, where it sends one.
struct Headers<'a>(&'a HeaderMap);

impl Extractor for Headers<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).and_then(|value| value.to_str().ok())
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(http::HeaderName::as_str).collect()
    }
}

fn span_of<B>(request: &Request<B>, route: &Result<Route, RouteError>) -> Span {
    let label = route.as_ref().map_or("none", Route::label);
    let span = info_span!(
        "request",
        otel.kind = "server",
        http.request.method = %request.method(),
        http.route = label,
        http.response.status_code = Empty,
        caller.name = Empty,
        group.path = Empty,
        repository.name = Empty,
        cache.status = Empty,
        duration_ms = Empty,
    );
    if span.is_disabled() {
        return span;
    }
    if let Ok(Route::Image(image)) = route {
        span.record("group.path", image.group.as_str());
        span.record("repository.name", image.image.to_string());
    }
    if request.headers().contains_key("traceparent") {
        let parent = opentelemetry::global::get_text_map_propagator(|p| p.extract(&Headers(request.headers())));
        // Without an exporter there is no trace to be part of.
        let _ = span.set_parent(parent);
    }
    span
}

impl<S, B> Service<Request<B>> for Trace<S>
where
    S: Service<(Request<B>, Result<Route, RouteError>), Response = Answer, Error = Infallible>,
{
    type Response = Answer;
    type Error = Infallible;
    type Future = Traced<S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let route = Route::parse(request.method(), request.uri());
        let label = route.as_ref().map_or("none", Route::label);
        let span = span_of(&request, &route);
        let head = request.method() == Method::HEAD;
        let inner = span.in_scope(|| self.inner.call((request, route)));
        let counted = InFlight::new(self.metrics.clone());
        Traced { inner, span, label, head, started: Instant::now(), counted }
    }
}

/// One more request in flight, until dropped.
struct InFlight(Metrics);

impl InFlight {
    fn new(metrics: Metrics) -> Self {
        metrics.requests_in_flight.inc();
        Self(metrics)
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.requests_in_flight.dec();
    }
}

pin_project! {
    /// The answer on its way. Dropping it (the client left) ends the span.
    pub struct Traced<F> {
        #[pin]
        inner: F,
        span: Span,
        label: &'static str,
        head: bool,
        started: Instant,
        counted: InFlight,
    }
}

impl<F: Future<Output = Result<Answer, Infallible>>> Future for Traced<F> {
    type Output = Result<Answer, Infallible>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let _entered = this.span.enter();
        let Ok(mut answer) = ready!(this.inner.poll(context));
        let (status, elapsed) = (answer.status(), this.started.elapsed());
        this.counted.0.answered(this.label, status.as_u16(), elapsed);
        this.span.record("http.response.status_code", status.as_u16());
        this.span.record("duration_ms", elapsed.as_millis() as u64);
        log(status, this.label, &answer);
        if *this.head {
            // Whatever a flow answers: HEAD has no body, in any version of HTTP. Content-Length stays.
            *answer.body_mut() = Body::default();
        }
        Poll::Ready(Ok(answer))
    }
}

/// Warm pulls are the many; they are worth a line only to whoever asks for it.
fn log(status: StatusCode, route: &'static str, answer: &Answer) {
    let cache = answer.headers().get("x-cache").and_then(|value| value.to_str().ok()).unwrap_or_default();
    Span::current().record("cache.status", cache);
    if status.is_server_error() {
        tracing::warn!(status = status.as_u16(), route, "answered with an error");
    } else if cache == "fill" {
        tracing::info!(status = status.as_u16(), route, cache.status = cache, "answered");
    } else {
        tracing::debug!(status = status.as_u16(), route, cache.status = cache, "answered");
    }
}
