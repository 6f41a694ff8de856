//! The control plane of Roadstead: it owns the facts (groups, tokens, upstreams, who holds which content, what a tag
//! means now) and decides. It moves no image bytes.
//!
//! From the inside out: rules are plain functions over plain data ([`access`], [`freshness`], [`pull_access`],
//! [`purge`], [`retention`], [`group`], [`member`], [`node`], [`tag_settings`], [`token`], [`upstream`], [`pull_limit`], [`upstream_status`],
//! [`user`], `auth::rotation`); `plane` is the use cases, one function per call; `errands` what nodes do for those who wait;
//! `store` the database; `api` the gRPC services; `watch` what nodes are told.

pub mod access;
mod api;
pub mod attempts;
pub mod audit;
mod auth;
mod backup;
mod clock;
mod content;
mod damage;
mod errands;
mod failpoint;
pub mod freshness;
pub mod group;
pub mod member;
pub mod node;
mod oidc;
mod open;
mod plane;
pub mod pull_access;
pub mod pull_limit;
pub mod purge;
pub mod retention;
pub mod schedule;
mod store;
pub mod tag_settings;
pub mod token;
pub mod upstream;
pub mod upstream_status;
pub mod user;
mod violation;
mod watch;
pub mod watermark;

use std::{sync::Arc, time::Duration};

use axum::Router;
use prometheus_client::registry::Registry;
use secrecy::SecretString;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tonic_health::{ServingStatus, server::HealthReporter};

pub use self::{
    api::ApiError,
    auth::{
        key_ring::KeyError,
        password::PasswordError,
        registry_token::{Access, Claims},
        seal::{SealError, SecretKey},
    },
    backup::{BackupError, BackupSource, back_up},
    clock::Clock,
    content::ContentKind,
    errands::ErrandError,
    open::{ControlConfig, FirstStart, OpenError},
    plane::PlaneError,
    store::StoreError,
    violation::Violation,
};

/// How long the database may take to say that it is there.
const READY_TIMEOUT: Duration = Duration::from_secs(2);

/// One replica of the control plane. Cheap to clone.
#[derive(Clone)]
pub struct Control {
    plane: Arc<plane::Plane>,
    router: Router,
    health: HealthReporter,
    stop: CancellationToken,
}

impl Control {
    /// Opens the data folder and the database, making what a first start needs, and registers the metrics.
    pub async fn open(config: ControlConfig, metrics: &mut Registry) -> Result<(Self, FirstStart), OpenError> {
        Self::open_at(config, Clock::system(), metrics).await
    }

    /// As [`Control::open`], with a clock of the caller's.
    pub async fn open_at(
        config: ControlConfig,
        clock: Clock,
        metrics: &mut Registry,
    ) -> Result<(Self, FirstStart), OpenError> {
        let (plane, first_start) = open::open(config, clock).await?;
        let plane = Arc::new(plane);
        let stop = CancellationToken::new();
        let (router, health) = api::router(plane.clone(), stop.clone(), metrics).await?;
        Ok((Self { plane, router, health, stop }, first_start))
    }

    /// All services of the control port: ours, reflection, health, and a greeting at `/`.
    pub fn router(&self) -> Router {
        self.router.clone()
    }

    /// What the node in this process signs in with. Made at this start, kept in memory only.
    pub fn embedded_node_token(&self) -> SecretString {
        self.plane.embedded_node_token.clone()
    }

    /// Whether the database answers.
    pub async fn ready(&self) -> bool {
        matches!(timeout(READY_TIMEOUT, self.plane.store.refresh_revision()).await, Ok(Ok(_)))
    }

    /// Does once, now, what [`Control::run`] does every half minute.
    pub async fn keep_up_once(&self) -> Result<(), PlaneError> {
        self.plane.keep_up_once().await
    }

    /// The background work: rotates keys, forgets what is old, notices what other replicas changed. Returns after
    /// `shutdown`, when all watches have been told to end; calls under way are not affected.
    pub fn run(&self, shutdown: CancellationToken) -> impl Future<Output = ()> + Send + use<> {
        let Self { plane, health, stop, .. } = self.clone();
        async move {
            plane.keep_up(shutdown).await;
            health.set_service_status("", ServingStatus::NotServing).await;
            stop.cancel();
        }
    }
}
