//! The client against a control plane that does as told. Time is paused: it passes when nothing else can happen.

mod conditions;
mod jobs;
mod memory;
mod simulation;
mod staleness;
mod usage;
mod watch;

use std::sync::Arc;

use roadstead_proto::{Algorithm, Digest};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::{Control, RepositoryRef};

/// The URL by which the client says that it is reached.
const REGISTRY_URL: &str = "https://images.example";

/// Runs a client until the token is cancelled.
fn run(client: &Arc<Control>) -> (CancellationToken, JoinHandle<()>) {
    let (client, stop) = (Arc::clone(client), CancellationToken::new());
    let stopped = stop.clone();
    (stop, tokio::spawn(async move { client.run(REGISTRY_URL, stopped).await }))
}

/// Waits until something has come true.
async fn until(mut is_true: impl FnMut() -> bool) {
    while !is_true() {
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
    }
}

fn repository(group: &str) -> RepositoryRef {
    RepositoryRef {
        group: group.into(),
        upstream: "docker.io".parse().unwrap(),
        repository: "library/alpine".parse().unwrap(),
    }
}

fn digest(content: &str) -> Digest {
    Digest::of(Algorithm::Sha256, content.as_bytes())
}
