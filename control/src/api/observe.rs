//! Seeing calls: a span for each, continuing the caller's trace (W3C trace context in the metadata), and metrics.

use std::{
    collections::HashMap,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Instant,
};

use axum::{
    body::Body,
    extract::{Request, State},
    middleware::Next,
    response::Response,
};
use bytes::Bytes;
use http::{HeaderMap, Uri};
use http_body::{Body as HttpBody, Frame, SizeHint};
use opentelemetry::{global, propagation::Extractor};
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::Registry,
};
use prost::Message as _;
use prost_types::FileDescriptorSet;
use roadstead_proto::DESCRIPTORS;
use tonic::Code;
use tracing::{Instrument as _, Span, debug, field, info_span};
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

/// Upper bounds of the duration histogram, in seconds: from a read in memory to a deadline.
const BUCKETS: [f64; 12] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 2.5, 10.0];
const STATUS_HEADER: &str = "grpc-status";

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct MethodLabels {
    service: String,
    method: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CallLabels {
    service: String,
    method: String,
    code: String,
}

/// A method of one of our services.
#[derive(Clone, Debug)]
struct Method {
    labels: MethodLabels,
    streams: bool,
}

/// The metrics of all calls.
pub struct Observer {
    /// By path. Closed: whatever else is asked for is counted as one, so that callers cannot make labels up.
    methods: HashMap<String, Method>,
    calls: Family<CallLabels, Counter>,
    durations: Family<MethodLabels, Histogram, fn() -> Histogram>,
    watchers: Gauge,
}

fn histogram() -> Histogram {
    Histogram::new(BUCKETS)
}

impl Observer {
    pub fn new(metrics: &mut Registry) -> Result<Self, prost::DecodeError> {
        let observer = Self {
            methods: methods()?,
            calls: Family::default(),
            durations: Family::new_with_constructor(histogram),
            watchers: Gauge::default(),
        };
        metrics.register(
            "roadstead_control_rpcs",
            "Calls of the control plane's gRPC services by how they ended",
            observer.calls.clone(),
        );
        metrics.register(
            "roadstead_control_rpc_duration_seconds",
            "How long calls took that do not stream",
            observer.durations.clone(),
        );
        metrics.register("roadstead_control_watchers", "Nodes that watch now", observer.watchers.clone());
        Ok(observer)
    }

    pub fn watchers(&self) -> Gauge {
        self.watchers.clone()
    }

    fn method(&self, uri: &Uri) -> Option<Method> {
        self.methods.get(uri.path()).cloned()
    }
}

fn methods() -> Result<HashMap<String, Method>, prost::DecodeError> {
    let files = FileDescriptorSet::decode(DESCRIPTORS)?.file;
    let mut methods = HashMap::new();
    for (package, service) in files.iter().flat_map(|file| file.service.iter().map(move |s| (file.package(), s))) {
        let service_name = format!("{package}.{}", service.name());
        for method in &service.method {
            let labels = MethodLabels { service: service_name.clone(), method: method.name().to_owned() };
            let streams = method.server_streaming() || method.client_streaming();
            methods.insert(format!("/{service_name}/{}", method.name()), Method { labels, streams });
        }
    }
    Ok(methods)
}

/// Passes a call on, and watches it to the end of its answer.
pub async fn observe(State(observer): State<Arc<Observer>>, request: Request, next: Next) -> Response {
    // Health, reflection and the greeting are asked for all the time and tell nothing.
    let Some(method) = observer.method(request.uri()) else { return next.run(request).await };
    let span = info_span!(
        "rpc",
        otel.name = format!("{}/{}", method.labels.service, method.labels.method),
        otel.kind = "server",
        rpc.system = "grpc",
        rpc.service = method.labels.service,
        rpc.method = method.labels.method,
        rpc.grpc.status_code = field::Empty,
        duration_ms = field::Empty,
    );
    let parent = global::get_text_map_propagator(|propagator| propagator.extract(&Metadata(request.headers())));
    // Fails only where no exporter is installed: then there is no trace to continue.
    let _ = span.set_parent(parent);
    let call = Call { observer, method, started: Instant::now(), span: span.clone(), done: false };
    let response = next.run(request).instrument(span).await;
    let (parts, body) = response.into_parts();
    let mut body = Observed { inner: body, call };
    if let Some(code) = code_of(&parts.headers) {
        body.call.end(code);
    }
    Response::from_parts(parts, Body::new(body))
}

fn code_of(headers: &HeaderMap) -> Option<Code> {
    headers.get(STATUS_HEADER).map(|value| Code::from_bytes(value.as_bytes()))
}

struct Metadata<'a>(&'a HeaderMap);

impl Extractor for Metadata<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).and_then(|value| value.to_str().ok())
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(http::HeaderName::as_str).collect()
    }
}

/// One call; counted once, however it ends.
struct Call {
    observer: Arc<Observer>,
    method: Method,
    started: Instant,
    span: Span,
    done: bool,
}

impl Call {
    fn end(&mut self, code: Code) {
        if std::mem::replace(&mut self.done, true) {
            return;
        }
        let elapsed = self.started.elapsed();
        let MethodLabels { service, method } = self.method.labels.clone();
        let labels = CallLabels { service, method, code: format!("{code:?}") };
        self.observer.calls.get_or_create(&labels).inc();
        if !self.method.streams {
            self.observer.durations.get_or_create(&self.method.labels).observe(elapsed.as_secs_f64());
        }
        // Taken, so that the span ends with the call and not when the connection lets go of the body.
        let span = std::mem::replace(&mut self.span, Span::none());
        span.record("rpc.grpc.status_code", i32::from(code));
        span.record("duration_ms", elapsed.as_secs_f64() * 1000.0);
        let _entered = span.enter();
        debug!(code = ?code, "call ended");
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        // The answer was not read to its end: the caller is gone.
        self.end(Code::Cancelled);
    }
}

/// An answer whose trailers say how the call ended.
struct Observed {
    inner: Body,
    call: Call,
}

impl HttpBody for Observed {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = ready!(Pin::new(&mut self.inner).poll_frame(cx));
        match &frame {
            Some(Ok(frame)) => {
                if let Some(code) = frame.trailers_ref().and_then(code_of) {
                    self.call.end(code);
                }
            }
            Some(Err(_)) => self.call.end(Code::Internal),
            None => self.call.end(Code::Unknown),
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
