//! Upstreams, and groups' credentials for them.

use roadstead_proto::{GroupPath, UpstreamHost};
use secrecy::{ExposeSecret as _, SecretString};

use crate::usecases::{Page, Plane, PlaneError, PlaneResult, group_at, group_with};
use crate::{
    rules::{
        access::Actor,
        groups::group::Group,
        upstreams::upstream::{Upstream, UpstreamRequest},
        violation::Violation,
    },
    store::{
        audit,
        changes::Subject,
        groups::group,
        upstreams::{
            condition,
            credential::{self, StoredCredential},
            upstream,
        },
    },
};

/// Most characters in a user name for an upstream.
const MAX_USERNAME_CHARS: usize = 255;
/// Most characters in a password for an upstream.
const MAX_PASSWORD_CHARS: usize = 4096;

/// What a group's password is sealed for.
fn purpose(group_id: &str, host: &UpstreamHost) -> String {
    format!("credential of group {group_id} for {host}")
}

impl Plane {
    /// Adds an upstream or replaces its settings.
    pub async fn set_upstream(&self, actor: &Actor, request: UpstreamRequest<'_>) -> PlaneResult<Upstream> {
        let now_ms = self.clock.now_ms();
        let upstream = Upstream::parse(request, now_ms).map_err(PlaneError::Invalid)?;
        let mut tx = self.store.write().await?;
        upstream::put(&mut tx, &upstream).await?;
        tx.changed(&Subject::Upstream(upstream.host.to_string()), now_ms).await?;
        let done = actor.did("upstream.set", upstream.host.as_str()).detail(format!("url {}", upstream.url));
        audit::record(&mut tx, &done, now_ms).await?;
        tx.commit().await?;
        Ok(upstream)
    }

    /// Reads the upstreams that follow the host `after`.
    pub async fn upstreams(&self, after: &str, limit: i64) -> PlaneResult<Page<Upstream>> {
        let found = upstream::page(&mut *self.store.read().await?, after, limit + 1).await?;
        Ok(Page::cut(found, limit))
    }

    /// Removes an upstream and the groups' credentials for it; the built-in one falls back to its settings.
    pub async fn delete_upstream(&self, actor: &Actor, host: &UpstreamHost) -> PlaneResult<()> {
        let mut tx = self.store.write().await?;
        if upstream::by_host(&mut tx, host.as_str()).await?.is_none() {
            return Err(PlaneError::NotFound {
                what: "upstream",
                name: host.to_string(),
                hint: "`upstream list` shows those there are",
            });
        }
        match Upstream::docker_hub() {
            Ok(hub) if hub.host == *host => upstream::put(&mut tx, &hub).await?,
            _ => {
                if let Some(path) = group::using_upstream(&mut tx, host.as_str()).await? {
                    return Err(PlaneError::Precondition(format!(
                        "group {path} may use upstream {host}; take it off the group's list first, with `group update`"
                    )));
                }
                upstream::delete(&mut tx, host.as_str()).await?;
                condition::delete_of_upstream(&mut tx, host.as_str()).await?;
            }
        }
        let now_ms = self.clock.now_ms();
        for group_id in credential::delete_of_upstream(&mut tx, host.as_str()).await? {
            let epoch = tx.changed(&Subject::Group(group_id.clone()), now_ms).await?;
            group::set_credential_epoch(&mut tx, &group_id, epoch).await?;
        }
        tx.changed(&Subject::Upstream(host.to_string()), now_ms).await?;
        audit::record(&mut tx, &actor.did("upstream.delete", host.as_str()), now_ms).await?;
        Ok(tx.commit().await?)
    }

