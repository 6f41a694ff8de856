use std::collections::HashMap;

use tonic_types::ErrorDetails;

use super::*;
use crate::connect::token::Found;

fn said(status: &Status) -> String {
    let credential = Credential::Token(Found { secret: "x".into(), source: "ROADSTEAD_TOKEN".into() });
    explain(status, "http://127.0.0.1:7071", &credential)
}

/// A refusal as the control plane makes it.
fn refused(code: Code, reason: ErrorReason, message: &str) -> Status {
    let details = ErrorDetails::with_error_info(reason.as_str(), ERROR_DOMAIN, HashMap::new());
    Status::with_error_details(code, message, details)
}

#[test]
fn every_invalid_field_is_named() {
    let mut details = ErrorDetails::new();
    details.set_error_info(ErrorReason::InvalidFields.as_str(), ERROR_DOMAIN, HashMap::new());
    details.add_bad_request_violation("path", "must not be empty");
    details.add_bad_request_violation("max_age", "is at most 30 days");
    let status = Status::with_error_details(Code::InvalidArgument, "anything", details);
    assert_eq!(said(&status), "path: must not be empty; max_age: is at most 30 days");
}

#[test]
fn the_next_step_follows_from_the_reason_and_not_from_the_text() {
    for (reason, expected) in [
        (ErrorReason::EtagMismatch, "said"),
        (ErrorReason::NotFound, "said"),
        (ErrorReason::PermissionDenied, "said; the token from ROADSTEAD_TOKEN may not do this"),
        (ErrorReason::Unavailable, "said; try again later"),
        (ErrorReason::TooManyFailures, "said; try again later"),
        (ErrorReason::Internal, "the control plane at http://127.0.0.1:7071 failed: said; its log says why"),
    ] {
        assert_eq!(said(&refused(Code::Aborted, reason, "said")), expected, "{reason}");
    }
    // Somebody else's reasons say nothing about ours.
    let other = ErrorDetails::with_error_info("INTERNAL", "example.com", HashMap::new());
    assert_eq!(said(&Status::with_error_details(Code::NotFound, "said", other)), "said");
}

#[test]
fn a_bad_token_is_named_by_where_it_came_from() {
    assert_eq!(
        said(&refused(Code::Unauthenticated, ErrorReason::Unauthenticated, "unknown token")),
        "the control plane at http://127.0.0.1:7071 does not accept the token from ROADSTEAD_TOKEN: unknown token; \
         give a valid one with --token"
    );
}

#[test]
fn a_bad_password_is_named_by_whose_it_is() {
    let credential = Credential::Password { user: "alice".into(), password: "s3cret".into() };
    let control = "http://127.0.0.1:7071";
    assert_eq!(
        explain(&refused(Code::Unauthenticated, ErrorReason::Unauthenticated, "wrong"), control, &credential),
        "the control plane at http://127.0.0.1:7071 does not accept the password of alice: wrong; check both"
    );
}

#[test]
fn a_refusal_keeps_to_one_line() {
    assert_eq!(said(&Status::not_found("no group\nnamed acme")), "no group\\nnamed acme");
}

#[tokio::test]
async fn another_kind_of_server_is_told_from_a_control_plane() {
    use roadstead_proto::v1::{ListGroupsRequest, group_service_client::GroupServiceClient};
    for (status, body) in [(404, "{\"errors\":[]}"), (200, "<html>"), (404, ""), (405, "")] {
        let status = axum::http::StatusCode::from_u16(status).unwrap();
        let router = axum::Router::new().fallback(async move || (status, body));
        let channel = crate::embedded::channel(router, tokio_util::sync::CancellationToken::new());
        let answer = GroupServiceClient::new(channel).list_groups(ListGroupsRequest::default()).await.unwrap_err();
        let message = said(&answer);
        assert!(
            message.ends_with("is not a Roadstead control plane; is --control right?"),
            "{status} {body}: {answer:?}"
        );
    }
}

#[tokio::test]
async fn a_dead_control_plane_is_told_from_an_unwilling_one() {
    use roadstead_proto::v1::{ListGroupsRequest, group_service_client::GroupServiceClient};
    let unused = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let channel = tonic::transport::Endpoint::from_shared(format!("http://{unused}")).unwrap().connect_lazy();
    let status = GroupServiceClient::new(channel).list_groups(ListGroupsRequest::default()).await.unwrap_err();
    let message = said(&status);
    assert!(message.starts_with("cannot reach the control plane at http://127.0.0.1:7071: "), "{message}");
    assert!(message.ends_with("is `roadstead serve` running?"), "{message}");
    assert_eq!(said(&Status::unavailable("shutting down")), "shutting down; try again later");
}
