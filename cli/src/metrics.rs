//! The metrics port: `/metrics` (OpenMetrics text), `/livez` and `/readyz`. The planes register their own metrics; this module
//! has those of the process.

use std::{fmt, pin::Pin, sync::Arc, time::Duration};

use axum::{
    Router,
    extract::State,
    http::{StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
    routing::get,
};
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric, text},
    metrics::{gauge::ConstGauge, info::Info},
    registry::Registry,
};
use tokio::{runtime::Handle, time::timeout};

/// Content type of `/metrics`.
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// A check that passes if the process can serve, and otherwise fails with the reason.
pub type Readiness = Arc<dyn Fn() -> Pin<Box<dyn Future<Output = Result<(), String>> + Send>> + Send + Sync>;

/// Returns a registry with the metrics of the process.
pub fn registry() -> Registry {
    let mut registry = Registry::default();
    let build = Info::new(vec![("version", env!("CARGO_PKG_VERSION"))]);
    registry.register("roadstead_build", "The version that runs", build);
    registry.register_collector(Box::new(Process));
    registry
}

/// Timeout for the readiness of the rest of the process.
const READINESS_TIME: Duration = Duration::from_secs(5);

/// The metrics port's pages. Readiness is asked on the runtime that this is called on; the port itself may be served by
/// another.
pub fn router(registry: Arc<Registry>, readiness: Readiness) -> Router {
    Router::new()
        .route("/metrics", get(metrics).with_state(registry))
        .route("/livez", get(async || "ok\n"))
        .route("/readyz", get(readyz).with_state((Handle::current(), readiness)))
}

async fn metrics(State(registry): State<Arc<Registry>>) -> Response {
    let mut page = String::new();
    match text::encode(&mut page, &registry) {
        Ok(()) => ([(CONTENT_TYPE, OPENMETRICS)], page).into_response(),
        Err(error) => {
            (StatusCode::INTERNAL_SERVER_ERROR, format!("cannot encode the metrics: {error}\n")).into_response()
        }
    }
}

async fn readyz(State((runtime, readiness)): State<(Handle, Readiness)>) -> (StatusCode, String) {
    let ready = match timeout(READINESS_TIME, runtime.spawn(readiness())).await {
        Ok(Ok(ready)) => ready,
        Ok(Err(_)) | Err(_) => Err("the process does not answer in time".to_owned()),
    };
    match ready {
        Ok(()) => (StatusCode::OK, "ok\n".to_owned()),
        Err(reason) => (StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")),
    }
}

/// Metrics of this process from the kernel, read at each scrape. They need `/proc`.
#[derive(Debug)]
struct Process;

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), fmt::Error> {
        let mut gauge = |name, help, value: Option<i64>| {
            let Some(value) = value else { return Ok(()) };
            let gauge = ConstGauge::new(value);
            let metric = encoder.encode_descriptor(name, help, None, gauge.metric_type())?;
            gauge.encode(metric)
        };
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let files = std::fs::read_dir("/proc/self/fd").ok().and_then(|files| i64::try_from(files.count()).ok());
        gauge("process_resident_memory_bytes", "Memory in RAM, mapped files included", kib(&status, "VmRSS:"))?;
        gauge("process_anonymous_memory_bytes", "Memory in RAM without mapped files", kib(&status, "RssAnon:"))?;
        gauge("process_open_fds", "Open file descriptors", files)
    }
}

/// Returns the value of a line of `/proc/self/status`, in bytes.
fn kib(status: &str, name: &str) -> Option<i64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse::<i64>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests;
