//! Upstreams: update, get, list, delete.

use roadstead_proto::UpstreamHost;

use crate::{
    rules::{
        access::Actor,
        limits::{Limit, Limits},
        upstreams::upstream::{Upstream, UpstreamChange},
    },
    store::{
        Store, audit,
        cache::content,
        changes::Subject,
        groups::{group, size},
        upstreams::{condition, credential, upstream},
    },
    usecases::{Page, UseCaseError, UseCaseResult},
};

/// The state that the caller of a change expects.
#[derive(Clone, Copy, Debug)]
pub struct Expected {
    /// Only change the upstream if it has this etag.
    pub etag: Option<i64>,
    /// Add the upstream if it does not exist.
    pub allow_missing: bool,
}

/// Changes an upstream's settings, or adds it.
pub async fn update(
    store: &Store,
    limits: &Limits,
    actor: &Actor,
    host: &str,
    Expected { etag, allow_missing }: Expected,
    change: UpstreamChange,
    now_ms: i64,
) -> UseCaseResult<Upstream> {
    let mut tx = store.write().await?;
    let had = size::total(&mut tx).await?;
    // `apply` refuses a host that does not parse, together with all other invalid fields.
    let before = match host.parse::<UpstreamHost>() {
        Ok(host) => {
            let before = upstream::by_host(&mut tx, host.as_str()).await?;
            if before.is_none() && !allow_missing {
                return Err(no_upstream(&host));
            }
            before
        }
        Err(_) => None,
    };
    if etag.is_some_and(|etag| before.as_ref().map(Upstream::etag) != Some(etag)) {
        return Err(UseCaseError::Changed { what: "upstream", name: host.to_owned() });
    }
    let action = if before.is_some() { "upstream.update" } else { "upstream.create" };
    let upstream = change.apply(host, before.as_ref(), now_ms).map_err(UseCaseError::Invalid)?;
    if before.is_some_and(|before| before.url != upstream.url) {
        // It may be another registry: what the one before served says nothing of this one's word.
        content::forget_source(&mut tx, &upstream.host).await?;
    }
    upstream::put(&mut tx, &upstream).await?;
    limits.check(Limit::TotalBytes, "this installation", had, size::total(&mut tx).await?)?;
    tx.changed(&Subject::Upstream(upstream.host.to_string()), now_ms).await?;
    let done = actor.did(action, upstream.host.as_str()).detail(format!("url {}", upstream.url));
    audit::record(&mut tx, &done, now_ms).await?;
    tx.commit().await?;
    Ok(upstream)
}

/// Reads the upstream with this host.
pub async fn get(store: &Store, host: &UpstreamHost) -> UseCaseResult<Upstream> {
    let found = upstream::by_host(&mut *store.read().await?, host.as_str()).await?;
    found.ok_or_else(|| no_upstream(host))
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
        return Err(no_upstream(host));
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

fn no_upstream(host: &UpstreamHost) -> UseCaseError {
    UseCaseError::NotFound { what: "upstream", name: host.to_string(), hint: "`upstream list` shows those there are" }
}
