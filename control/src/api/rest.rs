//! The REST shim, for scripts that were written against GitLab: its routes, headers and status codes, in front of the
//! same services that gRPC callers use. `/openapi.json`, generated from the handlers, describes the answers.
//!
//! It guarantees that nothing can be done here that the gRPC call behind it would refuse, and leaves everything that
//! GitLab has no call for to gRPC.

mod cache;
pub mod caller;
mod refusal;
mod settings;

use std::sync::Arc;

use axum::{Json, Router, routing::get};
use tonic::{Request, Status};
use utoipa::{
    Modify, OpenApi,
    openapi::security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme},
};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::refused_changes;
use crate::{
    api::{
        errors::from_use_case,
        public::{cache::Cache, group::Groups, upstream::Upstreams},
    },
    rules::access::Actor,
    store::Store,
    usecases::{audit::AuditLog, groups},
};

/// The state of the handlers.
#[derive(Clone)]
struct Shim(Arc<Services>);

struct Services {
    store: Store,
    audit: Arc<AuditLog>,
    groups: Groups,
    upstreams: Upstreams,
    cache: Cache,
}

impl Shim {
    /// A call of a service, by this caller.
    fn request<T>(actor: &Actor, message: T) -> Request<T> {
        let mut request = Request::new(message);
        request.extensions_mut().insert(actor.clone());
        request
    }

    /// Path of the group that a URL names by id or path, there or not.
    async fn group_path(&self, id: &str) -> Result<String, Status> {
        groups::group::path_of(&self.0.store, id).await.map_err(from_use_case)
    }

    /// A call that changes something: recorded where it is refused, as over gRPC.
    async fn changing<T>(
        &self,
        actor: &Actor,
        action: &'static str,
        call: impl Future<Output = Result<T, Status>>,
    ) -> Result<T, Status> {
        refused_changes::recorded(&self.0.audit, actor, action, call).await
    }
}

/// The description, to which the handlers add themselves.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "Roadstead: REST calls as GitLab's Dependency Proxy has them",
        description = "For scripts that were written against GitLab. Everything else is gRPC, on the same port.",
        license(name = "Apache-2.0", identifier = "Apache-2.0"),
    ),
    security(("private_token" = []), ("bearer" = [])),
    modifiers(&Credentials),
)]
struct Description;

/// The ways of authentication.
struct Credentials;

impl Modify for Credentials {
    fn modify(&self, description: &mut utoipa::openapi::OpenApi) {
        let components = description.components.get_or_insert_default();
        let header = ApiKey::Header(ApiKeyValue::new("PRIVATE-TOKEN"));
        components.add_security_scheme("private_token", SecurityScheme::ApiKey(header));
        let bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build();
        components.add_security_scheme("bearer", SecurityScheme::Http(bearer));
    }
}

/// The routes, and their description at `/openapi.json`. Callers are known by then, see [`caller::tell`].
pub fn router(store: Store, audit: Arc<AuditLog>, groups: Groups, upstreams: Upstreams, cache: Cache) -> Router {
    let services = Services { store, audit, groups, upstreams, cache };
    let (router, description) = OpenApiRouter::with_openapi(Description::openapi())
        .routes(routes!(cache::purge))
        .routes(routes!(settings::read, settings::change))
        .with_state(Shim(Arc::new(services)))
        .split_for_parts();
    let description = Arc::new(description);
    router.method_not_allowed_fallback(refusal::no_such_method).route(
        "/openapi.json",
        get(move || {
            let description = description.clone();
            async move { Json((*description).clone()) }
        }),
    )
}
