//! Who is calling: turns the token, or the name and password, of a call into an [`Actor`], or ends the call.

use std::{net::SocketAddr, sync::Arc};

use axum::{
    extract::{ConnectInfo, Request, State},
    middleware::Next,
    response::Response,
};
use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
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
/// Longest token, or name and password as they are sent, that is looked at, in bytes.
const MAX_HEADER_BYTES: usize = 8192;

/// Lets calls of our own services pass only with good credentials, and notes whose they are.
pub async fn authenticate(State(plane): State<Arc<Plane>>, mut request: Request, next: Next) -> Response {
    if PROTECTED.iter().any(|prefix| request.uri().path().starts_with(prefix)) {
        let found = match credentials(request.headers()) {
            Some(given) => principal(&plane, given).await,
            None => Err(Status::unauthenticated(
                "this call needs an API token; send metadata `authorization: Bearer <token>`, or a user's name and \
                 password as `authorization: Basic …`",
            )),
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

/// What somebody calls with.
enum Given {
    /// A token.
    Token(SecretString),
    /// A user's name, and a password or token.
    Name(String, SecretString),
}

fn credentials(headers: &HeaderMap) -> Option<Given> {
    let header = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok())?;
    let (scheme, rest) = header.split_once(' ')?;
    let rest = rest.trim();
    if rest.is_empty() || rest.len() > MAX_HEADER_BYTES {
        return None;
    }
    if scheme.eq_ignore_ascii_case("bearer") {
        return Some(Given::Token(rest.into()));
    }
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = String::from_utf8(BASE64.decode(rest).ok()?).ok()?;
    let (name, secret) = decoded.split_once(':')?;
    Some(Given::Name(name.to_owned(), secret.into()))
}

async fn principal(plane: &Plane, given: Given) -> Result<Principal, Status> {
    let (found, refusal) = match given {
        Given::Token(token) => (
            plane.authenticate(&token).await,
            "this API token is wrong, expired or revoked; make a new one with `token create`",
        ),
        Given::Name(name, secret) => {
            (plane.authenticate_by_name(&name, &secret).await, "wrong user name or password, or the user is disabled")
        }
    };
    found.map_err(status::from_plane)?.ok_or_else(|| Status::unauthenticated(refusal))
}

/// The caller, as found by the layer above.
pub fn caller<T>(request: &tonic::Request<T>) -> Result<Actor, Status> {
    // Without the layer nobody is anybody.
    request.extensions().get().cloned().ok_or_else(|| Status::unauthenticated("nobody was authenticated"))
}
