//! The caller, by the headers of GitLab's clients.

use axum::{extract::Request, middleware::Next, response::Response};
use http::{HeaderName, header::AUTHORIZATION};
use tonic::Status;

use super::refusal;
use crate::api::authenticate::REST_PREFIX;

/// GitLab's header for a token.
const PRIVATE_TOKEN: HeaderName = HeaderName::from_static("private-token");

/// Takes `PRIVATE-TOKEN` for a bearer token, and turns a refusal in gRPC's form into JSON.
pub async fn tell(mut request: Request, next: Next) -> Response {
    if !request.uri().path().starts_with(REST_PREFIX) {
        return next.run(request).await;
    }
    if let Some(token) = request.headers_mut().remove(PRIVATE_TOKEN)
        && let Some(bearer) = token.to_str().ok().and_then(|token| format!("Bearer {token}").parse().ok())
    {
        request.headers_mut().insert(AUTHORIZATION, bearer);
    }
    let response = next.run(request).await;
    match Status::from_header_map(response.headers()) {
        Some(status) => refusal::of(&status),
        None => response,
    }
}
