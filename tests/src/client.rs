//! A registry client of the product that hides nothing: every header of every answer is there to be looked at.

use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddr},
    sync::Mutex,
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode};
use reqwest::RequestBuilder;
use serde_json::Value;

use crate::image::{DOCKER_LIST, DOCKER_MANIFEST, OCI_INDEX, OCI_MANIFEST};

/// The media types that Docker Engine accepts, each a header line of its own.
pub const ENGINE_ACCEPTS: [&str; 4] = [DOCKER_MANIFEST, DOCKER_LIST, OCI_INDEX, OCI_MANIFEST];

/// Pulls from one group, as one user or as nobody.
pub struct Client {
    http: reqwest::Client,
    base: String,
    group: String,
    credentials: Option<(String, String)>,
    tokens: Mutex<HashMap<String, String>>,
}

/// An answer whose body has been read to the end.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Its status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its whole body.
    pub body: Bytes,
}

impl Answer {
    /// A header as text, or empty.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// `X-Cache`.
    pub fn cache(&self) -> &str {
        self.header("x-cache")
    }

    /// The body as JSON.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The same, which has to have this status.
    #[track_caller]
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.status.as_u16(), status, "{}", self.describe());
        self
    }

    /// Asserts a registry error: status, code, and the body's shape.
    #[track_caller]
    pub fn expect_error(self, status: u16, code: &str) -> Self {
        assert_eq!(self.status.as_u16(), status, "{}", self.describe());
        let errors = self.json()["errors"].clone();
        assert_eq!(errors[0]["code"], code, "{}", self.describe());
        assert!(errors[0]["message"].as_str().is_some_and(|text| !text.is_empty()), "{errors}");
        assert!(self.header("content-type").starts_with("application/json"), "{}", self.describe());
        self
    }

    fn describe(&self) -> String {
        let body: String = String::from_utf8_lossy(&self.body).chars().take(400).collect();
        format!("{} {:?}\n{body}", self.status, self.headers)
    }
}

/// A plain client without proxies from the environment, redirects or keep-alive surprises.
pub fn http() -> reqwest::Client {
    builder().build().unwrap()
}

/// The same, to add to.
pub fn builder() -> reqwest::ClientBuilder {
    // Somebody else in this process may have been first: the same provider.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let builder = reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none());
    builder.timeout(Duration::from_secs(90))
}

/// Reads an answer to its end; an `Err` is a body that did not end cleanly, or no answer at all.
pub async fn read(response: Result<reqwest::Response, reqwest::Error>) -> Result<Answer, reqwest::Error> {
    let response = response?;
    let (status, headers) = (response.status(), response.headers().clone());
    Ok(Answer { status, headers, body: response.bytes().await? })
}

/// The sum of all samples of a metric at this metrics port whose labels hold all of `labels` (`route="blob"`).
pub async fn metric(port: SocketAddr, name: &str, labels: &[&str]) -> f64 {
    let page = read(http().get(format!("http://{port}/metrics")).send().await).await.unwrap();
    let text = String::from_utf8(page.expect(200).body.to_vec()).unwrap();
    let fits = |line: &&str| {
        line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' ']))
            && labels.iter().all(|label| line.contains(label))
    };
    text.lines().filter(fits).map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()).sum()
}

impl Client {
    /// A client of the registry at `base` (`http://127.0.0.1:PORT`).
    pub fn new(base: &str, group: &str, credentials: Option<(String, String)>) -> Self {
        Self { http: http(), base: base.into(), group: group.into(), credentials, tokens: Mutex::default() }
    }

    /// Does the same with another way to connect.
    pub fn with_http(self, http: reqwest::Client) -> Self {
        Self { http, ..self }
    }

    /// Does the same from another of this machine's addresses: all of 127.0.0.0/8 are.
    pub fn from_address(self, local: IpAddr) -> Self {
        self.with_http(builder().local_address(local).build().unwrap())
    }

    /// The URL of something of an image: `manifests/latest`, `blobs/sha256:…`.
    pub fn url(&self, image: &str, rest: &str) -> String {
        format!("{}/v2/{}/dependency_proxy/containers/{image}/{rest}", self.base, self.group)
    }

    /// Asks `/jwt/auth` for a token to pull `image`.
    pub async fn sign_in(&self, image: &str) -> Answer {
        self.try_sign_in(image).await.unwrap()
    }

