//! The gRPC surface: every service translates a request, calls one use case of the plane, and translates the answer.
//! Layers common to all of them (traces and metrics, authentication) stand in [`router`].

mod authenticate;
mod database_loss;
mod errors;
mod limit_metrics;
pub mod node;
mod observe;
pub mod public;
mod refused_changes;
mod rest;

use std::sync::Arc;

use axum::{Router, middleware, response::IntoResponse, routing::get};
use prometheus_client::registry::Registry;
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
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use tonic_health::server::HealthReporter;

use self::observe::Observer;
use crate::usecases::Plane;

/// The services cannot be put together. Both come from what is compiled in.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// The compiled-in descriptors do not decode.
    #[error("the compiled-in service descriptions are damaged: {0}")]
    Descriptors(#[from] prost::DecodeError),
    /// Reflection cannot be built of them.
    #[error("gRPC reflection cannot be set up: {0}")]
    Reflection(#[from] tonic_reflection::server::Error),
}

/// The whole control port, and what reports its health.
pub(crate) async fn router(
    plane: Arc<Plane>,
    stop: CancellationToken,
    metrics: &mut Registry,
) -> Result<(Router, HealthReporter), ApiError> {
    let observer = Arc::new(Observer::new(metrics)?);
    limit_metrics::register(plane.clone(), metrics);
    let node = node::service::Nodes::new(plane.clone(), stop, observer.watchers());
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
            // What errors carry as details, so that grpcurl shows them.
            .register_encoded_file_descriptor_set(tonic_types::pb::FILE_DESCRIPTOR_SET)
    };
    let services = Routes::new(health_service)
        .add_service(reflection().build_v1()?)
        .add_service(reflection().build_v1alpha()?)
        .add_service(GroupServiceServer::new(public::group::Groups::new(plane.clone())))
        .add_service(UserServiceServer::new(public::user::Users::new(plane.clone())))
        .add_service(MemberServiceServer::new(public::member::Members::new(plane.clone())))
        .add_service(TokenServiceServer::new(public::token::Tokens::new(plane.clone())))
        .add_service(UpstreamServiceServer::new(public::upstream::Upstreams::new(plane.clone())))
        .add_service(CacheServiceServer::new(public::cache::Cache::new(plane.clone())))
        .add_service(OidcServiceServer::new(public::oidc::Oidc::new(plane.clone())))
        .add_service(AuditServiceServer::new(public::audit::Audit::new(plane.clone())))
        .add_service(ClusterServiceServer::new(public::cluster::Cluster::new(plane.clone())))
        .add_service(NodeServiceServer::new(node));
    let router = services
        .prepare()
        .into_axum_router()
        .route("/", get(greeting))
        .layer(middleware::from_fn_with_state(plane.clone(), refused_changes::record))
        .merge(rest::router(plane.clone()))
        // Everything below knows who is calling; health, reflection, descriptions and the greeting are for everybody.
        .layer(middleware::from_fn_with_state(plane.clone(), authenticate::authenticate))
        .layer(middleware::from_fn_with_state(plane, database_loss::give_up))
        // Before that: GitLab's way to say who is calling.
        .layer(middleware::from_fn(rest::caller::tell))
        // Outermost: refused calls are traced and counted too.
        .layer(middleware::from_fn_with_state(observer, observe::observe));
    Ok((router, health))
}

/// For whoever points a browser or curl here.
async fn greeting() -> impl IntoResponse {
    "This is the control port of Roadstead, a pull-through cache for container images.\n\
     It speaks gRPC; `grpcurl -plaintext HOST:PORT list` shows the services, and `roadstead --help` the commands\n\
     that use them. GET /openapi.json describes the REST calls for scripts written against GitLab.\n\
     Images are pulled from the registry port, not from here.\n"
}
