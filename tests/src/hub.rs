//! A fake container registry that behaves like Docker Hub, and misbehaves on demand.
//!
//! It has token authentication with scoped, expiring tokens, repositories that only some users may pull, a second
//! listener as its CDN that refuses requests with an `Authorization` header, a pull limit, and every request on
//! record: tests count upstream requests exactly. Faults ([`Fault`]) are set at run time for the requests that a
//! filter ([`When`]) selects.

mod auth;
mod body;
mod content;
mod fault;
mod listener;
mod record;
mod serve;

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use tokio::sync::watch;

pub use auth::{AuthMode, Realm};
pub use content::{Artifact, ReferrersApi};
pub use fault::{Fault, Gate};
pub use record::{Kind, Request, When};

use crate::image::{Image, Index, digest};

/// Options of a hub. Default: bearer tokens (also for nobody in particular) from its own address, no CDN, Range supported,
/// referrers API with filter.
#[derive(Clone, Debug)]
pub struct HubOptions {
    /// The authentication of clients.
    pub auth: AuthMode,
    /// The URL of the token service in the challenge.
    pub realm: Realm,
    /// The lifetime of tokens.
    pub token_lifetime: Duration,
    /// Blobs are answered by a redirect to the CDN's listener.
    pub cdn: bool,
    /// `Range` is honoured for blobs.
    pub ranges: bool,
    /// The behaviour of `/referrers/`.
    pub referrers: ReferrersApi,
    /// Serve https with this certificate instead of http.
    pub tls: Option<Arc<rustls::ServerConfig>>,
}

impl Default for HubOptions {
    fn default() -> Self {
        Self {
            auth: AuthMode::Bearer,
            realm: Realm::Same,
            token_lifetime: Duration::from_secs(300),
            cdn: false,
            ranges: true,
            referrers: ReferrersApi::Filtering,
            tls: None,
        }
    }
}

/// The state that all listeners of one hub share.
struct Shared {
    options: HubOptions,
    content: Mutex<content::Content>,
    users: Mutex<HashMap<String, String>>,
    tokens: Mutex<HashMap<String, auth::Granted>>,
    faults: Mutex<Vec<fault::Rule>>,
    requests: Mutex<Vec<Request>>,
    /// Goes up with every request and every answer; tests wait on it.
    changed: watch::Sender<u64>,
    /// Pulls left before 429; negative means no limit.
    pulls_left: AtomicI64,
    registry: SocketAddr,
    cdn: SocketAddr,
    token_service: SocketAddr,
}

/// A running hub. Dropping it closes its listeners and connections.
pub struct Hub {
    shared: Arc<Shared>,
    registry: listener::Listener,
    cdn: listener::Listener,
    token_service: listener::Listener,
}

impl Hub {
    /// Starts a hub as [`HubOptions::default`] describes it.
    pub async fn start() -> Self {
        Self::start_with(HubOptions::default()).await
    }

    /// Starts a hub.
    pub async fn start_with(options: HubOptions) -> Self {
        let registry = listener::Listener::bind(listener::Role::Registry, options.tls.clone());
        let cdn = listener::Listener::bind(listener::Role::Cdn, None);
        let token_service = listener::Listener::bind(listener::Role::TokenService, None);
        let shared = Arc::new(Shared {
            options,
            content: Mutex::default(),
            users: Mutex::default(),
            tokens: Mutex::default(),
            faults: Mutex::default(),
            requests: Mutex::default(),
            changed: watch::Sender::new(0),
            pulls_left: AtomicI64::new(-1),
            registry: registry.address,
            cdn: cdn.address,
            token_service: token_service.address,
        });
        let hub = Self { shared, registry, cdn, token_service };
        hub.up();
        hub
    }

    /// `http://127.0.0.1:PORT`, or https.
    pub fn url(&self) -> String {
        let scheme = if self.shared.options.tls.is_some() { "https" } else { "http" };
        format!("{scheme}://{}", self.shared.registry)
    }

    /// `127.0.0.1:PORT`.
    pub fn address(&self) -> String {
        self.shared.registry.to_string()
    }

    /// The arguments of `upstream set` that list every place of this hub as one that it may redirect to.
    pub fn listed(&self) -> Vec<String> {
        let Shared { registry, cdn, token_service, .. } = &*self.shared;
        let places = [registry, cdn, token_service].map(ToString::to_string);
        let by_name = format!("localhost:{}", token_service.port());
        places.into_iter().chain([by_name]).flat_map(|place| ["--redirect-host".to_owned(), place]).collect()
    }

    /// `127.0.0.1:PORT` of the separate token service.
    pub fn token_service_address(&self) -> String {
        self.shared.token_service.to_string()
    }

    /// Closes every listener and connection: clients are refused from now on.
    pub async fn down(&self) {
        self.registry.close().await;
        self.cdn.close().await;
        self.token_service.close().await;
    }

    /// Closes the separate token service only.
    pub async fn token_service_down(&self) {
        self.token_service.close().await;
    }

    /// Opens the listeners again, on the same ports.
    pub fn up(&self) {
        self.registry.open(&self.shared);
        self.cdn.open(&self.shared);
        self.token_service.open(&self.shared);
    }

