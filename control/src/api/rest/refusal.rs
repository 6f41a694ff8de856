//! Refusals, in the form that GitLab's clients know: `{"message": "404 Group Not Found"}`, and why beside it.

use std::time::Duration;

use axum::{
    Json,
    response::{IntoResponse, Response},
};
use http::{Method, StatusCode, Uri, header::RETRY_AFTER};
use serde::Serialize;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;
use utoipa::ToSchema;

/// The reason for which a call failed.
#[derive(Serialize, ToSchema)]
pub struct Refusal {
    /// GitLab's text: "401 Unauthorized".
    #[schema(example = "404 Group Not Found")]
    message: String,
    /// The fault, for people.
    error: String,
}

/// The refusal of a service, over HTTP.
pub struct Refused(Status);

impl From<Status> for Refused {
    fn from(status: Status) -> Self {
        Self(status)
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        of(&self.0)
    }
}

/// A service's refusal, over HTTP.
pub fn of(status: &Status) -> Response {
    let (code, message) = match status.code() {
        Code::Unauthenticated => (StatusCode::UNAUTHORIZED, "401 Unauthorized"),
        Code::PermissionDenied => (StatusCode::FORBIDDEN, "403 Forbidden"),
        // Not the service's own words: they name the path, which who came by an id must not learn.
        Code::NotFound => {
            let error = "there is no such group, or none that this token may know of";
            return told(StatusCode::NOT_FOUND, "404 Group Not Found", error);
        }
        // No route has taken it: what is left answers as gRPC does.
        Code::Unimplemented => {
            return told(
                StatusCode::NOT_FOUND,
                "404 Not Found",
                "there is no such call; /openapi.json lists what there is",
            );
        }
        Code::InvalidArgument => (StatusCode::BAD_REQUEST, "400 Bad Request"),
        Code::Aborted | Code::AlreadyExists => (StatusCode::CONFLICT, "409 Conflict"),
        Code::FailedPrecondition => (StatusCode::UNPROCESSABLE_ENTITY, "422 Unprocessable Entity"),
        Code::ResourceExhausted => (StatusCode::TOO_MANY_REQUESTS, "429 Too Many Requests"),
        Code::Unavailable | Code::DeadlineExceeded => (StatusCode::SERVICE_UNAVAILABLE, "503 Service Unavailable"),
        _ => (StatusCode::INTERNAL_SERVER_ERROR, "500 Internal Server Error"),
    };
    let mut response = told(code, message, status.message());
    if let Some(delay) = status.get_details_retry_info().and_then(|info| info.retry_delay) {
        response.headers_mut().insert(RETRY_AFTER, seconds(delay).into());
    }
    response
}

/// A method that a path does not have.
pub async fn no_such_method(method: Method, uri: Uri) -> Response {
    let error = format!("{} does not take {method}; /openapi.json lists what there is", uri.path());
    told(StatusCode::METHOD_NOT_ALLOWED, "405 Not Allowed", &error)
}

fn told(code: StatusCode, message: &str, error: &str) -> Response {
    (code, Json(Refusal { message: message.to_owned(), error: error.to_owned() })).into_response()
}

/// Whole seconds, rounded up, so that nobody comes back too early.
fn seconds(delay: Duration) -> u64 {
    delay.as_secs() + u64::from(delay.subsec_nanos() > 0)
}
