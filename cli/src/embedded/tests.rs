use axum::{http::StatusCode, routing::post};
use roadstead_proto::v1::{ListGroupsRequest, group_service_client::GroupServiceClient};
use tonic::Code;

use super::*;

fn router() -> Router {
    Router::new()
        .route("/roadstead.v1.GroupService/ListGroups", post(async || (StatusCode::OK, [("grpc-status", "5")], "")))
}

#[tokio::test]
async fn calls_arrive_over_the_pipe() {
    let mut groups = GroupServiceClient::new(channel(router(), CancellationToken::new()));
    let status = groups.list_groups(ListGroupsRequest::default()).await.unwrap_err();
    assert_eq!(status.code(), Code::NotFound);
}

#[tokio::test]
async fn after_the_stop_there_is_nobody_to_call() {
    let stop = CancellationToken::new();
    let mut groups = GroupServiceClient::new(channel(router(), stop.clone()));
    assert_eq!(groups.list_groups(ListGroupsRequest::default()).await.unwrap_err().code(), Code::NotFound);
    stop.cancel();
    tokio::task::yield_now().await;
    let status = groups.list_groups(ListGroupsRequest::default()).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable, "{status}");
}
