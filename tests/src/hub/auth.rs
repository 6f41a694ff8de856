//! The token service, and what the registry checks of a token.

use std::time::Instant;

use base64::{Engine, prelude::BASE64_STANDARD};
use http::{HeaderMap, header};
use serde_json::{Value, json};

use super::Shared;

/// The authentication of clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuthMode {
    /// Not at all.
    Open,
    /// By a token from the token service; without credentials it is good for what is public.
    Bearer,
    /// By name and password in every request.
    Basic,
}

/// The URL of the token service in the challenge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Realm {
    /// The registry's own address.
    Same,
    /// The separate listener, called by this host name: `127.0.0.1` or `localhost`.
    Separate(String),
}

/// The access that a token grants.
pub(super) struct Granted {
    /// Nobody, if signed in without credentials.
    user: Option<String>,
    repositories: Vec<String>,
    until: Instant,
}

/// The decision on a request.
pub(super) enum Verdict {
    Allowed,
    /// 401 with this challenge.
    Challenged(String),
}

impl Shared {
    /// Returns the answer of the token service: status and body.
    pub(super) fn grant(&self, headers: &HeaderMap, query: &str) -> (u16, Value) {
        let user = match basic(headers) {
            None => None,
            Some((name, password)) if self.users.lock().unwrap().get(&name) == Some(&password) => Some(name),
            Some(_) => return (401, json!({"details": "incorrect username or password"})),
        };
        let repositories = url::form_urlencoded::parse(query.as_bytes())
            .filter(|(key, _)| key == "scope")
            .filter_map(|(_, scope)| {
                let name = scope.strip_prefix("repository:")?.strip_suffix(":pull")?;
                self.readable(name, user.as_deref()).then(|| name.to_owned())
            })
            .collect();
        let token = uuid::Uuid::now_v7().simple().to_string();
        let lifetime = self.options.token_lifetime;
        self.tokens
            .lock()
            .unwrap()
            .insert(token.clone(), Granted { user, repositories, until: Instant::now() + lifetime });
        (200, json!({"token": token, "access_token": token, "expires_in": lifetime.as_secs()}))
    }

    /// Decides whether the registry accepts a request for `repository` (empty: none in particular).
    pub(super) fn check(&self, headers: &HeaderMap, repository: &str) -> Verdict {
        let allowed = match self.options.auth {
            AuthMode::Open => true,
            AuthMode::Basic => basic(headers).is_some_and(|(name, password)| {
                self.users.lock().unwrap().get(&name) == Some(&password) && self.readable(repository, Some(&name))
            }),
            AuthMode::Bearer => self.bearer_is_good(headers, repository),
        };
        if allowed { Verdict::Allowed } else { Verdict::Challenged(self.challenge(headers, repository)) }
    }

    fn bearer_is_good(&self, headers: &HeaderMap, repository: &str) -> bool {
        let tokens = self.tokens.lock().unwrap();
        let granted = headers
            .get(header::AUTHORIZATION)
            .and_then(|value| tokens.get(value.to_str().ok()?.strip_prefix("Bearer ")?))
            .filter(|granted| granted.until > Instant::now());
        granted.is_some_and(|granted| {
            repository.is_empty()
                || granted.repositories.iter().any(|name| name == repository)
                    && self.readable(repository, granted.user.as_deref())
        })
    }

    fn challenge(&self, headers: &HeaderMap, repository: &str) -> String {
        if self.options.auth == AuthMode::Basic {
            return r#"Basic realm="hub""#.into();
        }
        let scheme = if self.options.tls.is_some() { "https" } else { "http" };
        let realm = match &self.options.realm {
            Realm::Same => format!("{scheme}://{}/token", self.registry),
            Realm::Separate(host) => format!("http://{host}:{}/token", self.token_service.port()),
        };
        let scope =
            if repository.is_empty() { String::new() } else { format!(r#",scope="repository:{repository}:pull""#) };
        // As Docker Hub has it: a token that was good for less than what was asked.
        let error = if headers.contains_key(header::AUTHORIZATION) { r#",error="insufficient_scope""# } else { "" };
        format!(r#"Bearer realm="{realm}",service="hub.test"{scope}{error}"#)
    }

    fn readable(&self, repository: &str, user: Option<&str>) -> bool {
        let content = self.content.lock().unwrap();
        let readers = content.repositories.get(repository).and_then(|repository| repository.readers.as_ref());
        readers.is_none_or(|readers| user.is_some_and(|user| readers.contains(user)))
    }
}

fn basic(headers: &HeaderMap) -> Option<(String, String)> {
    let encoded = headers.get(header::AUTHORIZATION)?.to_str().ok()?.strip_prefix("Basic ")?;
    let decoded = String::from_utf8(BASE64_STANDARD.decode(encoded).ok()?).ok()?;
    let (name, password) = decoded.split_once(':')?;
    Some((name.into(), password.into()))
}
