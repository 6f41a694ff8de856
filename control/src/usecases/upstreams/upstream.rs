//! Upstreams: set, list, delete.

use roadstead_proto::UpstreamHost;

use crate::{
    rules::{
        access::Actor,
        upstreams::upstream::{Upstream, UpstreamRequest},
    },
    store::{
        Store, audit,
        cache::content,
        changes::Subject,
        groups::group,
        upstreams::{condition, credential, upstream},
    },
    usecases::{Page, UseCaseError, UseCaseResult},
};

/// Adds an upstream or replaces its settings.
pub async fn set(store: &Store, actor: &Actor, request: UpstreamRequest<'_>, now_ms: i64) -> UseCaseResult<Upstream> {
    let upstream = Upstream::parse(request, now_ms).map_err(UseCaseError::Invalid)?;
    let mut tx = store.write().await?;
    let before = upstream::by_host(&mut tx, upstream.host.as_str()).await?;
    if before.is_some_and(|before| before.url != upstream.url) {
        // It may be another registry: what the one before served says nothing of this one's word.
        content::forget_source(&mut tx, &upstream.host).await?;
    }
    upstream::put(&mut tx, &upstream).await?;
    tx.changed(&Subject::Upstream(upstream.host.to_string()), now_ms).await?;
    let done = actor.did("upstream.set", upstream.host.as_str()).detail(format!("url {}", upstream.url));
    audit::record(&mut tx, &done, now_ms).await?;
    tx.commit().await?;
    Ok(upstream)
}

/// Reads the upstreams that follow the host `after`.
pub async fn list(store: &Store, after: &str, limit: i64) -> UseCaseResult<Page<Upstream>> {
    let found = upstream::page(&mut *store.read().await?, after, limit + 1).await?;
    Ok(Page::cut(found, limit))
}

/// Removes an upstream and the groups' credentials for it; the built-in one falls back to its settings.
pub async fn delete(store: &Store, actor: &Actor, host: &UpstreamHost, now_ms: i64) -> UseCaseResult<()> {
    let mut tx = store.write().await?;
    if upstream::by_host(&mut tx, host.as_str()).await?.is_none() {
        return Err(UseCaseError::NotFound {
            what: "upstream",
            name: host.to_string(),
            hint: "`upstream list` shows those there are",
        });
    }
    content::forget_source(&mut tx, host).await?;
    match Upstream::docker_hub() {
        Ok(hub) if hub.host == *host => upstream::put(&mut tx, &hub).await?,
        _ => {
            if let Some(path) = group::using_upstream(&mut tx, host.as_str()).await? {
                return Err(UseCaseError::Precondition(format!(
                    "group {path} may use upstream {host}; take it off the group's list first, with `group update`"
                )));
            }
            upstream::delete(&mut tx, host.as_str()).await?;
            condition::delete_of_upstream(&mut tx, host.as_str()).await?;
        }
    }
    for group_id in credential::delete_of_upstream(&mut tx, host.as_str()).await? {
        let epoch = tx.changed(&Subject::Group(group_id.clone()), now_ms).await?;
        group::set_credential_epoch(&mut tx, &group_id, epoch).await?;
    }
    tx.changed(&Subject::Upstream(host.to_string()), now_ms).await?;
    audit::record(&mut tx, &actor.did("upstream.delete", host.as_str()), now_ms).await?;
    Ok(tx.commit().await?)
}
