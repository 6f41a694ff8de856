//! Sends the current span's W3C trace context along, so that traces of the other side join ours.

use http::HeaderMap;
use opentelemetry::global;
use opentelemetry_http::HeaderInjector;
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;

/// Adds `traceparent` and its like; nothing where tracing is not set up.
pub(crate) fn inject(headers: &mut HeaderMap) {
    let context = Span::current().context();
    global::get_text_map_propagator(|propagator| propagator.inject_context(&context, &mut HeaderInjector(headers)));
}
