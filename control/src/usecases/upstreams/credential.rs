//! Groups' credentials for upstreams, stored sealed.

use roadstead_proto::{GroupPath, UpstreamHost};
use secrecy::{ExposeSecret as _, SecretString};

use crate::{
    auth::seal::{SealError, Sealer},
    rules::{access::Actor, groups::group::Group, violation::Violation},
    store::{
        Store, WriteTx, audit,
        changes::Subject,
        groups::group,
        upstreams::credential::{self, StoredCredential},
    },
    usecases::{Page, UseCaseError, UseCaseResult, group_at, group_with, jobs::JobRequests},
};

/// Most characters in a user name for an upstream.
const MAX_USERNAME_CHARS: usize = 255;
/// Most characters in a password for an upstream.
const MAX_PASSWORD_CHARS: usize = 4096;

/// Returns the purpose that a group's password is sealed for.
fn purpose(group_id: &str, host: &str) -> String {
    format!("credential of group {group_id} for {host}")
}

/// Credentials that somebody stores.
pub struct NewCredential {
    /// The upstream.
    pub host: UpstreamHost,
    /// User name.
    pub username: String,
    /// Password or token.
    pub password: SecretString,
    /// True if a node tries them first.
    pub verify: bool,
    /// True if the group need not have credentials for the upstream yet.
    pub allow_missing: bool,
}

/// A group's credentials for an upstream, without the password.
#[derive(Clone, Debug)]
pub struct Credential {
    /// The upstream's host.
    pub host: String,
    /// The user name.
    pub username: String,
    /// When they were stored.
    pub updated_at_ms: i64,
}

/// Replaces a group's credentials for an upstream, sealed, after a node has tried them where that is asked for.
pub async fn update(
    store: &Store,
    sealer: &Sealer,
    jobs: &JobRequests,
    actor: &Actor,
    path: &GroupPath,
    given: NewCredential,
    now_ms: i64,
) -> UseCaseResult<Credential> {
    let NewCredential { host, username, password, verify, allow_missing } = &given;
    check(username, password)?;
    if *verify {
        let mut tx = store.read().await?;
        let group = group_at(&mut tx, path).await?;
        may_use(&group, host)?;
        may_be_missing(*allow_missing, credential::get(&mut tx, &group.id, host.as_str()).await?.as_ref(), host)?;
        drop(tx);
        // No transaction is held meanwhile: upstream may take its time.
        jobs.verify_credential(host, username, password).await?;
    }
    let mut tx = store.write().await?;
    let group = group_at(&mut tx, path).await?;
    may_use(&group, host)?;
    let before = credential::get(&mut tx, &group.id, host.as_str()).await?;
    may_be_missing(*allow_missing, before.as_ref(), host)?;
    let action = if before.is_some() { "credential.update" } else { "credential.create" };
    let sealed_password = sealer.seal(&purpose(&group.id, host.as_str()), password.expose_secret().as_bytes())?;
    let stored = StoredCredential { username: username.clone(), sealed_password, updated_at_ms: now_ms };
    credential::put(&mut tx, &group.id, host.as_str(), &stored).await?;
    let epoch = tx.changed(&Subject::Group(group.id.clone()), now_ms).await?;
    group::set_credential_epoch(&mut tx, &group.id, epoch).await?;
    let done = actor.did(action, host.as_str()).of_group(path).detail(format!("user name {username}"));
    audit::record(&mut tx, &done, now_ms).await?;
    tx.commit().await?;
    Ok(Credential { host: host.to_string(), username: username.clone(), updated_at_ms: now_ms })
}

/// Reads a group's credentials for an upstream, without the password.
pub async fn show(store: &Store, path: &GroupPath, host: &UpstreamHost) -> UseCaseResult<Credential> {
    let mut tx = store.read().await?;
    let group = group_at(&mut tx, path).await?;
    let stored = credential::get(&mut tx, &group.id, host.as_str()).await?.ok_or_else(|| no_credential(host))?;
    Ok(Credential { host: host.to_string(), username: stored.username, updated_at_ms: stored.updated_at_ms })
}

