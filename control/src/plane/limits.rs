//! How upstreams are doing for a group's credentials, as the rule of freshness asks for it.

use roadstead_proto::UpstreamHost;

use super::PlaneResult;
use crate::{
    freshness::UpstreamState,
    pull_limit,
    store::{conditions, credentials, upstreams},
};

/// The state of an upstream for the credentials that a group has for it.
pub async fn state(
    db: &mut sqlx::AnyConnection,
    group_id: &str,
    host: &UpstreamHost,
    now_ms: i64,
) -> PlaneResult<UpstreamState> {
    let known = conditions::of_upstream(db, host.as_str()).await?;
    if known.is_empty() {
        // Most upstreams tell no limit.
        return Ok(UpstreamState::default());
    }
    let credential = credentials::get(db, group_id, host.as_str()).await?;
    let username = credential.map(|credential| credential.username).unwrap_or_default();
    let reserve_percent = upstreams::by_host(db, host.as_str()).await?.map_or(0, |upstream| upstream.reserve_percent);
    let conditions: Vec<_> = known.into_iter().filter(|condition| condition.username == username).collect();
    Ok(pull_limit::state(host, &conditions, reserve_percent, now_ms))
}
