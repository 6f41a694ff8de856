//! `/groups/{id}/dependency_proxy/cache`

use axum::{
    Extension,
    extract::{Path, State},
};
use http::StatusCode;
use roadstead_proto::v1::{PurgeCacheRequest, cache_service_server::CacheService as _};

use super::{
    Shim,
    refusal::{Refusal, Refused},
};
use crate::rules::access::Actor;

/// Purges a group's cache: nothing that was cached is served any more once this returns; the bytes go later.
#[utoipa::path(
    delete,
    path = "/api/v4/groups/{id}/dependency_proxy/cache",
    operation_id = "purgeCache",
    params(("id" = String, Path, description = "Id or URL-encoded path of the group", example = "acme%2Fbackend")),
    responses(
        (status = 202, description = "Purged"),
        (status = 401, description = "No token, or one that is no good", body = Refusal),
        (status = 403, description = "The token may not purge this group", body = Refusal),
        (status = 404, description = "There is no such group, as far as the caller may know", body = Refusal),
        (status = 429, description = "Too many calls with wrong tokens; Retry-After says how long to wait", body = Refusal),
    ),
)]
pub async fn purge(
    State(shim): State<Shim>,
    Extension(actor): Extension<Actor>,
    Path(id): Path<String>,
) -> Result<StatusCode, Refused> {
    let group_path = shim.group_path(&id).await?;
    let request = PurgeCacheRequest::whole_group(group_path);
    shim.changing(&actor, "cache.purge", shim.0.cache.purge_cache(Shim::request(&actor, request))).await?;
    Ok(StatusCode::ACCEPTED)
}
