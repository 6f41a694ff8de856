//! A product with some things cached, before an upstream that gets into trouble.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{HeaderMap, Method};
use roadstead_tests::{
    client::{Client, ENGINE_ACCEPTS},
    cluster::{Cluster, ClusterOptions},
    dns::NameServer,
    hub::{AuthMode, Hub, HubOptions, Kind, Realm, Request, When},
    image::{Image, digest, random_bytes},
};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

use super::{
    super::soon,
    seen::Seen,
    troubles::{Start, Trouble},
};

/// One thing that is pulled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cell {
    CachedTag,
    CachedDigest,
    CachedBlob,
    Tag,
    Digest,
    Blob,
}

impl Cell {
    /// In the order of the table's columns. The cached pulls come first.
    pub const ALL: [Self; 6] =
        [Self::CachedTag, Self::CachedDigest, Self::CachedBlob, Self::Tag, Self::Digest, Self::Blob];

    /// The time limit of the answer.
    pub const fn time_limit(self) -> Duration {
        match self {
            Self::CachedTag | Self::CachedDigest | Self::CachedBlob => Duration::from_secs(3),
            Self::Tag | Self::Digest | Self::Blob => Duration::from_secs(10),
        }
    }
}

/// The world of one row.
pub struct Stage {
    pub hub: Hub,
    /// Another registry with the same content, which wants no authentication.
    pub other: Hub,
    /// A registry whose certificate nobody trusts.
    untrusted: Hub,
    pub dns: NameServer,
    client: Client,
    images: [Image; 3],
    blob: Bytes,
    // Ended before what it asks.
    cluster: Cluster,
}

impl Stage {
    /// Everything up, some of it cached; then the trouble starts.
    pub async fn set(trouble: &Trouble) -> Self {
        let dns = NameServer::start().await;
        let realm = if trouble.separate_tokens { Realm::Separate("127.0.0.1".into()) } else { Realm::Same };
        let hub = Hub::start_with(HubOptions { realm, ..HubOptions::default() }).await;
        let other = Hub::start_with(HubOptions { auth: AuthMode::Open, ..HubOptions::default() }).await;
        let untrusted = Hub::start_with(untrusted_tls()).await;
        let options = ClusterOptions {
            arguments: ["--upstream-idle-timeout", "1s"].map(str::to_owned).to_vec(),
            resolv_conf: Some(dns.resolv_conf()),
            ..ClusterOptions::default()
        };
        let cluster = Cluster::start_bare(options).await;
        let by_name = hub.url().replace("127.0.0.1", "hub.test");
        let url = if trouble.by_name { by_name } else { hub.url() };
        let others = ["--redirect-host".to_owned(), other.address()];
        cluster.set_upstream(&url, &[hub.listed(), others.to_vec()].concat()).await;
        if trouble.keeps_missing {
            cluster.cli(&["group", "update", "default", "--missing-tag", "keep"]).await.ok();
        }
        let images = [1, 2, 3].map(Image::small);
        let blob = random_bytes(1, 300_000);
        for registry in [&hub, &other] {
            for (image, tag) in images.iter().zip(["warm", "cold", "by-digest"]) {
                registry.push("library/app", tag, image);
            }
            registry.push_blob("library/app", blob.clone());
        }
        let client = cluster.anonymous();
        // The node hears of its upstream a moment later.
        soon(200, async || client.manifest("app", "warm").await).await;
        client.blob_hit("app", &digest(&images[0].layers[0])).await;
        let stage = Self { hub, other, untrusted, dns, client, images, blob, cluster };
        stage.start(trouble).await;
        stage
    }

