//! Asking a token service for a token. Protocol: Docker's "Token Authentication Specification".

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use http::{HeaderMap, HeaderValue, Method, header};
use reqwest::Response;
use serde::Deserialize;
use serde_json::Value;
use url::Url;

use super::{basic::basic, challenge::Bearer, token::Token};
use crate::control::{Credential, UpstreamPolicy};
use crate::upstream::{
    UpstreamError,
    health::account::AccountHealth,
    metrics::RequestKind,
    transport::{
        destination::place,
        exchange::{Ask, Exchange, within},
        redirect::{Answer, MAX_REDIRECTS, is_redirect, next},
    },
};

/// Longest answer of a token service that we read, in bytes; real ones have 2 to 5 thousand.
const MAX_ANSWER_BYTES: u64 = 64 * 1024;
/// Lifetime of a token if the answer does not say. The specification's default.
const DEFAULT_LIFETIME: Duration = Duration::from_secs(60);
/// Longest lifetime that is believed.
const MAX_LIFETIME: Duration = Duration::from_secs(24 * 60 * 60);

/// The answer, as loosely as real token services write it. `Debug` is left out: it would print the token.
#[derive(Deserialize)]
struct TokenAnswer {
    #[serde(default)]
    token: Value,
    #[serde(default)]
    access_token: Value,
    #[serde(default)]
    expires_in: Value,
}

/// The data that a token service may receive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trust {
    /// The group's credentials.
    Credentials,
    /// Nothing that is secret.
    Anonymous,
    /// Nothing: what it answers could be anybody's.
    Nothing,
}

/// Decides which credentials the token service at `realm` may receive for `upstream`: an upstream must not collect
/// credentials for others to use, nor send them in the clear.
pub(crate) fn trust(upstream: &UpstreamPolicy, realm: &Url) -> Trust {
    let Some(host) = realm.host_str() else { return Trust::Nothing };
    match (upstream.url.scheme(), realm.scheme()) {
        (_, "https") | ("http", "http") => {}
        _ => return Trust::Nothing,
    }
    let with_port = realm.port_or_known_default().map(|port| format!("{host}:{port}"));
    let is_listed = |listed: &String| listed.eq_ignore_ascii_case(host) || Some(listed) == with_port.as_ref();
    if upstream.url.host_str() == Some(host) || upstream.token_hosts.iter().any(is_listed) {
        Trust::Credentials
    } else {
        Trust::Anonymous
    }
}

/// The token service that a challenge names, and the data that it may receive.
pub(crate) fn realm(upstream: &UpstreamPolicy, bearer: &Bearer) -> Result<(Url, Trust), UpstreamError> {
    let unusable = |problem: &str| UpstreamError::TokenService {
        upstream: upstream.host.clone(),
        problem: problem.to_owned(),
        status: None,
        retry_after: None,
    };
    let mut realm: Url = bearer.realm.parse().map_err(|_| unusable("its address is not a URL"))?;
    // An upstream must not choose the credentials that are sent.
    let cleared = realm.set_username("").and_then(|()| realm.set_password(None));
    match (cleared, trust(upstream, &realm)) {
        (Err(()), _) | (_, Trust::Nothing) => Err(unusable("its address is not safe")),
        (Ok(()), trust) => Ok((realm, trust)),
    }
}

/// The subject of the outcome: an account's, and the content's that the token is for.
pub(crate) type Asker = (Arc<AccountHealth>, String);

/// Fetches a token. `credential` is sent as it is: whether it may be is for the caller to know, by [`trust`].
pub(crate) async fn fetch(
    exchange: Exchange,
    upstream: Arc<UpstreamPolicy>,
    realm: Url,
    bearer: Bearer,
    credential: Option<Arc<Credential>>,
    asker: Option<Asker>,
) -> Result<Token, UpstreamError> {
    let limit = exchange.timeouts.whole;
    let paused = asker.as_ref().and_then(|(health, _)| health.pause(RequestKind::Token, SystemTime::now()));
    if let Some(wait) = paused {
        let limited = UpstreamError::RateLimited { upstream: upstream.host.clone(), retry_after: Some(wait) };
        return Err(limited.at_token_service());
    }
    let asking = ask(&exchange, &upstream, realm, &bearer, credential.as_deref(), asker.as_ref());
    within(limit, &upstream.host, asking).await.map_err(UpstreamError::at_token_service)
}

