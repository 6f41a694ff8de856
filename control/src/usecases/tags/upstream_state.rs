//! The state of upstreams for a group's credentials, for the freshness rule.

use roadstead_proto::UpstreamHost;

use crate::{
    rules::{tags::freshness::UpstreamState, upstreams::pull_limit},
    store::{
        Connection,
        upstreams::{condition, credential, upstream},
    },
    usecases::UseCaseResult,
};

/// The state of an upstream for the credentials that a group has for it.
pub async fn state(
    db: &mut Connection,
    group_id: &str,
    host: &UpstreamHost,
    now_ms: i64,
) -> UseCaseResult<UpstreamState> {
    let known = condition::of_upstream(db, host.as_str()).await?;
    if known.is_empty() {
        // Most upstreams tell no limit.
        return Ok(UpstreamState::default());
    }
    let credential = credential::get(db, group_id, host.as_str()).await?;
    let username = credential.map(|credential| credential.username).unwrap_or_default();
    let reserve_percent = upstream::by_host(db, host.as_str()).await?.map_or(0, |upstream| upstream.reserve_percent);
    let conditions: Vec<_> = known.into_iter().filter(|condition| condition.username == username).collect();
    Ok(pull_limit::state(host, &conditions, reserve_percent, now_ms))
}
