//! The composition root: the parts of one replica, each built once and handed to those that need it.

use roadstead_proto::TokenKind;

use std::sync::Arc;

use axum::Router;
use prometheus_client::registry::Registry;
use secrecy::SecretString;
use tokio_util::sync::CancellationToken;
use tonic_health::server::HealthReporter;

use crate::{
    api::{
        self, Layers, Services,
        authenticate::Callers,
        limit_metrics,
        node::service::{Nodes, Watching},
        observe::Observer,
        public::{
            audit::Audit, cache::Cache, cluster::Cluster, group::Groups, member::Members, oidc::Oidc, token::Tokens,
            upstream::Upstreams, user::Users,
        },
    },
    auth::{password::Passwords, secret},
    clock::Clock,
    oidc::KeyCache,
    open::{self, ControlConfig, FirstStart, OpenError, Opened},
    store::Store,
    usecases::{
        UseCaseError,
        audit::AuditLog,
        cache::retention::Retention,
        cluster::{leader::Leader, node::NodeRegistry},
        identity::{credentials::Authenticator, sign_in::SignIn},
        jobs::{JobRequests, exchange::JobExchange},
        key_rotation::KeyRotation,
        maintenance::Maintenance,
        tags::checks::TagChecks,
        upstreams::report::UpstreamReports,
    },
    watch::Watches,
};

/// One replica, put together.
pub(crate) struct Replica {
    pub(crate) store: Store,
    pub(crate) router: Router,
    pub(crate) health: HealthReporter,
    pub(crate) maintenance: Arc<Maintenance>,
    pub(crate) jobs: Arc<JobRequests>,
    pub(crate) embedded_node_token: SecretString,
}

/// Opens the database and puts everything together. `stop` ends all watches.
pub(crate) async fn compose(
    config: ControlConfig,
    clock: Clock,
    stop: CancellationToken,
    metrics: &mut Registry,
) -> Result<(Replica, FirstStart), OpenError> {
    let Opened { store, sealer, keys, ring, first_start } = open::open(&config, &clock).await?;

    let limits = config.limits;
    // Each of these has state of its own, in memory.
    let audit = Arc::new(AuditLog::new(store.clone(), clock.clone(), config.audit_retention));
    let leader = Arc::new(Leader::new(store.clone(), clock.clone()));
    let nodes = Arc::new(NodeRegistry::new(store.clone(), clock.clone()));
    let upstream_reports = Arc::new(UpstreamReports::new(store.clone(), clock.clone()));
    let retention = Arc::new(Retention::new(store.clone(), clock.clone(), leader.clone(), config.watermarks));
    let tag_checks = TagChecks::new(store.clone(), clock.clone());
    let exchange = Arc::new(JobExchange::new(store.clone(), clock.clone(), sealer.clone()));
    let watches = Arc::new(Watches::new(store.clone(), clock.clone(), exchange.clone()));
    let jobs = Arc::new(JobRequests {
        store: store.clone(),
        clock: clock.clone(),
        exchange: exchange.clone(),
        limits,
        schedules_changed: Default::default(),
    });

    // Authentication, on the control port and on the registry port.
    let passwords = Arc::<Passwords>::default();
    let issuer_keys = Arc::new(KeyCache::new(clock.clone()));
    let embedded_node_token = secret::generate(TokenKind::Node).map_err(UseCaseError::Random)?;
    let authenticator = Arc::new(Authenticator::new(
        store.clone(),
        clock.clone(),
        embedded_node_token.clone(),
        passwords.clone(),
        issuer_keys.clone(),
    ));
    let sign_in = SignIn::new(
        store.clone(),
        clock.clone(),
        authenticator.clone(),
        audit.clone(),
        ring.clone(),
        config.registry_token_lifetime,
    );

    let keys = Arc::new(keys);
    let rotation = Arc::new(KeyRotation {
        store: store.clone(),
        clock: clock.clone(),
        signing: keys.clone(),
        sealer: sealer.clone(),
    });

    // The control port.
    let observer = Observer::new(metrics).map_err(api::ApiError::from)?;
    limit_metrics::register(upstream_reports.clone(), metrics);
    let services = Services {
        groups: Groups::new(store.clone(), clock.clone(), limits),
        users: Users::new(store.clone(), clock.clone(), passwords.clone()),
        members: Members::new(store.clone(), clock.clone(), limits),
        tokens: Tokens::new(store.clone(), clock.clone(), limits, sealer.clone(), first_start.admin_token_file.clone()),
        upstreams: Upstreams::new(store.clone(), clock.clone(), sealer.clone(), jobs.clone(), limits),
        cache: Cache::new(store.clone(), clock.clone(), retention.clone(), jobs.clone(), limits),
        oidc: Oidc::new(store.clone(), clock.clone(), issuer_keys.clone(), limits),
        audit: Audit::new(store.clone(), audit.clone()),
        cluster: Cluster::new(nodes.clone(), rotation),
        node: Nodes {
            store: store.clone(),
            clock: clock.clone(),
            registry: nodes.clone(),
            watching: Watching { watches, stop, watchers: observer.watchers() },
            sign_in,
            tag_checks,
            keys: ring,
            sealer,
            gc_grace: config.gc_grace,
            upstreams: upstream_reports.clone(),
            jobs: exchange,
        },
    };
    let callers = Callers { authenticator: authenticator.clone(), audit: audit.clone() };
    let (router, health) = api::router(services, Layers { observer, store: store.clone(), callers }).await?;

    // The background work.
    let maintenance = Arc::new(Maintenance {
        store: store.clone(),
        clock,
        keys,
        audit,
        nodes,
        retention,
        authenticator,
        upstreams: upstream_reports,
        leader,
    });
    Ok((Replica { store, router, health, maintenance, jobs, embedded_node_token }, first_start))
}