    /// Stores a group's credentials for an upstream, sealed, after a node has tried them where that is asked for. Answers when.
    pub async fn set_credential(
        &self,
        actor: &Actor,
        path: &GroupPath,
        host: &UpstreamHost,
        username: &str,
        password: &SecretString,
        verify: bool,
    ) -> PlaneResult<i64> {
        check_credential(username, password)?;
        if verify {
            may_use(&group_at(&mut *self.store.read().await?, path).await?, host)?;
            // No transaction is held meanwhile: upstream may take its time.
            self.verify_credential(host, username, password).await?;
        }
        let now_ms = self.clock.now_ms();
        let mut tx = self.store.write().await?;
        let group = group_at(&mut tx, path).await?;
        may_use(&group, host)?;
        let sealed_password = self.sealer.seal(&purpose(&group.id, host), password.expose_secret().as_bytes())?;
        let credential = StoredCredential { username: username.to_owned(), sealed_password };
        credential::put(&mut tx, &group.id, host.as_str(), &credential, now_ms).await?;
        let epoch = tx.changed(&Subject::Group(group.id.clone()), now_ms).await?;
        group::set_credential_epoch(&mut tx, &group.id, epoch).await?;
        let done = actor.did("upstream.login", host.as_str()).of_group(path).detail(format!("user name {username}"));
        audit::record(&mut tx, &done, now_ms).await?;
        tx.commit().await?;
        Ok(now_ms)
    }

    /// Forgets a group's credentials for an upstream.
    pub async fn delete_credential(&self, actor: &Actor, path: &GroupPath, host: &UpstreamHost) -> PlaneResult<()> {
        let mut tx = self.store.write().await?;
        let group = group_at(&mut tx, path).await?;
        if !credential::delete(&mut tx, &group.id, host.as_str()).await? {
            return Err(PlaneError::NotFound {
                what: "credential of this group for upstream",
                name: host.to_string(),
                hint: "store one with `upstream login`",
            });
        }
        let now_ms = self.clock.now_ms();
        let epoch = tx.changed(&Subject::Group(group.id.clone()), now_ms).await?;
        group::set_credential_epoch(&mut tx, &group.id, epoch).await?;
        audit::record(&mut tx, &actor.did("upstream.logout", host.as_str()).of_group(path), now_ms).await?;
        Ok(tx.commit().await?)
    }

    /// The user name of a group's credentials for an upstream; `None` if it has none.
    pub async fn credential_username(&self, group_id: &str, host: &UpstreamHost) -> PlaneResult<Option<String>> {
        let stored = credential::get(&mut *self.store.read().await?, group_id, host.as_str()).await?;
        Ok(stored.map(|stored| stored.username))
    }

    /// A group's credentials for an upstream (user name and password), and the epoch of that answer.
    pub async fn credential(
        &self,
        group_id: &str,
        host: &UpstreamHost,
    ) -> PlaneResult<(Option<(String, SecretString)>, i64)> {
        let mut tx = self.store.read().await?;
        let group = group_with(&mut tx, group_id).await?;
        let Some(stored) = credential::get(&mut tx, group_id, host.as_str()).await? else {
            return Ok((None, group.credential_epoch));
        };
        let what = purpose(group_id, host);
        let opened = self.sealer.open_sealed(&what, &stored.sealed_password)?;
        let password = std::str::from_utf8(opened.expose_secret())
            .map_err(|_| crate::auth::seal::SealError::DoesNotOpen { what })?
            .to_owned();
        Ok((Some((stored.username, password.into())), group.credential_epoch))
    }
}

fn may_use(group: &Group, host: &UpstreamHost) -> PlaneResult<()> {
    if group.settings.upstreams.contains(host) {
        return Ok(());
    }
    let path = &group.path;
    Err(PlaneError::Precondition(format!(
        "group {path} may not use upstream {host}; add it to the group's list first, with `group update`"
    )))
}

fn check_credential(username: &str, password: &SecretString) -> PlaneResult<()> {
    let mut found = Vec::new();
    if username.is_empty() || username.chars().count() > MAX_USERNAME_CHARS || username.contains([':', '\n', '\r']) {
        found.push(Violation::new(
            "username",
            format!("required: at most {MAX_USERNAME_CHARS} characters, without a colon or line break"),
        ));
    }
    let password = password.expose_secret();
    if password.is_empty() || password.chars().count() > MAX_PASSWORD_CHARS {
        found.push(Violation::new("password", format!("required: at most {MAX_PASSWORD_CHARS} characters")));
    }
    if found.is_empty() { Ok(()) } else { Err(PlaneError::Invalid(found)) }
}
