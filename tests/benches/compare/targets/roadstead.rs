//! Roadstead itself: `roadstead serve` as it comes, a private group, a deploy token, a JSON web token per measure.

use anyhow::{Context, Result};
use roadstead_tests::cluster::{Cluster, ClusterOptions, DeployToken};
use tokio::runtime::Handle;

use super::Server;
use crate::{fetch::Access, origin::Origin};

/// The group that pulls.
const GROUP: &str = "bench";
/// The image to pull.
const IMAGE: &str = "bench";

/// A running `roadstead serve`.
pub struct Roadstead {
    cluster: Cluster,
    token: DeployToken,
    runtime: Handle,
}

impl Roadstead {
    /// Starts it with an empty cache.
    pub fn start(origin: &Origin, runtime: &Handle) -> Result<Self> {
        let (cluster, token) = runtime.block_on(async {
            let cluster = Cluster::start_bare(ClusterOptions::default()).await;
            cluster.cli(&["upstream", "set", "docker.io", "--url", &origin.url()]).await.ok();
            cluster.create_group(GROUP).await;
            let token = cluster.create_token(GROUP).await;
            (cluster, token)
        });
        Ok(Self { cluster, token, runtime: runtime.clone() })
    }
}

impl Server for Roadstead {
    fn pid(&self) -> Result<u32> {
        self.cluster.pids().first().copied().context("roadstead is not running")
    }

    fn access(&self) -> Result<Access> {
        // A client of its own each time: none that remembers an older token.
        let token = self.runtime.block_on(self.cluster.client(GROUP, &self.token).token(IMAGE));
        Ok(Access {
            address: self.cluster.registry,
            repository: format!("/v2/{GROUP}/dependency_proxy/containers/{IMAGE}"),
            authorization: Some(format!("Bearer {token}")),
        })
    }
}
