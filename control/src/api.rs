//! The gRPC surface: every service translates a request, calls one use case, and translates the answer.
//! Layers common to all of them (traces and metrics, authentication) stand in [`router`].

pub mod authenticate;
mod database_loss;
mod errors;
pub mod limit_metrics;
pub mod node;
pub mod observe;
pub mod public;
mod refused_changes;
mod rest;

use std::sync::Arc;

use axum::{Router, middleware, response::IntoResponse, routing::get};
use roadstead_proto::{
    DESCRIPTORS,
    node::v1::node_service_server::NodeServiceServer,
    v1::{
        audit_service_server::AuditServiceServer, cache_service_server::CacheServiceServer,
        cluster_service_server::ClusterServiceServer, group_service_server::GroupServiceServer,
        member_service_server::MemberServiceServer, oidc_service_server::OidcServiceServer,
        token_service_server::TokenServiceServer, upstream_service_server::UpstreamServiceServer,
        user_service_server::UserServiceServer,
    },
};
use tonic::service::Routes;
use tonic_health::server::HealthReporter;

use self::{authenticate::Callers, observe::Observer};
use crate::store::Store;

/// The services cannot be put together. Both come from what is compiled in.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// The compiled-in descriptors do not decode.
    #[error("the compiled-in service descriptions are corrupt: {0}")]
    Descriptors(#[from] prost::DecodeError),
    /// Reflection cannot be built of them.
    #[error("gRPC reflection cannot be set up: {0}")]
    Reflection(#[from] tonic_reflection::server::Error),
}

/// The services of the control port.
pub(crate) struct Services {
    pub(crate) groups: public::group::Groups,
    pub(crate) users: public::user::Users,
    pub(crate) members: public::member::Members,
    pub(crate) tokens: public::token::Tokens,
    pub(crate) upstreams: public::upstream::Upstreams,
    pub(crate) cache: public::cache::Cache,
    pub(crate) oidc: public::oidc::Oidc,
    pub(crate) audit: public::audit::Audit,
    pub(crate) cluster: public::cluster::Cluster,
    pub(crate) node: node::service::Nodes,
}

/// The layers that every call passes, from the outermost inwards.
pub(crate) struct Layers {
    /// Traces and counts it.
    pub(crate) observer: Observer,
    /// Gives it up when the database is lost.
    pub(crate) store: Store,
    /// Finds out who is calling, and records refusals.
    pub(crate) callers: Callers,
}

/// The whole control port, and what reports its health.
pub(crate) async fn router(services: Services, layers: Layers) -> Result<(Router, HealthReporter), ApiError> {
    let Services { groups, users, members, tokens, upstreams, cache, oidc, audit, cluster, node } = services;
    let Layers { observer, store, callers } = layers;
    let audit_log = callers.audit.clone();
    let rest = rest::router(store.clone(), audit_log.clone(), groups.clone(), upstreams.clone(), cache.clone());
    let (health, health_service) = tonic_health::server::health_reporter();
    health.set_serving::<GroupServiceServer<public::group::Groups>>().await;
    health.set_serving::<UserServiceServer<public::user::Users>>().await;
    health.set_serving::<MemberServiceServer<public::member::Members>>().await;
    health.set_serving::<TokenServiceServer<public::token::Tokens>>().await;
    health.set_serving::<UpstreamServiceServer<public::upstream::Upstreams>>().await;
    health.set_serving::<CacheServiceServer<public::cache::Cache>>().await;
    health.set_serving::<OidcServiceServer<public::oidc::Oidc>>().await;
    health.set_serving::<AuditServiceServer<public::audit::Audit>>().await;
    health.set_serving::<ClusterServiceServer<public::cluster::Cluster>>().await;
    health.set_serving::<NodeServiceServer<node::service::Nodes>>().await;
    let reflection = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(DESCRIPTORS)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
            // The details that errors carry, so that grpcurl shows them.
            .register_encoded_file_descriptor_set(tonic_types::pb::FILE_DESCRIPTOR_SET)
    };
    let router = Routes::new(health_service)
        .add_service(reflection().build_v1()?)
        .add_service(reflection().build_v1alpha()?)
        .add_service(GroupServiceServer::new(groups))
        .add_service(UserServiceServer::new(users))
        .add_service(MemberServiceServer::new(members))
        .add_service(TokenServiceServer::new(tokens))
        .add_service(UpstreamServiceServer::new(upstreams))
        .add_service(CacheServiceServer::new(cache))
        .add_service(OidcServiceServer::new(oidc))
        .add_service(AuditServiceServer::new(audit))
        .add_service(ClusterServiceServer::new(cluster))
        .add_service(NodeServiceServer::new(node))
        .prepare()
        .into_axum_router()
        .route("/", get(greeting))
        .layer(middleware::from_fn_with_state(audit_log, refused_changes::record))
        .merge(rest)
        // Everything below knows who is calling; health, reflection, descriptions and the greeting are for everybody.
        .layer(middleware::from_fn_with_state(Arc::new(callers), authenticate::authenticate))
        .layer(middleware::from_fn_with_state(store, database_loss::give_up))
        // Before that: GitLab's way to say who is calling.
        .layer(middleware::from_fn(rest::caller::tell))
        // Outermost: refused calls are traced and counted too.
        .layer(middleware::from_fn_with_state(Arc::new(observer), observe::observe));
    Ok((router, health))
}

/// For whoever points a browser or curl here.
async fn greeting() -> impl IntoResponse {
    "This is the control port of Roadstead, a pull-through cache for container images.\n\
     It speaks gRPC; `grpcurl -plaintext HOST:PORT list` shows the services, and `roadstead --help` the commands\n\
     that use them. GET /openapi.json describes the REST calls for scripts written against GitLab.\n\
     Images are pulled from the registry port, not from here.\n"
}