    /// The same, which may not be answered.
    pub async fn try_sign_in(&self, image: &str) -> Result<Answer, reqwest::Error> {
        let scope = format!("repository:{}/dependency_proxy/containers/{image}:pull", self.group);
        let url = format!("{}/jwt/auth", self.base);
        let mut request = self.http.get(url).query(&[("service", "dependency_proxy"), ("scope", &scope)]);
        if let Some((name, password)) = &self.credentials {
            request = request.basic_auth(name, Some(password));
        }
        read(request.send().await).await
    }

    /// The token to pull `image`, asked for once.
    pub async fn token(&self, image: &str) -> String {
        if let Some(token) = self.tokens.lock().unwrap().get(image) {
            return token.clone();
        }
        let answer = self.sign_in(image).await.expect(200);
        let token = answer.json()["token"].as_str().unwrap().to_owned();
        self.tokens.lock().unwrap().insert(image.into(), token.clone());
        token
    }

    /// A request with a token for `image`, to be completed and sent.
    pub async fn request(&self, method: Method, image: &str, rest: &str) -> RequestBuilder {
        let token = self.token(image).await;
        self.http.request(method, self.url(image, rest)).bearer_auth(token)
    }

    /// Sends a request for something of `image`, with header lines, and reads the answer.
    pub async fn try_ask(
        &self,
        method: Method,
        image: &str,
        rest: &str,
        headers: &[(&str, &str)],
    ) -> Result<Answer, reqwest::Error> {
        let mut request = self.request(method, image, rest).await;
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        read(request.send().await).await
    }

    /// `GET`s something of `image` where signing in may fail, too; nothing is tried again.
    pub async fn try_pull(&self, image: &str, rest: &str, headers: &[(&str, &str)]) -> Result<Answer, reqwest::Error> {
        if !self.tokens.lock().unwrap().contains_key(image) {
            let answer = self.try_sign_in(image).await?;
            if answer.status != StatusCode::OK {
                return Ok(answer);
            }
            let token = answer.json()["token"].as_str().unwrap().to_owned();
            self.tokens.lock().unwrap().insert(image.into(), token);
        }
        self.try_ask(Method::GET, image, rest, headers).await
    }

    /// The same, which has to be answered to the end.
    pub async fn ask(&self, method: Method, image: &str, rest: &str, headers: &[(&str, &str)]) -> Answer {
        let answer = self.try_ask(method, image, rest, headers).await;
        answer.unwrap_or_else(|error| panic!("{image}/{rest}: {error:?}"))
    }

    /// `GET`s a manifest as Docker Engine does.
    pub async fn manifest(&self, image: &str, reference: &str) -> Answer {
        self.ask(Method::GET, image, &format!("manifests/{reference}"), &ENGINE_ACCEPTS.map(|kind| ("accept", kind)))
            .await
    }

    /// `HEAD`s a manifest as Docker Engine does.
    pub async fn head_manifest(&self, image: &str, reference: &str) -> Answer {
        self.ask(Method::HEAD, image, &format!("manifests/{reference}"), &ENGINE_ACCEPTS.map(|kind| ("accept", kind)))
            .await
    }

    /// `GET`s a blob.
    pub async fn blob(&self, image: &str, digest: &str) -> Answer {
        self.ask(Method::GET, image, &format!("blobs/{digest}"), &[]).await
    }

    /// `GET`s a blob that has been pulled, as soon as it is committed: a client has the last byte a moment before.
    pub async fn blob_hit(&self, image: &str, digest: &str) -> Answer {
        let started = Instant::now();
        loop {
            let answer = self.blob(image, digest).await.expect(200);
            if answer.cache() == "hit" {
                return answer;
            }
            assert!(started.elapsed() < Duration::from_secs(10), "still {answer:?}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// `GET`s a blob that may break off.
    pub async fn try_blob(&self, image: &str, digest: &str) -> Result<Answer, reqwest::Error> {
        self.try_ask(Method::GET, image, &format!("blobs/{digest}"), &[]).await
    }

    /// `GET`s part of a blob: `bytes=0-99`.
    pub async fn blob_range(&self, image: &str, digest: &str, range: &str) -> Answer {
        self.ask(Method::GET, image, &format!("blobs/{digest}"), &[("range", range)]).await
    }

    /// Opens a blob and leaves the body to be read piece by piece.
    pub async fn open_blob(&self, image: &str, digest: &str, headers: &[(&str, &str)]) -> reqwest::Response {
        let mut request = self.request(Method::GET, image, &format!("blobs/{digest}")).await;
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.send().await.unwrap()
    }
}
