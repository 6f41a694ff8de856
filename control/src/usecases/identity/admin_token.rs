//! The administrator's token, replaced.

use std::{fs, path::Path};

use roadstead_proto::TokenKind;
use secrecy::{ExposeSecret as _, SecretString};

use crate::{
    auth::{
        seal::{SealError, write_private},
        secret,
    },
    rules::{access::Actor, identity::token::chosen_secret_fault},
    store::{Store, audit, identity::token},
    usecases::{UseCaseError, UseCaseResult, identity::token::insert_unowned},
};

/// Replaces the administrator's token by the one that was chosen, or else by one that is made here; the old one is void with the commit, at every replica. Answers the new one's id and
/// secret. The file `kept_in`, if it is there, holds the new one afterwards; a crash in between leaves the new one
/// beside it.
pub async fn rotate(
    store: &Store,
    actor: &Actor,
    chosen: Option<SecretString>,
    kept_in: &Path,
    now_ms: i64,
) -> UseCaseResult<(String, SecretString)> {
    if let Some(fault) = chosen.as_ref().and_then(|chosen| chosen_secret_fault(chosen.expose_secret())) {
        return Err(UseCaseError::invalid("new_token", fault));
    }
    let secret = match chosen {
        Some(chosen) => chosen,
        None => secret::generate(TokenKind::Admin)?,
    };
    let mut tx = store.write().await?;
    if token::by_secret_hash(&mut tx, &secret::hash(&secret)).await?.is_some() {
        return Err(UseCaseError::invalid("new_token", "there is such a token already; choose another"));
    }
    token::delete_admins(&mut tx).await?;
    let id = insert_unowned(&mut tx, TokenKind::Admin, "administrator", &secret, now_ms).await?;
    audit::record(&mut tx, &actor.did("admin_token.rotate", id.as_str()), now_ms).await?;
    let staged = kept_in.with_extension("next");
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| SealError::File { path, source }
    };
    let is_kept = kept_in.exists();
    if is_kept {
        write_private(&staged, &format!("{}\n", secret.expose_secret())).map_err(failed(&staged))?;
    }
    tx.commit().await?;
    if is_kept {
        fs::rename(&staged, kept_in).map_err(failed(kept_in))?;
    }
    Ok((id, secret))
}
