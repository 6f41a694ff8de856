//! An issuer of OpenID Connect tokens on loopback, well-behaved or not.

use std::sync::{
    Arc, LazyLock, Mutex,
    atomic::{AtomicUsize, Ordering},
};

use axum::{
    Json, Router,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use jsonwebtoken::{Algorithm, EncodingKey, Header, jwk::Jwk};
use serde_json::{Value, json};
use tokio::{net::TcpListener, task::JoinHandle};

use crate::harness::START_MS;

/// The faults of the issuer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    None,
    /// 503.
    Down,
    /// Never answers.
    Hangs,
    /// Sends us to another place for its description.
    Redirects,
    /// Says that it is another issuer.
    OtherIssuer,
    /// Names keys on another host.
    ForeignKeys,
    /// Never stops sending.
    Huge,
    /// Sends a page for people.
    WebPage,
}

/// A key that signs, and its id.
#[derive(Clone)]
pub struct Signer {
    pub id: String,
    pub algorithm: Algorithm,
    pub key: EncodingKey,
}

/// Made for these tests, and used nowhere else.
static RSA: LazyLock<EncodingKey> =
    LazyLock::new(|| EncodingKey::from_rsa_pem(include_bytes!("rsa_test_key.pem")).unwrap());

impl Signer {
    pub fn rsa(id: &str) -> Self {
        Self { id: id.into(), algorithm: Algorithm::RS256, key: RSA.clone() }
    }

    /// A new key each time.
    pub fn ec(id: &str) -> Self {
        let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
        Self { id: id.into(), algorithm: Algorithm::ES256, key: EncodingKey::from_ec_der(&key.serialize_der()) }
    }

    pub fn jwk(&self) -> Value {
        let mut jwk = serde_json::to_value(Jwk::from_encoding_key(&self.key, self.algorithm).unwrap()).unwrap();
        jwk["kid"] = self.id.clone().into();
        jwk["use"] = "sig".into();
        jwk
    }

    pub fn sign(&self, claims: &Value) -> String {
        let header = Header { kid: Some(self.id.clone()), ..Header::new(self.algorithm) };
        jsonwebtoken::encode(&header, claims, &self.key).unwrap()
    }
}

struct Shared {
    url: String,
    keys: Mutex<Vec<Value>>,
    fault: Mutex<Fault>,
    asked: AtomicUsize,
}

/// A running issuer.
pub struct Issuer {
    shared: Arc<Shared>,
    server: JoinHandle<()>,
}

impl Drop for Issuer {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Issuer {
    pub async fn start(signers: &[&Signer]) -> Self {
        // What the executable does at its start.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let shared = Arc::new(Shared {
            url: format!("http://{}", listener.local_addr().unwrap()),
            keys: Mutex::default(),
            fault: Mutex::new(Fault::None),
            asked: AtomicUsize::new(0),
        });
        let router = Router::new()
            .route("/.well-known/openid-configuration", get(describe))
            .route("/keys", get(keys))
            .with_state(shared.clone());
        let server = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        let issuer = Self { shared, server };
        issuer.publish(signers);
        issuer
    }

    pub fn url(&self) -> &str {
        &self.shared.url
    }

    /// Publishes these keys and no others.
    pub fn publish(&self, signers: &[&Signer]) {
        *self.shared.keys.lock().unwrap() = signers.iter().map(|signer| signer.jwk()).collect();
    }

    pub fn misbehave(&self, fault: Fault) {
        *self.shared.fault.lock().unwrap() = fault;
    }

    /// Returns the number of requests for its description.
    pub fn asked(&self) -> usize {
        self.shared.asked.load(Ordering::SeqCst)
    }

    /// Returns the claims of a valid token of a job of acme/app.
    pub fn claims(&self) -> Value {
        let now = START_MS / 1000;
        json!({
            "iss": self.url(), "aud": "roadstead", "sub": "project_path:acme/app:ref_type:branch:ref:main",
            "project_path": "acme/app", "project_id": 42, "iat": now, "nbf": now, "exp": now + 300,
        })
    }

    /// The same, with one claim different; without it, if that is null.
    pub fn claims_with(&self, claim: &str, value: Value) -> Value {
        let mut claims = self.claims();
        if value.is_null() {
            claims.as_object_mut().unwrap().remove(claim);
        } else {
            claims[claim] = value;
        }
        claims
    }
}

async fn describe(State(issuer): State<Arc<Shared>>) -> Response {
    issuer.asked.fetch_add(1, Ordering::SeqCst);
    let fault = *issuer.fault.lock().unwrap();
    let description = |issuer: &str, keys: &str| Json(json!({ "issuer": issuer, "jwks_uri": keys })).into_response();
    let keys = format!("{}/keys", issuer.url);
    match fault {
        Fault::None => description(&issuer.url, &keys),
        Fault::Down => StatusCode::SERVICE_UNAVAILABLE.into_response(),
        Fault::Hangs => std::future::pending().await,
        Fault::Redirects => (StatusCode::FOUND, [(header::LOCATION, keys)]).into_response(),
        Fault::OtherIssuer => description("https://gitlab.com", &keys),
        Fault::ForeignKeys => description(&issuer.url, &keys.replace("127.0.0.1", "localhost")),
        Fault::Huge => " ".repeat(1024 * 1024 + 1).into_response(),
        Fault::WebPage => "<html>Sign in</html>".into_response(),
    }
}

async fn keys(State(issuer): State<Arc<Shared>>) -> Json<Value> {
    Json(json!({ "keys": *issuer.keys.lock().unwrap() }))
}
