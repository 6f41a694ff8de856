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
