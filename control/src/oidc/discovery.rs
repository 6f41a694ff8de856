//! Asking an issuer for its keys: its description first (OpenID Connect Discovery 1.0), then the key set it names.
//!
//! An issuer gets three seconds and a megabyte, and sends us to no other host: neither by a redirect nor by the key
//! set's address. https trusts the system's certificates (`SSL_CERT_FILE` and `SSL_CERT_DIR` replace them), proxies are
//! taken from the environment.

use std::time::Duration;

use reqwest::{Client, Response, redirect::Policy};
use serde::Deserialize;
use tokio::time::timeout;
use url::Url;

use super::{IssuerUrl, key_set::KeySet};

/// Timeout for a connection, with TLS.
const CONNECT_TIME: Duration = Duration::from_secs(2);
/// Timeout for the whole request. Less than what a node waits for a sign-in.
const WHOLE_TIME: Duration = Duration::from_secs(3);
/// Longest answer that is read, in bytes.
const MAX_BODY_BYTES: usize = 1024 * 1024;

/// The keys cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// No client can be set up.
    #[error("https is not possible here; are the system's CA certificates installed? {}", causes(.0))]
    Setup(reqwest::Error),
    /// No answer.
    #[error("no answer: {}", causes(.0))]
    Http(#[from] reqwest::Error),
    /// Too slow.
    #[error("no answer within {} seconds", WHOLE_TIME.as_secs())]
    Timeout,
    /// Not a success.
    #[error("{url} answers {status}")]
    Status {
        /// The requested URL.
        url: Url,
        /// Fetches an answer; does not follow redirects.
        status: u16,
    },
    /// Too much.
    #[error("{url} answers with more than {MAX_BODY_BYTES} bytes")]
    TooLong {
        /// The requested URL.
        url: Url,
    },
    /// Not what it should be.
    #[error("{url} answers with something else than {wanted}")]
    Malformed {
        /// The requested URL.
        url: Url,
        /// The expected value.
        wanted: &'static str,
    },
    /// The description is of another issuer.
    #[error("the description there is of issuer {said:?}")]
    OtherIssuer {
        /// The issuer that it is of.
        said: String,
    },
    /// The keys are somewhere else.
    #[error("its keys are at {url}, which is not the issuer's own scheme, host and port")]
    ForeignKeys {
        /// The URL.
        url: String,
    },
}

/// An error with what caused it: the client's own words do not say that a certificate is not trusted.
fn causes(error: &reqwest::Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

/// The needed fields of an issuer's description.
#[derive(Deserialize)]
struct Description {
    issuer: String,
    jwks_uri: String,
}

/// The issuer's keys as it publishes them now.
pub async fn fetch(issuer: &IssuerUrl) -> Result<KeySet, FetchError> {
    timeout(WHOLE_TIME, fetch_unbounded(issuer)).await.map_err(|_| FetchError::Timeout)?
}

async fn fetch_unbounded(issuer: &IssuerUrl) -> Result<KeySet, FetchError> {
    // Made anew each time: that is seldom, and so new CA certificates are taken up.
    let http = Client::builder()
        .redirect(Policy::none())
        .referer(false)
        .connect_timeout(CONNECT_TIME)
        .pool_max_idle_per_host(1)
        .user_agent(concat!("roadstead/", env!("CARGO_PKG_VERSION")))
        .build()
        .map_err(FetchError::Setup)?;
    let url = issuer.discovery();
    let body = get(&http, &url).await?;
    let description: Description = serde_json::from_slice(&body)
        .map_err(|_| FetchError::Malformed { url, wanted: "an OpenID Connect description" })?;
    if description.issuer != issuer.as_str() {
        return Err(FetchError::OtherIssuer { said: description.issuer.chars().take(255).collect() });
    }
    let url = match Url::parse(&description.jwks_uri) {
        Ok(url) if url.origin() == issuer.origin() => url,
        _ => return Err(FetchError::ForeignKeys { url: description.jwks_uri.chars().take(255).collect() }),
    };
    let body = get(&http, &url).await?;
    KeySet::parse(&body).map_err(|_| FetchError::Malformed { url, wanted: "a set of keys" })
}

async fn get(http: &Client, url: &Url) -> Result<Vec<u8>, FetchError> {
    let mut answer: Response = http.get(url.clone()).header("accept", "application/json").send().await?;
    if !answer.status().is_success() {
        return Err(FetchError::Status { url: url.clone(), status: answer.status().as_u16() });
    }
    let mut body = Vec::new();
    while let Some(piece) = answer.chunk().await? {
        if body.len() + piece.len() > MAX_BODY_BYTES {
            return Err(FetchError::TooLong { url: url.clone() });
        }
        body.extend_from_slice(&piece);
    }
    Ok(body)
}