    /// Adds somebody who can sign in.
    pub fn add_user(&self, name: &str, password: &str) {
        self.shared.users.lock().unwrap().insert(name.into(), password.into());
    }

    /// From now on only `users` can pull from `repository`.
    pub fn make_private(&self, repository: &str, users: &[&str]) {
        let mut content = self.shared.content.lock().unwrap();
        content.repository(repository).readers = Some(users.iter().map(|&user| user.to_owned()).collect());
    }

    /// Adds an image with all its blobs, under `tag`; answers the manifest's digest.
    pub fn push(&self, repository: &str, tag: &str, image: &Image) -> String {
        for blob in image.blobs() {
            self.push_blob(repository, blob.clone());
        }
        self.push_manifest(repository, Some(tag), &image.media_type, image.manifest.clone())
    }

    /// Adds an index with all its images, under `tag`; answers the index's digest.
    pub fn push_index(&self, repository: &str, tag: &str, index: &Index) -> String {
        for image in &index.images {
            for blob in image.blobs() {
                self.push_blob(repository, blob.clone());
            }
            self.push_manifest(repository, None, &image.media_type, image.manifest.clone());
        }
        self.push_manifest(repository, Some(tag), &index.media_type, index.manifest.clone())
    }

    /// Adds any manifest, with or without a tag; answers its sha256 digest. It can be pulled by its sha512 digest too.
    pub fn push_manifest(&self, repository: &str, tag: Option<&str>, media_type: &str, body: Bytes) -> String {
        let mut content = self.shared.content.lock().unwrap();
        content.repository(repository).add_manifest(tag, media_type, body)
    }

    /// Adds a blob; answers its sha256 digest. It can be pulled by its sha512 digest too.
    pub fn push_blob(&self, repository: &str, body: Bytes) -> String {
        let wanted = digest(&body);
        let mut content = self.shared.content.lock().unwrap();
        content.repository(repository).add_blob(body);
        wanted
    }

    /// Makes `tag` mean another manifest that is already there.
    pub fn retag(&self, repository: &str, tag: &str, digest: &str) {
        let mut content = self.shared.content.lock().unwrap();
        content.repository(repository).tags.insert(tag.into(), digest.into());
    }

    /// Forgets a tag; what it meant stays.
    pub fn untag(&self, repository: &str, tag: &str) {
        self.shared.content.lock().unwrap().repository(repository).tags.remove(tag);
    }

    /// Misbehaves for every request that fits, until [`Hub::clear_faults`].
    pub fn fault(&self, when: When, fault: Fault) {
        self.shared.faults.lock().unwrap().push(fault::Rule { when, fault, left: None });
    }

    /// Misbehaves for the next `times` requests that fit.
    pub fn fault_times(&self, when: When, fault: Fault, times: u32) {
        self.shared.faults.lock().unwrap().push(fault::Rule { when, fault, left: Some(times) });
    }

    /// Behaves again. Requests that already hang continue to hang.
    pub fn clear_faults(&self) {
        self.shared.faults.lock().unwrap().clear();
    }

    /// Only so many more `GET`s of manifests; then 429.
    pub fn set_pulls_left(&self, pulls: u32) {
        self.shared.pulls_left.store(pulls.into(), Ordering::SeqCst);
    }

    /// Every token so far stops working, as if it had expired early.
    pub fn forget_tokens(&self) {
        self.shared.tokens.lock().unwrap().clear();
    }
}

/// Queries about past requests.
impl Hub {
    /// Returns the number of matching requests so far.
    pub fn count(&self, when: &When) -> usize {
        self.shared.requests.lock().unwrap().iter().filter(|request| when.fits(request)).count()
    }

    /// The requests so far that fit, in order.
    pub fn requests(&self, when: &When) -> Vec<Request> {
        self.shared.requests.lock().unwrap().iter().filter(|request| when.fits(request)).cloned().collect()
    }

    /// Body bytes handed out for the requests that fit.
    pub fn bytes_sent(&self, when: &When) -> u64 {
        self.requests(when).iter().map(Request::bytes_sent).sum()
    }

    /// Forgets the past: counts start at nothing.
    pub fn forget_requests(&self) {
        self.shared.requests.lock().unwrap().clear();
    }

    /// Returns all requests to upstream so far, one per line, for messages of failed tests.
    pub fn log(&self) -> String {
        let requests = self.shared.requests.lock().unwrap();
        requests.iter().map(|request| format!("{request}\n")).collect()
    }

    /// Waits until `count` requests that fit have come in, at most 20 s.
    pub async fn wait_for(&self, when: &When, count: usize) {
        self.wait_until(|hub| hub.count(when) >= count, &format!("{count} requests {when:?}")).await;
    }

    /// Waits until `true_now` holds, looking whenever something happens here, at most 20 s.
    pub async fn wait_until(&self, true_now: impl Fn(&Self) -> bool, what: &str) {
        let mut changed = self.shared.changed.subscribe();
        let waited = tokio::time::timeout(Duration::from_secs(20), async {
            while !true_now(self) {
                changed.changed().await.unwrap();
            }
        });
        assert!(waited.await.is_ok(), "waited 20 s for {what}; upstream was asked:\n{}", self.log());
    }
}
