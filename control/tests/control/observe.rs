//! Metrics of calls.

use roadstead_proto::{
    node::v1::WatchRequest,
    v1::{GetGroupRequest, ListGroupsRequest},
};

use crate::harness::Plane;

#[tokio::test]
async fn calls_are_counted_by_method_and_code_whether_or_not_they_were_let_in() {
    let plane = Plane::start().await;
    plane.admin().groups.list_groups(ListGroupsRequest::default()).await.unwrap();
    plane.admin().groups.get_group(GetGroupRequest { path: "gone".into() }).await.unwrap_err();
    plane.client(None).groups.list_groups(ListGroupsRequest::default()).await.unwrap_err();
    let text = plane.metrics_text();
    for line in [
        "roadstead_control_rpcs_total{service=\"roadstead.v1.GroupService\",method=\"ListGroups\",code=\"Ok\"} 1",
        "roadstead_control_rpcs_total{service=\"roadstead.v1.GroupService\",method=\"GetGroup\",code=\"NotFound\"} 1",
        "roadstead_control_rpcs_total{service=\"roadstead.v1.GroupService\",method=\"ListGroups\",code=\"Unauthenticated\"} 1",
        "roadstead_control_rpc_duration_seconds_count{service=\"roadstead.v1.GroupService\",method=\"ListGroups\"} 2",
    ] {
        assert!(text.contains(line), "{line}\n{text}");
    }
}

#[tokio::test]
async fn watchers_are_counted_while_they_watch() {
    let plane = Plane::start().await;
    let mut events = plane.node().node.watch(WatchRequest::default()).await.unwrap().into_inner();
    events.message().await.unwrap().unwrap();
    assert!(plane.metrics_text().contains("roadstead_control_watchers 1"));
    drop(events);
    let gone = async {
        while !plane.metrics_text().contains("roadstead_control_watchers 0") {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(5), gone).await.unwrap();
}

#[tokio::test]
async fn made_up_methods_make_no_labels() {
    use tower::ServiceExt as _;
    let plane = Plane::start().await;
    for path in ["/roadstead.v1.GroupService/MadeUp", "/made.Up/Method"] {
        let request = http::Request::post(path).body(axum::body::Body::empty()).unwrap();
        plane.control.router().oneshot(request).await.unwrap();
    }
    assert!(!plane.metrics_text().contains("MadeUp") && !plane.metrics_text().contains("made.Up"));
}

#[tokio::test]
async fn a_call_is_a_span_of_the_callers_trace_and_tells_how_it_ended() {
    use opentelemetry::{Value, trace::TracerProvider as _};
    use opentelemetry_sdk::{
        propagation::TraceContextPropagator,
        trace::{InMemorySpanExporterBuilder, SdkTracerProvider, SpanData},
    };
    use tracing_subscriber::layer::SubscriberExt as _;
    const TRACE_ID: &str = "0af7651916cd43dd8448eb211c80319c";
    let exporter = InMemorySpanExporterBuilder::new().build();
    let provider = SdkTracerProvider::builder().with_simple_exporter(exporter.clone()).build();
    opentelemetry::global::set_text_map_propagator(TraceContextPropagator::new());
    let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("test"));
    // For the whole process: the other tests' spans are of other traces.
    tracing::subscriber::set_global_default(tracing_subscriber::registry().with(layer)).unwrap();
    let plane = Plane::start().await;
    let mut request = tonic::Request::new(GetGroupRequest { path: "gone".into() });
    let trace = format!("00-{TRACE_ID}-b7ad6b7169203331-01");
    request.metadata_mut().insert("traceparent", trace.parse().unwrap());
    plane.admin().groups.get_group(request).await.unwrap_err();
    // A span ends when the last that holds it lets go, which may be the database's thread.
    let ended = async {
        loop {
            let spans = exporter.get_finished_spans().unwrap();
            let ours = |span: &SpanData| span.span_context.trace_id().to_string() == TRACE_ID;
            match spans.into_iter().find(|span| ours(span) && span.name == "roadstead.v1.GroupService/GetGroup") {
                Some(span) => return span,
                None => tokio::task::yield_now().await,
            }
        }
    };
    let span = tokio::time::timeout(std::time::Duration::from_secs(5), ended).await.unwrap();
    assert_eq!(span.parent_span_id.to_string(), "b7ad6b7169203331");
    let code = span.attributes.iter().find(|kv| kv.key.as_str() == "rpc.grpc.status_code");
    assert_eq!(code.map(|kv| kv.value.clone()), Some(Value::I64(5)), "NotFound");
}
