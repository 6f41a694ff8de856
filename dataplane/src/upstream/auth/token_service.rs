//! Asking a token service for a token. Protocol: Docker's "Token Authentication Specification".

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use http::{HeaderMap, HeaderValue, Method, header};
use serde::Deserialize;
use url::Url;

use super::{authorization::basic, challenge::Bearer, token::Token};
use crate::control::{Credential, UpstreamPolicy};
use crate::upstream::{
    UpstreamError,
    health::account::Standing,
    manifest::check_status,
    metrics::RequestKind,
    transport::exchange::{Ask, Exchange, within},
};

/// Longest answer of a token service that we read, in bytes; real ones have 2 to 5 thousand.
const MAX_ANSWER_BYTES: u64 = 64 * 1024;
/// How long a token is good if the answer does not say. The specification's default.
const DEFAULT_LIFETIME: Duration = Duration::from_secs(60);
/// Longest lifetime that is believed.
const MAX_LIFETIME: Duration = Duration::from_secs(24 * 60 * 60);

/// The answer. `Debug` is left out: it would print the token.
#[derive(Deserialize)]
struct TokenAnswer {
    #[serde(default)]
    token: Option<String>,
    #[serde(default)]
    access_token: Option<String>,
    #[serde(default)]
    expires_in: Option<u64>,
}

/// What a token service may be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trust {
    /// The group's credentials.
    Credentials,
    /// Nothing that is secret.
    Anonymous,
    /// Nothing: what it answers could be anybody's.
    Nothing,
}

/// What the token service at `realm` may be told for `upstream`: an upstream must not collect credentials for others
/// to use, nor send them in the clear.
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

/// Where a challenge sends us for a token, and what that place may be told.
pub(crate) fn realm(upstream: &UpstreamPolicy, bearer: &Bearer) -> Result<(Url, Trust), UpstreamError> {
    let unusable = |problem: &str| UpstreamError::TokenService {
        upstream: upstream.host.clone(),
        problem: problem.to_owned(),
        status: None,
        retry_after: None,
    };
    let mut realm: Url = bearer.realm.parse().map_err(|_| unusable("its address is no URL"))?;
    // An upstream must not choose the credentials that are sent.
    let cleared = realm.set_username("").and_then(|()| realm.set_password(None));
    match (cleared, trust(upstream, &realm)) {
        (Err(()), _) | (_, Trust::Nothing) => Err(unusable("its address is not a safe one")),
        (Ok(()), trust) => Ok((realm, trust)),
    }
}

/// Fetches a token. `credential` is sent as it is: whether it may be is the caller's to know, by [`trust`].
pub(crate) async fn fetch(
    exchange: Exchange,
    upstream: Arc<UpstreamPolicy>,
    realm: Url,
    bearer: Bearer,
    credential: Option<Arc<Credential>>,
    standing: Option<Arc<Standing>>,
) -> Result<Token, UpstreamError> {
    let limit = exchange.timeouts.whole;
    let paused = standing.as_ref().and_then(|standing| standing.pause(RequestKind::Token, SystemTime::now()));
    if let Some(wait) = paused {
        let limited = UpstreamError::RateLimited { upstream: upstream.host.clone(), retry_after: Some(wait) };
        return Err(limited.at_token_service());
    }
    let asking = ask(&exchange, &upstream, realm, &bearer, credential.as_deref(), standing.as_deref());
    within(limit, &upstream.host, asking).await.map_err(UpstreamError::at_token_service)
}

async fn ask(
    exchange: &Exchange,
    policy: &Arc<UpstreamPolicy>,
    mut url: Url,
    bearer: &Bearer,
    credential: Option<&Credential>,
    standing: Option<&Standing>,
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
    // A redirect is followed nowhere: it would take the credentials along.
    let answered = exchange.send_patiently(policy, ask).await;
    if let Some(standing) = standing {
        standing.observe(policy, RequestKind::Token, &answered);
    }
    let response = check_status(answered?, upstream, true)?;
    let body = exchange.whole(upstream, response, MAX_ANSWER_BYTES).await?;
    read(&body).map_err(|problem| UpstreamError::BadAnswer { upstream: upstream.clone(), problem: problem.to_owned() })
}

