//! Trust in issuers of OpenID Connect tokens: who may be trusted, who trusts whom, and whether a token is.

use std::collections::BTreeSet;

use roadstead_proto::GroupPath;
use secrecy::{ExposeSecret as _, SecretString};

use crate::{
    auth::rotation::MAX_TOKEN_LIFETIME_MS,
    clock::Clock,
    oidc::{IdToken, IssuerUrl, KeyCache, NewTrust, OidcRefused, Trust, Unverified},
    rules::{
        access::{Action, Actor, Denied, Reach},
        limits::{Limit, Limits},
        request::RequestId,
    },
    store::{
        Store, WriteTx, audit,
        changes::Subject,
        groups::group,
        identity::{
            oidc::{self, StoredIssuer},
            token,
        },
    },
    usecases::{Page, UseCaseError, UseCaseResult, group_at, new_id, request, room},
};

/// An ID token that is good, and who trusts it.
#[derive(Debug)]
pub struct TrustedToken {
    /// The token.
    pub token: IdToken,
    /// The trusts that take it, oldest first; never empty.
    pub trusts: Vec<Trust>,
}

/// Allows an issuer; nothing changes if it is allowed already.
pub async fn create_issuer(store: &Store, actor: &Actor, url: &IssuerUrl, now_ms: i64) -> UseCaseResult<StoredIssuer> {
    let mut tx = store.write().await?;
    let issuer = StoredIssuer { url: url.to_string(), created_at_ms: now_ms };
    if !oidc::insert_issuer(&mut tx, &issuer).await? {
        return Ok(oidc::issuer(&mut tx, url.as_str()).await?.unwrap_or(issuer));
    }
    audit::record(&mut tx, &actor.did("oidc.issuer.create", url.as_str()), now_ms).await?;
    tx.commit().await?;
    Ok(issuer)
}

/// Reads the issuer with this URL.
pub async fn get_issuer(store: &Store, url: &str) -> UseCaseResult<StoredIssuer> {
    oidc::issuer(&mut *store.read().await?, url).await?.ok_or_else(|| no_issuer(url))
}

/// Reads the issuers that follow the URL `after`.
pub async fn list_issuers(store: &Store, after: &str, limit: i64) -> UseCaseResult<Page<StoredIssuer>> {
    let found = oidc::issuers(&mut *store.read().await?, after, limit + 1).await?;
    Ok(Page::cut(found, limit))
}

/// Deletes an issuer and all trust in it.
pub async fn delete_issuer(
    store: &Store,
    issuer_keys: &KeyCache,
    actor: &Actor,
    url: &str,
    now_ms: i64,
) -> UseCaseResult<()> {
    let mut tx = store.write().await?;
    if oidc::issuer(&mut tx, url).await?.is_none() {
        return Err(no_issuer(url));
    }
    let trusts = oidc::of_issuer(&mut tx, url).await?;
    end(&mut tx, &trusts, now_ms).await?;
    oidc::delete_issuer(&mut tx, url).await?;
    let done = actor.did("oidc.issuer.delete", url).detail(format!("{} trusts", trusts.len()));
    audit::record(&mut tx, &done, now_ms).await?;
    tx.commit().await?;
    issuer_keys.forget(url);
    Ok(())
}

/// Makes a group trust an issuer's tokens.
pub async fn create_trust(
    store: &Store,
    limits: &Limits,
    actor: &Actor,
    new: NewTrust,
    request: Option<&RequestId>,
    now_ms: i64,
) -> UseCaseResult<Trust> {
    let found = new.violations();
    if !found.is_empty() {
        return Err(UseCaseError::Invalid(found));
    }
    let mut tx = store.write().await?;
    if let Some(earlier) = request::created_before(&mut tx, request, now_ms).await? {
        return oidc::trust(&mut tx, &earlier.object).await?.ok_or_else(|| no_trust(&earlier.object));
    }
    let group = group_at(&mut tx, &new.group).await?;
    if oidc::issuer(&mut tx, new.issuer.as_str()).await?.is_none() {
        return Err(UseCaseError::Precondition(format!(
            "issuer {} is not allowed here; an administrator can allow it with `oidc issuer create`",
            new.issuer
        )));
    }
    let trust = Trust {
        id: new_id(),
        group: group.path,
        issuer: new.issuer.to_string(),
        audience: new.audience,
        claims: new.claims,
        created_at_ms: now_ms,
    };
    oidc::insert_trust(&mut tx, &group.id, &trust).await?;
    let have = oidc::count(&mut tx, &group.id).await?;
    limits.check(Limit::Trusts, format!("group {}", trust.group), 0, have)?;
    // Like a token, nodes have to remember it for a while once it is gone.
    room::check_tokens(&mut tx, limits, &trust.group).await?;
    request::record(&mut tx, request, &trust.id, "", now_ms).await?;
    let done = actor.did("oidc.trust.create", trust.id.as_str()).of_group(&trust.group);
    audit::record(&mut tx, &done.detail(trust.to_string()), now_ms).await?;
    tx.commit().await?;
    Ok(trust)
}