    async fn start(&self, trouble: &Trouble) {
        match &trouble.start {
            Start::Faults(faults) => {
                faults.iter().for_each(|(when, fault)| self.hub.fault(when.clone(), fault.clone()));
            }
            Start::Redirect(to) => {
                for kind in [Kind::Manifest, Kind::Blob] {
                    self.hub.fault(When::kind(kind), to(self));
                }
            }
            Start::BeforeEach(_) => {}
            Start::Down => self.hub.down().await,
            Start::TokenServiceDown => self.hub.token_service_down().await,
            Start::NameServer(says) => {
                // Connections that are open need no name.
                self.hub.down().await;
                self.hub.up();
                self.dns.say(*says);
            }
            Start::UntrustedCertificate => {
                self.cluster.cli(&["upstream", "set", "docker.io", "--url", &self.untrusted.url()]).await.ok();
                self.hub.down().await;
                // The node hears of it a moment later.
                let started = Instant::now();
                loop {
                    let answer = self.client.manifest("app", "nowhere").await;
                    if String::from_utf8_lossy(&answer.body).contains("certificate") {
                        break;
                    }
                    assert!(started.elapsed() < Duration::from_secs(5), "the node does not ask there: {answer:?}");
                }
            }
        }
    }

    /// Pulls one thing, and watches.
    pub async fn pull(&self, trouble: &Trouble, cell: Cell) -> Seen {
        if let Start::BeforeEach(prepare) = &trouble.start {
            self.hub.clear_faults();
            prepare(&self.hub);
        }
        if trouble.forget_tokens {
            self.hub.forget_tokens();
        }
        let [warm, cold, by_digest] = &self.images;
        let (rest, content) = match cell {
            Cell::CachedTag => ("manifests/warm".to_owned(), &warm.manifest),
            Cell::CachedDigest => (format!("manifests/{}", warm.digest()), &warm.manifest),
            Cell::CachedBlob => (format!("blobs/{}", digest(&warm.layers[0])), &warm.layers[0]),
            Cell::Tag => ("manifests/cold".to_owned(), &cold.manifest),
            Cell::Digest => (format!("manifests/{}", by_digest.digest()), &by_digest.manifest),
            Cell::Blob => (format!("blobs/{}", digest(&self.blob)), &self.blob),
        };
        let mut request = self.client.request(Method::GET, "app", &rest).await;
        for kind in ENGINE_ACCEPTS {
            request = request.header("accept", kind);
        }
        self.hub.forget_requests();
        let started = Instant::now();
        let (status, headers, body) = match request.send().await {
            Ok(response) => (response.status().as_u16(), response.headers().clone(), response.bytes().await),
            // What is broken off soon enough may never get as far as its headers.
            Err(error) => (0, HeaderMap::new(), Err(error)),
        };
        let took = started.elapsed();
        let text = |name: &str| headers.get(name).map_or("", |value| value.to_str().unwrap()).to_owned();
        let bytes = body.as_ref().map(Bytes::clone).unwrap_or_default();
        let code = serde_json::from_slice::<serde_json::Value>(&bytes).unwrap_or_default()["errors"][0]["code"].clone();
        Seen {
            status,
            code: code.as_str().unwrap_or_default().to_owned(),
            cache: text("x-cache"),
            warning: text("warning").split(' ').next().unwrap_or_default().to_owned(),
            has_age: text("age").parse::<u64>().is_ok(),
            has_retry_after: text("retry-after").parse::<u64>().is_ok_and(|seconds| seconds > 0),
            is_complete: body.is_ok(),
            is_right: bytes == *content,
            took,
            asked: asked(&self.hub.requests(&When::any())),
        }
    }
}

/// `T H G×2`: token, HEADs, GETs, each once with its number.
fn asked(requests: &[Request]) -> String {
    let count = |fits: &dyn Fn(&Request) -> bool| requests.iter().filter(|request| fits(request)).count();
    let counted = [
        ("T", count(&|request| request.kind == Kind::Token)),
        ("H", count(&|request| request.kind != Kind::Token && request.method == Method::HEAD)),
        ("G", count(&|request| request.kind != Kind::Token && request.method == Method::GET)),
    ];
    let shown = counted.iter().filter(|(_, count)| *count > 0).map(|(letter, count)| match count {
        1 => (*letter).to_owned(),
        count => format!("{letter}×{count}"),
    });
    shown.collect::<Vec<_>>().join(" ")
}

fn untrusted_tls() -> HubOptions {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
    let config = rustls::ServerConfig::builder().with_no_client_auth();
    let config = config.with_single_cert(vec![made.cert.der().clone()], key).unwrap();
    HubOptions { tls: Some(Arc::new(config)), ..HubOptions::default() }
}
