//! The control plane within the same process: a gRPC channel over in-memory pipes, so that the embedded mode speaks the
//! same contract as a node on another machine. Every (re)connect makes a new pipe with its own served end.

use std::io;

use axum::Router;
use hyper_util::rt::TokioIo;
use tokio_util::sync::CancellationToken;
use tonic::transport::{Channel, Endpoint, Uri};
use tower::service_fn;

use crate::listener;

/// What a pipe holds in each direction, in bytes.
const PIPE_BYTES: usize = 64 * 1024;

/// A channel to `router`. After `stop` calls under way finish and new ones fail.
pub fn channel(router: Router, stop: CancellationToken) -> Channel {
    // The name is only for logs: nothing is resolved or dialled.
    Endpoint::from_static("http://control.embedded").connect_with_connector_lazy(service_fn(move |_: Uri| {
        let (router, stop) = (router.clone(), stop.clone());
        async move {
            if stop.is_cancelled() {
                return Err(io::Error::new(io::ErrorKind::ConnectionRefused, "the control plane has stopped"));
            }
            let (ours, theirs) = tokio::io::duplex(PIPE_BYTES);
            tokio::spawn(listener::serve_one(theirs, router, stop));
            Ok(TokioIo::new(ours))
        }
    }))
}

#[cfg(test)]
mod tests {
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
}
