use tonic_types::ErrorDetails;

use super::*;
use crate::connect::token::Found;

fn said(status: &Status) -> String {
    let credential = Credential::Token(Found { secret: "x".into(), source: "ROADSTEAD_TOKEN".into() });
    explain(status, "http://127.0.0.1:7071", &credential)
}

#[test]
fn every_violated_field_is_named() {
    let mut details = ErrorDetails::new();
    details.add_bad_request_violation("path", "must not be empty");
    details.add_bad_request_violation("max_age", "is at most 30 days");
    let status = Status::with_error_details(Code::InvalidArgument, "invalid group", details);
    assert_eq!(said(&status), "invalid group; path: must not be empty; max_age: is at most 30 days");
}

#[test]
fn what_the_message_says_already_is_not_said_twice() {
    let details = ErrorDetails::with_bad_request_violation("path", "must not be empty");
    let status = Status::with_error_details(Code::InvalidArgument, "path must not be empty", details);
    assert_eq!(said(&status), "path must not be empty");
}

#[test]
fn a_bad_token_is_named_by_where_it_came_from() {
    assert_eq!(
        said(&Status::unauthenticated("unknown token")),
        "the control plane at http://127.0.0.1:7071 does not accept the token from ROADSTEAD_TOKEN: unknown token; \
         give a valid one with --token"
    );
}

#[test]
fn a_bad_password_is_named_by_whose_it_is() {
    let credential = Credential::Password { user: "alice".into(), password: "s3cret".into() };
    let control = "http://127.0.0.1:7071";
    assert_eq!(
        explain(&Status::unauthenticated("wrong"), control, &credential),
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
