//! The client against small servers on loopback.

mod answers;
mod bodies;
mod credentials;
mod limits;
mod tokens;
mod trouble;
mod verify;

use std::{sync::Arc, time::Duration};

use roadstead_proto::Reference;

use super::{Accept, ManifestHead, Target, UpstreamClient, UpstreamError, UpstreamMetrics, UpstreamTimeouts};
use crate::control::{Conditions, Credential, UpstreamPolicy};

pub(super) const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

const TIMEOUTS: UpstreamTimeouts = UpstreamTimeouts {
    connect: Duration::from_millis(500),
    first_byte: Duration::from_millis(500),
    body_idle: Duration::from_millis(300),
    whole: Duration::from_secs(5),
};

fn client() -> UpstreamClient {
    client_with(&Arc::default())
}

fn client_with(conditions: &Arc<Conditions>) -> UpstreamClient {
    // Another test may have installed it already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    UpstreamClient::new(TIMEOUTS, UpstreamMetrics::default(), Arc::clone(conditions)).unwrap()
}

fn policy(url: &str) -> UpstreamPolicy {
    UpstreamPolicy {
        host: "docker.io".parse().unwrap(),
        url: url.parse().unwrap(),
        token_hosts: vec![],
        ca_pem: String::new(),
        redirect_hosts: vec![],
        reserve_percent: 10,
    }
}

/// The target with hosts listed that it may redirect to.
fn listing(target: Target, hosts: &[&str]) -> Target {
    let redirect_hosts = hosts.iter().map(|host| host.trim_start_matches("http://").to_owned()).collect();
    Target { upstream: Arc::new(UpstreamPolicy { redirect_hosts, ..(*target.upstream).clone() }), ..target }
}

fn target(url: &str, credential: Option<(&str, &str)>) -> Target {
    Target {
        group: "g1".into(),
        upstream: Arc::new(policy(url)),
        repository: "library/alpine".parse().unwrap(),
        credential: credential.map(|(name, secret)| Arc::new(Credential::new(name.to_owned(), secret.into()))),
        link_epoch: 1,
    }
}

fn latest() -> Reference {
    "latest".parse().unwrap()
}

/// Fetches the manifest: a failure that a HEAD leaves to a GET is a failure here.
async fn get(client: &UpstreamClient, target: &Target) -> Result<(), UpstreamError> {
    client.get_manifest(target, &latest(), Accept::Widened(&[])).await.map(drop)
}

async fn head(client: &UpstreamClient, target: &Target) -> Result<Option<ManifestHead>, UpstreamError> {
    client.head_manifest(target, &latest(), Accept::Widened(&[])).await
}
