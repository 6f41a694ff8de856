//! One span and one set of counts per request.

use std::{
    convert::Infallible,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use http::{HeaderMap, Method, Request, StatusCode};
use opentelemetry::propagation::Extractor;
use pin_project_lite::pin_project;
use tower::{Layer, Service};
use tracing::{Level, Span, field::Empty, info_span};
use tracing_opentelemetry::OpenTelemetrySpanExt;

use crate::{
    metrics::Metrics,
    mirror::Mirrors,
    respond::{Answer, Body},
    route::{Route, RouteError},
};

/// Opens the span, parses the route once for all further layers, and counts the answer.
#[derive(Clone)]
pub struct TraceLayer {
    /// Where answers are counted.
    pub metrics: Arc<Metrics>,
    /// Groups that names without one mean.
    pub mirrors: Arc<Mirrors>,
}

impl<S> Layer<S> for TraceLayer {
    type Service = Trace<S>;

    fn layer(&self, inner: S) -> Trace<S> {
        Trace { inner, metrics: Arc::clone(&self.metrics), mirrors: Arc::clone(&self.mirrors) }
    }
}

/// See [`TraceLayer`].
#[derive(Clone)]
pub struct Trace<S> {
    inner: S,
    metrics: Arc<Metrics>,
    mirrors: Arc<Mirrors>,
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
    let image = match route {
        Ok(Route::Image(image)) => Some(image),
        _ => None,
    };
    let span = info_span!(
        "request",
        otel.kind = "server",
        http.request.method = request.method().as_str(),
        http.route = label,
        http.response.status_code = Empty,
        caller.name = Empty,
        group.path = image.map(|image| image.group.as_str()),
        repository.name = image.map(|image| &*image.name),
        cache.status = Empty,
        duration_ms = Empty,
    );
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
        let mirror = self.mirrors.group_of(request.uri(), request.headers());
        let route = Route::parse(request.method(), request.uri(), mirror);
        let label = route.as_ref().map_or("none", Route::label);
        // Warm pulls are the many, and a span costs more than finding what they ask for: at the usual level only
        // those that have to wait for something get one, from the flows.
        let span = if tracing::enabled!(Level::DEBUG) { span_of(&request, &route) } else { Span::none() };
        let head = request.method() == Method::HEAD;
        let inner = span.in_scope(|| self.inner.call((request, route)));
        let counted = InFlight::new(Arc::clone(&self.metrics));
        Traced { inner, span, label, head, started: Instant::now(), counted }
    }
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
        log(this.span, status, this.label, elapsed, &answer);
        if *this.head {
            // Whatever a flow answers: HEAD has no body, in any version of HTTP. Content-Length stays.
            *answer.body_mut() = Body::default();
        }
        Poll::Ready(Ok(answer))
    }
}

fn log(span: &Span, status: StatusCode, route: &'static str, elapsed: Duration, answer: &Answer) {
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
