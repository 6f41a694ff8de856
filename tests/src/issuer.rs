//! An OpenID Connect issuer, as GitLab or GitHub are for their CI jobs: describes itself, publishes keys, signs tokens.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{SystemTime, UNIX_EPOCH},
};

use axum::{Json, Router, extract::State, routing::get};
use jsonwebtoken::{Algorithm, EncodingKey, Header, jwk::Jwk};
use serde_json::{Value, json};
use tokio::{net::TcpListener, task::JoinHandle};

/// A key that signs, and its id.
#[derive(Clone)]
pub struct Signer {
    id: String,
    algorithm: Algorithm,
    key: EncodingKey,
}

impl Signer {
    /// The RSA key of the tests; used nowhere else.
    pub fn rsa(id: &str) -> Self {
        let pem = include_bytes!("../../control/tests/control/rsa_test_key.pem");
        Self { id: id.into(), algorithm: Algorithm::RS256, key: EncodingKey::from_rsa_pem(pem).unwrap() }
    }

    /// A new elliptic-curve key.
    pub fn ec(id: &str) -> Self {
        let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
        Self { id: id.into(), algorithm: Algorithm::ES256, key: EncodingKey::from_ec_der(&key.serialize_der()) }
    }

    /// The public key as issuers publish it.
    pub fn jwk(&self) -> Value {
        let mut jwk = serde_json::to_value(Jwk::from_encoding_key(&self.key, self.algorithm).unwrap()).unwrap();
        (jwk["kid"], jwk["use"]) = (self.id.clone().into(), "sig".into());
        jwk
    }

    /// A token.
    pub fn sign(&self, claims: &Value) -> String {
        let header = Header { kid: Some(self.id.clone()), ..Header::new(self.algorithm) };
        jsonwebtoken::encode(&header, claims, &self.key).unwrap()
    }
}

struct Shared {
    url: String,
    keys: Mutex<Vec<Value>>,
    asked: AtomicUsize,
}

/// A running issuer; gone when dropped.
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
    /// Starts one that publishes these keys.
    pub async fn start(signers: &[&Signer]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let shared = Arc::new(Shared { url, keys: Mutex::default(), asked: AtomicUsize::new(0) });
        let router = Router::new()
            .route("/.well-known/openid-configuration", get(describe))
            .route("/keys", get(keys))
            .with_state(Arc::clone(&shared));
        let server = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        let issuer = Self { shared, server };
        issuer.publish(signers);
        issuer
    }

    /// Returns the claim `iss` of its tokens.
    pub fn url(&self) -> &str {
        &self.shared.url
    }

    /// Publishes these keys and no others.
    pub fn publish(&self, signers: &[&Signer]) {
        *self.shared.keys.lock().unwrap() = signers.iter().map(|signer| signer.jwk()).collect();
    }

    /// Returns the number of requests for its description.
    pub fn asked(&self) -> usize {
        self.shared.asked.load(Ordering::SeqCst)
    }

    /// Returns the claims of a valid token of a job of `project`.
    pub fn claims(&self, project: &str) -> Value {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        json!({
            "iss": self.url(), "aud": "roadstead", "sub": format!("project_path:{project}:ref_type:branch:ref:main"),
            "project_path": project, "project_id": 42, "iat": now, "nbf": now, "exp": now + 300,
        })
    }

    /// Does the same with another value of one claim.
    pub fn claims_with(&self, project: &str, claim: &str, value: Value) -> Value {
        let mut claims = self.claims(project);
        claims[claim] = value;
        claims
    }
}

async fn describe(State(issuer): State<Arc<Shared>>) -> Json<Value> {
    issuer.asked.fetch_add(1, Ordering::SeqCst);
    Json(json!({ "issuer": issuer.url, "jwks_uri": format!("{}/keys", issuer.url) }))
}

async fn keys(State(issuer): State<Arc<Shared>>) -> Json<Value> {
    Json(json!({ "keys": *issuer.keys.lock().unwrap() }))
}
