//! Authentication: turns the token, or the name and password, of a call into an [`Actor`], or ends the call.

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

use crate::{
    api::errors,
    rules::{
        access::{Actor, Principal},
        audit::{Entry, shown_name},
        identity::login_throttle::Attempt,
    },
    usecases::{UseCaseError, audit::AuditLog, identity::credentials::Authenticator},
};

/// The beginning of all routes of the REST shim.
pub const REST_PREFIX: &str = "/api/";
/// Services of these packages, and REST calls, need a token; health and reflection do not.
const PROTECTED: [&str; 2] = ["/roadstead.", REST_PREFIX];
/// Longest token, or name and password as they are sent, that is looked at, in bytes.
const MAX_HEADER_BYTES: usize = 8192;

/// The parts that find out who is calling and record refusals.
pub struct Callers {
    /// Checks credentials.
    pub authenticator: Arc<Authenticator>,
    /// Records refusals.
    pub audit: Arc<AuditLog>,
}

/// Passes calls of our own services on only with good credentials, and notes whose they are.
pub async fn authenticate(State(callers): State<Arc<Callers>>, mut request: Request, next: Next) -> Response {
    if PROTECTED.iter().any(|prefix| request.uri().path().starts_with(prefix)) {
        let client_address = client_address(&request);
        let found = match credentials(request.headers()) {
            Some(given) => principal(&callers, client_address.as_deref(), given).await,
            None => Err(errors::unauthenticated(
                "this call needs an API token; send metadata `authorization: Bearer <token>`, or a user's name and \
                 password as `authorization: Basic …`",
            )),
        };
        match found {
            Ok(principal) => request.extensions_mut().insert(Actor { principal, client_address }),
            Err(status) => return status.into_http(),
        };
    }
    next.run(request).await
}

/// Returns the address that the call comes from, where the listener tells it.
fn client_address(request: &Request) -> Option<String> {
    request
        .extensions()
        .get::<ConnectInfo<SocketAddr>>()
        .map(|ConnectInfo(address)| address.ip().to_canonical().to_string())
}

/// The credentials of a call.
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

/// Returns whose the credentials are. Records refusals; repeated failures are slowed, then refused for a while.
async fn principal(callers: &Callers, client_address: Option<&str>, given: Given) -> Result<Principal, Status> {
    let attempt = |name: &str| client_address.map(|address| Attempt::new(address, name));
    let (found, name, refusal) = match given {
        Given::Token(token) => (
            callers.authenticator.authenticate(attempt("").as_ref(), &token).await,
            "(API token)".to_owned(),
            "this API token is wrong, expired or revoked; make a new one with `token create`",
        ),
        Given::Name(name, secret) => (
            callers.authenticator.authenticate_by_name(attempt(&name).as_ref(), &name, &secret).await,
            shown_name(&name),
            "wrong user name or password, or the user is disabled",
        ),
    };
    let (refused, detail) = match found {
        Ok(Some(principal)) => return Ok(principal),
        Ok(None) => (errors::unauthenticated(refusal), refusal),
        Err(UseCaseError::TooManyFailures(problem)) => {
            (errors::from_use_case(problem.into()), "too many failed sign-ins")
        }
        Err(problem) => return Err(errors::from_use_case(problem)),
    };
    let address = client_address.unwrap_or_default().to_owned();
    callers.audit.refused(Entry::refused_sign_in(name, address, "control port", detail)).await;
    Err(refused)
}

/// The caller, as found by the layer above.
pub fn caller<T>(request: &tonic::Request<T>) -> Result<Actor, Status> {
    // Without the layer nobody is anybody.
    request.extensions().get().cloned().ok_or_else(|| errors::unauthenticated("nobody was authenticated"))
}
