//! Roadstead itself: `roadstead serve` as it comes, a private group, a deploy token, a JSON web token per measure.

use anyhow::{Context, Result};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use roadstead_proto::v1::Role;
use roadstead_tests::cluster::{Cluster, ClusterOptions, DeployToken};
use tokio::runtime::Handle;

use super::{Credentials, Server};
use crate::{fetch::Access, origin::Origin, wrk::Ask};

/// The group that pulls.
const GROUP: &str = "bench";
/// The image to pull.
const IMAGE: &str = "bench";

/// A user who pulls.
const USER: &str = "alice";
/// That user's password.
const PASSWORD: &str = "correct horse battery";
/// The calls that a pull may make; all others go on whether anybody pulls or not.
const CALLS: [&str; 7] =
    ["SignIn", "ResolveTag", "ReportTag", "GetLinks", "RecordLink", "RecordLinks", "GetCredential"];

/// A running `roadstead serve`.
pub struct Roadstead {
    cluster: Cluster,
    token: DeployToken,
    /// `BASE64(NAME:PASSWORD)` of a user.
    password: String,
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
            let admin = cluster.admin();
            admin.user(USER, PASSWORD, false).await;
            admin.member(GROUP, USER, Role::Guest).await;
            (cluster, token)
        });
        let password = BASE64_STANDARD.encode(format!("{USER}:{PASSWORD}"));
        Ok(Self { cluster, token, password, runtime: runtime.clone() })
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

    fn sign_in(&self, credentials: Credentials) -> Option<Ask> {
        let basic = match credentials {
            Credentials::DeployToken => BASE64_STANDARD.encode(format!("{}:{}", self.token.username, self.token.token)),
            Credentials::Password => self.password.clone(),
        };
        let scope = format!("repository:{GROUP}/dependency_proxy/containers/{IMAGE}:pull");
        Some(Ask {
            path: format!("/jwt/auth?service=dependency_proxy&scope={scope}"),
            authorization: Some(format!("Basic {basic}")),
        })
    }

    fn set_max_age(&self) -> bool {
        self.runtime.block_on(self.cluster.cli(&["group", "update", GROUP, "--max-age", "1h"])).ok();
        true
    }

    fn calls(&self) -> Option<f64> {
        let count = |call: &&str| {
            let label = format!("method=\"{call}\"");
            self.runtime.block_on(self.cluster.metric("roadstead_control_rpcs_total", &[&label]))
        };
        Some(CALLS.iter().map(count).sum())
    }
}