fn read(body: &[u8]) -> Result<Token, &'static str> {
    let answer: TokenAnswer = serde_json::from_slice(body).map_err(|_| "its answer is not the JSON of a token")?;
    let token = [answer.token, answer.access_token].into_iter().flatten().find(|token| !token.is_empty());
    let token = token.ok_or("its answer holds no token")?;
    let mut header = HeaderValue::try_from(format!("Bearer {token}")).map_err(|_| "its token fits in no header")?;
    header.set_sensitive(true);
    let lifetime = answer.expires_in.filter(|seconds| *seconds > 0).map_or(DEFAULT_LIFETIME, Duration::from_secs);
    Ok(Token::new(header, lifetime.min(MAX_LIFETIME)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn upstream(url: &str) -> UpstreamPolicy {
        let token_hosts = vec!["auth.docker.io".to_owned(), "tokens.example:8443".to_owned()];
        UpstreamPolicy {
            host: "docker.io".parse().unwrap(),
            url: url.parse().unwrap(),
            token_hosts,
            ca_pem: String::new(),
            redirect_hosts: Vec::new(),
            reserve_percent: 10,
        }
    }

    #[test]
    fn credentials_are_for_token_services_that_belong_to_the_upstream() {
        let hub = upstream("https://registry-1.docker.io");
        let plain = upstream("http://registry.example:5000");
        for (upstream, realm, expected) in [
            (&hub, "https://auth.docker.io/token", Trust::Credentials),
            (&hub, "https://registry-1.docker.io/token", Trust::Credentials),
            (&hub, "https://tokens.example:8443/token", Trust::Credentials),
            (&hub, "https://tokens.example/token", Trust::Anonymous),
            (&hub, "https://auth.docker.io.evil.example/token", Trust::Anonymous),
            (&hub, "https://evil.example/auth.docker.io", Trust::Anonymous),
            (&hub, "https://auth.docker.io@evil.example/token", Trust::Anonymous),
            (&hub, "http://auth.docker.io/token", Trust::Nothing),
            (&hub, "file:///etc/passwd", Trust::Nothing),
            (&plain, "http://registry.example:5001/token", Trust::Credentials),
            (&plain, "https://registry.example/token", Trust::Credentials),
            (&plain, "http://evil.example/token", Trust::Anonymous),
        ] {
            assert_eq!(trust(upstream, &realm.parse().unwrap()), expected, "{realm}");
        }
    }

    #[test]
    fn both_names_of_the_token_are_read_and_junk_is_not() {
        let header = |body: &str| read(body.as_bytes()).ok().map(|token| token.header.to_str().unwrap().to_owned());
        assert_eq!(header(r#"{"token":"a","expires_in":300}"#).as_deref(), Some("Bearer a"));
        assert_eq!(header(r#"{"access_token":"b"}"#).as_deref(), Some("Bearer b"));
        assert_eq!(header(r#"{"token":"","access_token":"b"}"#).as_deref(), Some("Bearer b"));
        assert_eq!(header(r#"{"token":"a","expires_in":null,"other":[]}"#).as_deref(), Some("Bearer a"));
        for body in ["", "{}", "[]", "<html>", r#"{"token":""}"#, r#"{"token":"a\nb"}"#, r#"{"token":1}"#] {
            assert_eq!(header(body), None, "{body}");
        }
    }

    proptest! {
        #[test]
        fn no_answer_panics(body in "\\PC*", expires_in in any::<u64>()) {
            let _ = read(body.as_bytes());
            let answer = format!(r#"{{"token":"a","expires_in":{expires_in}}}"#);
            prop_assert!(read(answer.as_bytes()).is_ok());
        }
    }
}