/// Reads a group's credentials for the upstreams that follow the host `after`, without the passwords.
pub async fn list(store: &Store, path: &GroupPath, after: &str, limit: i64) -> UseCaseResult<Page<Credential>> {
    let mut tx = store.read().await?;
    let group = group_at(&mut tx, path).await?;
    let found = credential::page(&mut tx, &group.id, after, limit + 1).await?.into_iter();
    let shown = found.map(|(host, username, updated_at_ms)| Credential { host, username, updated_at_ms });
    Ok(Page::cut(shown.collect(), limit))
}

/// Deletes a group's credentials for an upstream.
pub async fn delete(
    store: &Store,
    actor: &Actor,
    path: &GroupPath,
    host: &UpstreamHost,
    now_ms: i64,
) -> UseCaseResult<()> {
    let mut tx = store.write().await?;
    let group = group_at(&mut tx, path).await?;
    if !credential::delete(&mut tx, &group.id, host.as_str()).await? {
        return Err(no_credential(host));
    }
    let epoch = tx.changed(&Subject::Group(group.id.clone()), now_ms).await?;
    group::set_credential_epoch(&mut tx, &group.id, epoch).await?;
    audit::record(&mut tx, &actor.did("credential.delete", host.as_str()).of_group(path), now_ms).await?;
    Ok(tx.commit().await?)
}

/// The user name of a group's credentials for an upstream; `None` if it has none.
pub async fn username(store: &Store, group_id: &str, host: &UpstreamHost) -> UseCaseResult<Option<String>> {
    let stored = credential::get(&mut *store.read().await?, group_id, host.as_str()).await?;
    Ok(stored.map(|stored| stored.username))
}

/// A group's credentials for an upstream (user name and password), and the epoch of that answer.
pub async fn get(
    store: &Store,
    sealer: &Sealer,
    group_id: &str,
    host: &UpstreamHost,
) -> UseCaseResult<(Option<(String, SecretString)>, i64)> {
    let mut tx = store.read().await?;
    let group = group_with(&mut tx, group_id).await?;
    let Some(stored) = credential::get(&mut tx, group_id, host.as_str()).await? else {
        return Ok((None, group.credential_epoch));
    };
    let what = purpose(group_id, host.as_str());
    let opened = sealer.open_sealed(&what, &stored.sealed_password)?;
    let password = std::str::from_utf8(opened.expose_secret()).map_err(|_| SealError::DoesNotOpen { what })?.to_owned();
    Ok((Some((stored.username, password.into())), group.credential_epoch))
}

/// Seals every password again, with the key that seals now. Answers how many there are.
pub(crate) async fn reseal(tx: &mut WriteTx, sealer: &Sealer) -> UseCaseResult<i64> {
    let all = credential::all(tx).await?;
    let mut resealed = 0;
    for held in all {
        let what = purpose(&held.group_id, &held.host);
        let opened = sealer.open_sealed(&what, &held.sealed_password)?;
        let sealed_password = sealer.seal(&what, opened.expose_secret())?;
        credential::set_sealed(tx, &credential::Held { sealed_password, ..held }).await?;
        resealed += 1;
    }
    Ok(resealed)
}

fn may_use(group: &Group, host: &UpstreamHost) -> UseCaseResult<()> {
    if group.settings.upstreams.contains(host) {
        return Ok(());
    }
    let path = &group.path;
    Err(UseCaseError::Precondition(format!(
        "group {path} may not use upstream {host}; add it to the group's list first, with `group update`"
    )))
}

fn may_be_missing(allow_missing: bool, before: Option<&StoredCredential>, host: &UpstreamHost) -> UseCaseResult<()> {
    if allow_missing || before.is_some() { Ok(()) } else { Err(no_credential(host)) }
}

fn no_credential(host: &UpstreamHost) -> UseCaseError {
    UseCaseError::NotFound {
        what: "credential of this group for upstream",
        name: host.to_string(),
        hint: "store one with `upstream login`",
    }
}

fn check(username: &str, password: &SecretString) -> UseCaseResult<()> {
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
    if found.is_empty() { Ok(()) } else { Err(UseCaseError::Invalid(found)) }
}
