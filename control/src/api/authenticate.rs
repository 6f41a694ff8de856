//! Who is calling: turns the bearer token of a call into an [`Actor`], or ends the call.

use std::{net::SocketAddr, sync::Arc};

use axum::{
    extract::{ConnectInfo, Request, State},
    middleware::Next,
    response::Response,
};
use http::{HeaderMap, header::AUTHORIZATION};
use secrecy::SecretString;
use tonic::Status;

use super::status;
use crate::{
    access::{Actor, Principal},
    plane::Plane,
};

/// Services of these packages, and REST calls, need a token; health and reflection do not.
const PROTECTED: [&str; 2] = ["/roadstead.", super::rest::caller::PREFIX];
/// Longest token that is looked up, in bytes.
const MAX_TOKEN_BYTES: usize = 4096;

/// Lets calls of our own services pass only with a good token, and notes whose it is.
pub async fn authenticate(State(plane): State<Arc<Plane>>, mut request: Request, next: Next) -> Response {
    if PROTECTED.iter().any(|prefix| request.uri().path().starts_with(prefix)) {
        let found = match bearer(request.headers()) {
            Ok(token) => principal(&plane, &token).await,
            Err(status) => Err(status),
        };
        match found {
            Ok(principal) => {
                let client_address = client_address(&request);
                request.extensions_mut().insert(Actor { principal, client_address })
            }
            Err(status) => return status.into_http(),
        };
    }
    next.run(request).await
}

/// Where the call comes from; the listener tells, if there is one.
fn client_address(request: &Request) -> Option<String> {
    request
        .extensions()
        .get::<ConnectInfo<SocketAddr>>()
        .map(|ConnectInfo(address)| address.ip().to_canonical().to_string())
}

fn bearer(headers: &HeaderMap) -> Result<SecretString, Status> {
    let missing =
        || Status::unauthenticated("this call needs an API token; send metadata `authorization: Bearer <token>`");
    let header = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok()).ok_or_else(missing)?;
    let (scheme, token) = header.split_once(' ').ok_or_else(missing)?;
    let token = token.trim();
    if !scheme.eq_ignore_ascii_case("bearer") || token.is_empty() || token.len() > MAX_TOKEN_BYTES {
        return Err(missing());
    }
    Ok(SecretString::from(token))
}

async fn principal(plane: &Plane, token: &SecretString) -> Result<Principal, Status> {
    plane.authenticate(token).await.map_err(status::from_plane)?.ok_or_else(|| {
        Status::unauthenticated("this API token is wrong, expired or revoked; make a new one with `token create`")
    })
}

/// The caller, as found by the layer above.
pub fn caller<T>(request: &tonic::Request<T>) -> Result<Actor, Status> {
    // Without the layer nobody is anybody.
    request.extensions().get().cloned().ok_or_else(|| Status::unauthenticated("nobody was authenticated"))
}