async fn ask(
    exchange: &Exchange,
    policy: &Arc<UpstreamPolicy>,
    mut url: Url,
    bearer: &Bearer,
    credential: Option<&Credential>,
    asker: Option<&Asker>,
) -> Result<Token, UpstreamError> {
    let upstream = &policy.host;
    let mut headers = HeaderMap::from_iter([(header::ACCEPT, HeaderValue::from_static("application/json"))]);
    {
        let mut query = url.query_pairs_mut();
        if let Some(service) = &bearer.service {
            query.append_pair("service", service);
        }
        if let Some(scope) = &bearer.scope {
            query.append_pair("scope", scope);
        }
        if let Some(credential) = credential {
            query.append_pair("account", credential.username());
        }
    }
    if let Some(credential) = credential {
        headers.insert(header::AUTHORIZATION, basic(upstream, credential)?);
    }
    let ask = Ask { kind: RequestKind::Token, method: Method::GET, url, headers };
    let response = follow(exchange, policy, ask, credential.is_some(), asker).await?;
    let response = exchange.accepted(upstream, Answer { response, from_upstream: true }, "token").await?;
    let body = exchange.whole(upstream, response, MAX_ANSWER_BYTES, None).await?;
    read(&body).map_err(|problem| UpstreamError::BadAnswer { upstream: upstream.clone(), problem: problem.to_owned() })
}

/// Sends the request and follows redirects. A redirect takes credentials along, so that with them it is followed only to
/// where they may be sent.
async fn follow(
    exchange: &Exchange,
    policy: &Arc<UpstreamPolicy>,
    mut ask: Ask,
    has_credential: bool,
    asker: Option<&Asker>,
) -> Result<Response, UpstreamError> {
    let bad = |problem| UpstreamError::BadAnswer { upstream: policy.host.clone(), problem };
    for _ in 0..=MAX_REDIRECTS {
        let answered = exchange.send_patiently(policy, ask.clone()).await;
        if let Some((health, content)) = asker {
            let check = health.observe(policy, (RequestKind::Token, Some(content)), &answered);
            exchange.check_host_meanwhile(policy, check);
        }
        let response = answered?;
        if !is_redirect(response.status()) {
            return Ok(response);
        }
        let to = next(&ask.url, response.headers()).map_err(bad)?;
        if has_credential && to.origin() != ask.url.origin() && trust(policy, &to) != Trust::Credentials {
            let host = place(&to);
            return Err(bad(format!("it redirects to {host}, which is not listed among the upstream's token hosts")));
        }
        ask.url = to;
        exchange.discard(&policy.host, response).await;
    }
    Err(bad(format!("more than {MAX_REDIRECTS} redirects")))
}

fn read(body: &[u8]) -> Result<Token, &'static str> {
    let answer: TokenAnswer = serde_json::from_slice(body).map_err(|_| "its answer is not the JSON of a token")?;
    let tokens = [&answer.token, &answer.access_token].into_iter().filter_map(Value::as_str);
    let token = tokens.map(str::trim).find(|token| !token.is_empty()).ok_or("its answer holds no token")?;
    let mut header = HeaderValue::try_from(format!("Bearer {token}")).map_err(|_| "its token fits in no header")?;
    header.set_sensitive(true);
    Ok(Token::new(header, lifetime(&answer.expires_in)))
}

/// The lifetime that `expires_in` tells: a number of seconds, also as a string or with a fraction. Whatever else it is,
/// the specification's default holds.
fn lifetime(expires_in: &Value) -> Duration {
    let seconds = expires_in.as_f64().or_else(|| expires_in.as_str()?.trim().parse().ok());
    let told = seconds.filter(|seconds| *seconds > 0.0);
    told.map_or(DEFAULT_LIFETIME, |seconds| Duration::from_secs_f64(seconds.min(MAX_LIFETIME.as_secs_f64())))
}

#[cfg(test)]
mod tests;
