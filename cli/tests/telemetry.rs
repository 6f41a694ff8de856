//! Spans arrive at an OTLP receiver, by gRPC and by HTTP, and logs keep to their format.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a failing helper ends its test")]

mod harness;

use std::{
    net::{SocketAddr, TcpListener},
    process::{Command, Stdio},
    sync::{Arc, Mutex},
    thread,
};

use axum::{Router, body::Bytes, extract::State, routing::post};
use harness::{Server, get, get_with, serve};
use opentelemetry_proto::tonic::{
    collector::trace::v1::{
        ExportTraceServiceRequest, ExportTraceServiceResponse,
        trace_service_server::{TraceService, TraceServiceServer},
    },
    trace::v1::Span,
};
use prost::Message;
use rustix::process::Signal;
use tonic::{Request, Response, Status};

/// A request that the node cannot answer without the control plane.
const SIGN_IN: &str =
    "/jwt/auth?service=dependency_proxy&scope=repository:default/dependency_proxy/containers/alpine:pull";

/// `SPAN_KIND_SERVER` of OTLP.
const SERVER: i32 = 2;

/// A receiver that keeps what it gets.
#[derive(Clone, Default)]
struct Receiver(Arc<Mutex<Vec<ExportTraceServiceRequest>>>);

#[tonic::async_trait]
impl TraceService for Receiver {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        self.0.lock().unwrap().push(request.into_inner());
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

async fn export_by_http(State(receiver): State<Receiver>, body: Bytes) -> Vec<u8> {
    receiver.0.lock().unwrap().push(ExportTraceServiceRequest::decode(body).unwrap());
    ExportTraceServiceResponse::default().encode_to_vec()
}

impl Receiver {
    /// Serves both protocols on one port.
    fn listen(&self) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let by_http = Router::new().route("/v1/traces", post(export_by_http)).with_state(self.clone());
        let router =
            tonic::service::Routes::new(TraceServiceServer::new(self.clone())).into_axum_router().merge(by_http);
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async { axum::serve(tokio::net::TcpListener::from_std(listener).unwrap(), router).await })
        });
        address
    }

    fn services(&self) -> Vec<String> {
        let exports = self.0.lock().unwrap();
        let resources =
            exports.iter().flat_map(|export| &export.resource_spans).filter_map(|spans| spans.resource.as_ref());
        let attributes = resources.flat_map(|resource| &resource.attributes);
        attributes
            .filter(|attribute| attribute.key == "service.name")
            .map(|attribute| format!("{:?}", attribute.value))
            .collect()
    }

    fn spans(&self) -> Vec<Span> {
        let exports = self.0.lock().unwrap();
        let scopes = exports.iter().flat_map(|export| &export.resource_spans).flat_map(|spans| &spans.scope_spans);
        scopes.flat_map(|scope| scope.spans.clone()).collect()
    }
}

fn one_request(mut command: Command) {
    let mut server = Server::start(&mut command, 4);
    get(server.addresses[0], SIGN_IN);
    server.signal(Signal::TERM);
    assert_eq!(server.wait(), Some(0));
}

#[test]
fn spans_are_exported_by_either_protocol_before_the_process_ends() {
    for protocol in ["http/protobuf", "grpc"] {
        let receiver = Receiver::default();
        let dir = tempfile::tempdir().unwrap();
        let mut command = serve(dir.path());
        command.env("OTEL_EXPORTER_OTLP_ENDPOINT", format!("http://{}", receiver.listen()));
        command.env("OTEL_EXPORTER_OTLP_PROTOCOL", protocol);
        one_request(command);
        let spans = receiver.spans();
        assert!(!spans.is_empty(), "{protocol}: no span arrived");
        assert!(receiver.services().iter().all(|name| name.contains("\"roadstead\"")), "{:?}", receiver.services());
    }
}

#[test]
fn one_trace_leads_from_the_client_s_context_through_both_planes() {
    const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
    let receiver = Receiver::default();
    let dir = tempfile::tempdir().unwrap();
    let mut command = serve(dir.path());
    command.env("OTEL_EXPORTER_OTLP_ENDPOINT", format!("http://{}", receiver.listen()));
    command.env("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc");
    let mut server = Server::start(&mut command, 4);
    let context = format!("traceparent: 00-{TRACE}-b7ad6b7169203331-01\r\n");
    let (head, _) = get_with(server.addresses[0], SIGN_IN, &context);
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    server.signal(Signal::TERM);
    assert_eq!(server.wait(), Some(0));

    let mut spans = receiver.spans();
    spans.retain(|span| hex(&span.trace_id) == TRACE);
    let told: Vec<_> = spans.iter().map(|span| (&span.name, hex(&span.span_id), hex(&span.parent_span_id))).collect();
    // From the control plane's span of the call, parent by parent, to the context that the client sent.
    let mut span = spans.iter().find(|span| span.name.contains("NodeService/SignIn") && span.kind == SERVER);
    let mut steps = 0;
    while let Some(parent) = span.map(|span| &span.parent_span_id) {
        if hex(parent) == "b7ad6b7169203331" {
            assert!(steps > 0, "the node has no span of its own: {told:?}");
            return;
        }
        span = spans.iter().find(|span| span.span_id == *parent);
        steps += 1;
    }
    panic!("the chain breaks after {steps} steps: {told:?}");
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn the_service_is_called_what_the_environment_says() {
    let receiver = Receiver::default();
    let dir = tempfile::tempdir().unwrap();
    let mut command = serve(dir.path());
    command.env("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", format!("http://{}/v1/traces", receiver.listen()));
    command.env("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf").env("OTEL_SERVICE_NAME", "harbour-7");
    one_request(command);
    let services = receiver.services();
    assert!(!services.is_empty() && services.iter().all(|name| name.contains("harbour-7")), "{services:?}");
}

#[test]
fn a_receiver_that_is_down_holds_nothing_up() {
    let unused = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let mut command = serve(dir.path());
    command.env("OTEL_EXPORTER_OTLP_ENDPOINT", format!("http://{unused}"));
    one_request(command);
}

#[test]
fn json_logs_are_one_object_a_line_on_stderr() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("log");
    let mut command = serve(&dir.path().join("data"));
    command.args(["--log-format", "json", "--log", "debug"]).stderr(Stdio::from(std::fs::File::create(&log).unwrap()));
    one_request(command);
    let log = std::fs::read_to_string(log).unwrap();
    assert!(log.lines().count() > 0);
    for line in log.lines() {
        let entry: serde_json::Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        assert!(entry["timestamp"].is_string() && entry["level"].is_string(), "{line}");
    }
}
