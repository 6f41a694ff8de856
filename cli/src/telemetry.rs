//! Logs and traces of servers: text or JSON lines on stderr, and spans by OTLP if the `OTEL_*` variables name an endpoint.
//!
//! W3C trace context is propagated with and without export, and ended spans are sent before [`Telemetry::shutdown`] returns. The
//! planes define the spans and their fields.

use std::io::{IsTerminal, stderr};

use opentelemetry::trace::TracerProvider;
use opentelemetry_otlp::SpanExporter;
use opentelemetry_sdk::{
    Resource,
    propagation::TraceContextPropagator,
    trace::{SdkTracer, SdkTracerProvider},
};
use tracing::{Subscriber, level_filters::LevelFilter};
use tracing_subscriber::{
    EnvFilter, Layer,
    filter::{ParseError, Targets},
    fmt,
    layer::SubscriberExt,
    registry::LookupSpan,
    util::SubscriberInitExt,
};

use crate::{
    failure::Failure,
    settings::{LogFormat, ProcessSettings},
};

/// Crates whose spans are exported; the exporter's own connections would otherwise trace themselves.
const TRACED: [&str; 3] = ["roadstead", "roadstead_control", "roadstead_dataplane"];

/// The set-up logs and traces, with the exporter.
pub struct Telemetry {
    provider: Option<SdkTracerProvider>,
}

impl Telemetry {
    /// Sets up logs and traces for the whole process. Call it once, within a Tokio runtime: gRPC export runs on it.
    pub fn start(settings: &ProcessSettings) -> Result<Self, Failure> {
        opentelemetry::global::set_text_map_propagator(TraceContextPropagator::new());
        let filter =
            filter(&settings.log).map_err(|error| Failure::usage(format_args!("--log {}: {error}", settings.log)))?;
        let provider = if is_export_enabled(|name| std::env::var(name).ok()) { Some(provider()?) } else { None };
        let traces = provider.as_ref().map(|provider| traces(provider.tracer("roadstead")));
        tracing_subscriber::registry()
            .with(traces)
            .with(lines(settings.log_format).with_filter(filter))
            .try_init()
            .map_err(|error| Failure::failed(format_args!("cannot set up logging: {error}")))?;
        Ok(Self { provider })
    }

    /// Sends the remaining spans. The runtime must still run.
    pub fn shutdown(self) {
        if let Some(Err(error)) = self.provider.map(|provider| provider.shutdown()) {
            tracing::warn!(%error, "some spans were not exported");
        }
    }
}

/// Returns the filter of log lines. `--access-log` decides on the lines of the access log, unless the filter names them.
fn filter(directives: &str) -> Result<EnvFilter, ParseError> {
    let filter = EnvFilter::try_new(directives)?;
    if directives.split(',').any(|directive| directive.trim_start().starts_with("access=")) {
        return Ok(filter);
    }
    Ok(filter.add_directive("access=info".parse()?))
}

/// True if the environment names an endpoint for spans.
fn is_export_enabled(variable: impl Fn(&str) -> Option<String>) -> bool {
    let set = |name: &str| variable(name).is_some_and(|value| !value.trim().is_empty());
    let is = |name: &str, word: &str| variable(name).is_some_and(|value| value.trim().eq_ignore_ascii_case(word));
    let disabled = is("OTEL_SDK_DISABLED", "true") || is("OTEL_TRACES_EXPORTER", "none");
    !disabled && (set("OTEL_EXPORTER_OTLP_ENDPOINT") || set("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"))
}

/// Returns the provider. The library reads endpoint, protocol, headers, timeouts, sampler and resource attributes from `OTEL_*`.
fn provider() -> Result<SdkTracerProvider, Failure> {
    let exporter = SpanExporter::builder()
        .build()
        .map_err(|error| Failure::usage(format_args!("OTEL_EXPORTER_OTLP_*: cannot export spans: {error}")))?;
    let mut resource = Resource::builder();
    if std::env::var("OTEL_SERVICE_NAME").map_or(true, |name| name.is_empty()) {
        resource = resource.with_service_name("roadstead");
    }
    Ok(SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource.build()).build())
}

/// Returns the layer that exports spans, down to debug level whatever the log level is.
fn traces<S: Subscriber + for<'span> LookupSpan<'span>>(tracer: SdkTracer) -> impl Layer<S> {
    tracing_opentelemetry::layer()
        .with_tracer(tracer)
        .with_location(false)
        .with_threads(false)
        .with_tracked_inactivity(false)
        .with_filter(Targets::new().with_targets(TRACED.map(|target| (target, LevelFilter::DEBUG))))
}

fn lines<S: Subscriber + for<'span> LookupSpan<'span>>(format: LogFormat) -> Box<dyn Layer<S> + Send + Sync> {
    match format {
        LogFormat::Human => fmt::layer().with_writer(stderr).with_ansi(stderr().is_terminal()).boxed(),
        LogFormat::Json => fmt::layer().json().flatten_event(true).with_span_list(false).with_writer(stderr).boxed(),
    }
}

#[cfg(test)]
mod tests;
