//! The control plane of Roadstead: it owns the facts (groups, tokens, upstreams, who holds which content, what a tag
//! means now) and decides. It moves no image bytes.
//!
//! From the bottom up: `store` is the database seam, `rules` are plain functions over plain data, `usecases` read, ask
//! a rule, write and commit, one function a call, `watch` streams to nodes, and `api` translates gRPC and REST. Every
//! layer groups its modules by the same nouns.

mod api;
mod auth;
mod backup;
mod clock;
mod compose;
mod failpoint;
mod jobs;
mod oidc;
mod open;
mod restore;
pub mod rules;
mod store;
mod usecases;
mod watch;

use std::{sync::Arc, time::Duration};

use axum::Router;
use prometheus_client::registry::Registry;
use secrecy::SecretString;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tonic_health::ServingStatus;

use self::compose::Replica;

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
    jobs::JobError,
    open::{ControlConfig, FirstStart, OpenError},
    restore::{RestoreError, RestoreTarget, Restored, restore},
    rules::violation::Violation,
    store::{
        StoreError, StoreSettings,
        copy::{CopiedTable, CopyError, copy_database},
    },
    usecases::UseCaseError,
};

/// Longest time that the database may take to say that it is there.
const READY_TIMEOUT: Duration = Duration::from_secs(2);

/// One replica of the control plane. Cheap to clone.
#[derive(Clone)]
pub struct Control {
    replica: Arc<Replica>,
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
        let stop = CancellationToken::new();
        let (replica, first_start) = compose::compose(config, clock, stop.clone(), metrics).await?;
        Ok((Self { replica: Arc::new(replica), stop }, first_start))
    }

    /// All services of the control port: ours, reflection, health, and a greeting at `/`.
    pub fn router(&self) -> Router {
        self.replica.router.clone()
    }

    /// The token that the node in this process signs in with. Made at this start, kept in memory only.
    pub fn embedded_node_token(&self) -> SecretString {
        self.replica.embedded_node_token.clone()
    }

    /// Returns whether the database answers.
    pub async fn ready(&self) -> bool {
        matches!(timeout(READY_TIMEOUT, self.replica.store.refresh_revision()).await, Ok(Ok(_)))
    }

    /// Does one round of the maintenance that [`Control::run`] does every half minute.
    pub async fn keep_up_once(&self) -> Result<(), UseCaseError> {
        self.replica.maintenance.run_once().await
    }

    /// The background work: rotates keys, deletes old records, notices what other replicas changed. Returns after
    /// `shutdown`, when all watches have been told to end; calls under way are not affected.
    pub fn run(&self, shutdown: CancellationToken) -> impl Future<Output = ()> + Send + use<> {
        let Self { replica, stop } = self.clone();
        async move {
            let Replica { maintenance, jobs, health, .. } = &*replica;
            tokio::join!(maintenance.run(&shutdown), jobs.run_schedules(&shutdown), jobs.exchange.follow(&shutdown),);
            health.set_service_status("", ServingStatus::NotServing).await;
            stop.cancel();
        }
    }
}