/// Reads a group's trusts that follow the id `after`.
pub async fn list_trusts(store: &Store, path: &GroupPath, after: &str, limit: i64) -> UseCaseResult<Page<Trust>> {
    let mut tx = store.read().await?;
    let group = group_at(&mut tx, path).await?;
    Ok(Page::cut(oidc::page(&mut tx, &group.id, after, limit + 1).await?, limit))
}

/// Reads a trust, if the caller may do this to its group. One that does not exist looks like one of a group that the caller may
/// not know.
async fn trust_for(store: &Store, actor: &Actor, action: Action, id: &str) -> UseCaseResult<Trust> {
    let found = oidc::trust(&mut *store.read().await?, id).await?.ok_or_else(|| no_trust(id))?;
    match crate::usecases::access::authorize(store, actor, action, &found.group).await {
        Err(UseCaseError::Denied(Denied::NoSuchGroup { .. })) => Err(no_trust(id)),
        other => other.map(|()| found),
    }
}

/// Reads a trust.
pub async fn get_trust(store: &Store, actor: &Actor, id: &str) -> UseCaseResult<Trust> {
    trust_for(store, actor, Action::ReviewGroup, id).await
}

/// Deletes a trust.
pub async fn delete_trust(store: &Store, actor: &Actor, id: &str, now_ms: i64) -> UseCaseResult<()> {
    trust_for(store, actor, Action::ChangeGroup, id).await?;
    let mut tx = store.write().await?;
    // Read again: another call may have deleted it in between.
    let trust = oidc::trust(&mut tx, id).await?.ok_or_else(|| no_trust(id))?;
    let done = actor.did("oidc.trust.delete", id).of_group(&trust.group).detail(trust.to_string());
    end(&mut tx, &[trust], now_ms).await?;
    audit::record(&mut tx, &done, now_ms).await?;
    Ok(tx.commit().await?)
}

fn no_issuer(url: &str) -> UseCaseError {
    UseCaseError::NotFound { what: "issuer", name: url.to_owned(), hint: "`oidc issuer list` shows those there are" }
}

fn no_trust(id: &str) -> UseCaseError {
    UseCaseError::NotFound {
        what: "trust",
        name: id.to_owned(),
        hint: "it may be deleted already; `oidc trust list` shows those there are",
    }
}

/// Checks an ID token, and finds the groups that trust it. Asks nobody for keys but an issuer that is allowed and
/// trusted.
pub(crate) async fn trusted_token(
    store: &Store,
    clock: &Clock,
    issuer_keys: &KeyCache,
    text: &SecretString,
) -> UseCaseResult<Result<TrustedToken, OidcRefused>> {
    let unverified = match Unverified::parse(text.expose_secret()) {
        Ok(unverified) => unverified,
        Err(problem) => return Ok(Err(problem.into())),
    };
    let Ok(issuer) = unverified.issuer().parse::<IssuerUrl>() else { return Ok(Err(OidcRefused::Stranger)) };
    if !oidc::is_trusted(&mut *store.read().await?, issuer.as_str()).await? {
        return Ok(Err(OidcRefused::Stranger));
    }
    let keys = issuer_keys.keys(&issuer, unverified.key_id()).await?;
    let token = match unverified.verify(&keys, clock.now_ms()) {
        Ok(token) => token,
        Err(problem) => return Ok(Err(problem.into())),
    };
    let mut tx = store.read().await?;
    let mut trusts = Vec::new();
    for audience in token.audiences.iter().collect::<BTreeSet<_>>() {
        trusts.extend(oidc::for_audience(&mut tx, &token.issuer, audience).await?);
    }
    trusts.retain(|trust| trust.takes(&token));
    trusts.sort_by(|a, b| a.id.cmp(&b.id));
    Ok(if trusts.is_empty() { Err(OidcRefused::NoTrust) } else { Ok(TrustedToken { token, trusts }) })
}

/// Ends all trusts of a group that is being deleted.
pub(crate) async fn end_of_group(tx: &mut WriteTx, group_id: &str, now_ms: i64) -> UseCaseResult<()> {
    let trusts = oidc::page(tx, group_id, "", i64::MAX).await?;
    end(tx, &trusts, now_ms).await
}

/// Ends trusts, with all registry tokens issued for them: those of the groups and their subgroups by these groups'
/// access epoch, those for other groups, which are open to everybody who signed in, by the trust's id, which they
/// carry.
async fn end(tx: &mut WriteTx, trusts: &[Trust], now_ms: i64) -> UseCaseResult<()> {
    let mut concerned = BTreeSet::new();
    for trust in trusts {
        oidc::delete_trust(tx, &trust.id).await?;
        let owner = room::token_owner(tx, &trust.group).await?;
        token::revoke(tx, &trust.id, &owner, now_ms + MAX_TOKEN_LIFETIME_MS).await?;
        tx.changed(&Subject::Revocation(trust.id.clone()), now_ms).await?;
        for group in group::page(tx, &Reach::Within(trust.group.clone()), "", i64::MAX).await? {
            concerned.insert(group.id);
        }
    }
    for id in concerned {
        let epoch = tx.changed(&Subject::Group(id.clone()), now_ms).await?;
        group::set_access_epoch(tx, &id, epoch).await?;
    }
    Ok(())
}
