//! Users: create, read, change, delete, and tell who a name and password are.

use secrecy::{ExposeSecret as _, SecretString};

use crate::{
    auth::{password::Passwords, rotation::MAX_TOKEN_LIFETIME_MS},
    rules::{
        access::{Action, Actor, Denied, Principal},
        identity::user::{NewUser, PASSWORD_CHARS, User, UserChange, UserName},
        request::RequestId,
    },
    store::{
        Connection, Store, WriteTx, audit,
        changes::Subject,
        identity::{token, user},
    },
    usecases::{Page, UseCaseError, UseCaseResult, new_id, request},
};

/// The user that this name and password belong to, disabled or not. A wrong name takes as long as a wrong password.
pub(crate) async fn with_password(
    store: &Store,
    passwords: &Passwords,
    name: &str,
    password: &SecretString,
) -> UseCaseResult<Option<User>> {
    // No user has such a name or password, which everybody can know: telling it fast gives nothing away.
    let Ok(name) = name.parse::<UserName>() else { return Ok(None) };
    if !PASSWORD_CHARS.contains(&password.expose_secret().chars().count()) {
        return Ok(None);
    }
    let found = user::with_password_hash(&mut *store.read().await?, &name).await?;
    let (user, hash) = found.unzip();
    let right = passwords.verify(password, hash).await?;
    Ok(user.filter(|_| right))
}

/// Creates a user.
pub async fn create(
    store: &Store,
    passwords: &Passwords,
    actor: &Actor,
    new: NewUser,
    request: Option<&RequestId>,
    now_ms: i64,
) -> UseCaseResult<User> {
    let name = new.name().map_err(UseCaseError::Invalid)?;
    let password_hash = passwords.hash(&new.password).await?;
    let user = User {
        id: new_id(),
        name,
        admin: new.admin,
        disabled: false,
        etag: now_ms,
        epoch: 1,
        created_at_ms: now_ms,
        last_seen_at_ms: None,
    };
    let mut tx = store.write().await?;
    if let Some(earlier) = request::created_before(&mut tx, request, now_ms).await? {
        let found = user::by_id(&mut tx, &earlier.object).await?;
        return found.ok_or_else(|| UseCaseError::NotFound {
            what: "user",
            name: user.name.to_string(),
            hint: "it was deleted",
        });
    }
    if !user::insert(&mut tx, &user, &password_hash).await? {
        return Err(UseCaseError::AlreadyExists {
            what: "user",
            name: user.name.to_string(),
            hint: "change it with `user update`",
        });
    }
    request::record(&mut tx, request, &user.id, "", now_ms).await?;
    let detail = if user.admin { "administrator" } else { "" };
    audit::record(&mut tx, &actor.did("user.create", user.name.as_str()).detail(detail), now_ms).await?;
    tx.commit().await?;
    Ok(user)
}

/// Reads a user; everybody may read themselves.
pub async fn get(store: &Store, actor: &Actor, name: &UserName) -> UseCaseResult<User> {
    allow_for(actor, name, Action::ReadSelf, Action::ReadEverything)?;
    user_named(&mut *store.read().await?, name).await
}

/// Reads the users that follow the name `after`.
pub async fn list(store: &Store, after: &str, limit: i64) -> UseCaseResult<Page<User>> {
    let found = user::page(&mut *store.read().await?, after, limit + 1).await?;
    Ok(Page::cut(found, limit))
}

/// Changes a user, if it still has the etag (where one is given). People may change their own password.
pub async fn update(
    store: &Store,
    passwords: &Passwords,
    actor: &Actor,
    name: &UserName,
    etag: Option<i64>,
    change: UserChange,
    now_ms: i64,
) -> UseCaseResult<User> {
    if change.is_of_password_only() {
        allow_for(actor, name, Action::ChangePassword, Action::Administer)?;
    } else {
        actor.principal.may(Action::Administer)?;
    }
    let found = change.violations();
    if !found.is_empty() {
        return Err(UseCaseError::Invalid(found));
    }
    let password_hash = match &change.password {
        Some(password) => Some(passwords.hash(password).await?),
        None => None,
    };
    let mut tx = store.write().await?;
    let before = user_named(&mut tx, name).await?;
    if etag.is_some_and(|etag| etag != before.etag) {
        return Err(UseCaseError::Changed { what: "user", name: name.to_string() });
    }
    let changes = change.changes(&before);
    if changes.is_empty() {
        return Ok(before);
    }
    let mut user = User {
        admin: change.admin.unwrap_or(before.admin),
        disabled: change.disabled.unwrap_or(before.disabled),
        etag: now_ms.max(before.etag + 1),
        ..before.clone()
    };
    if change.voids_registry_tokens(&before) {
        user.epoch = void_registry_tokens(&mut tx, &user.id, now_ms).await?;
    }
    user::update(&mut tx, &user, password_hash).await?;
    audit::record(&mut tx, &actor.did("user.update", name.as_str()).detail(changes.join(", ")), now_ms).await?;
    tx.commit().await?;
    Ok(user)
}

/// Deletes a user with memberships and tokens.
pub async fn delete(store: &Store, actor: &Actor, name: &UserName, now_ms: i64) -> UseCaseResult<()> {
    let mut tx = store.write().await?;
    let user = user_named(&mut tx, name).await?;
    void_registry_tokens(&mut tx, &user.id, now_ms).await?;
    user::delete(&mut tx, &user.id).await?;
    audit::record(&mut tx, &actor.did("user.delete", name.as_str()), now_ms).await?;
    Ok(tx.commit().await?)
}

/// Allows `own` to the user with this name, and `others` to whoever may that.
pub(crate) fn allow_for(actor: &Actor, name: &UserName, own: Action, others: Action) -> Result<(), Denied> {
    match &actor.principal {
        Principal::User { name: caller, .. } if caller == name.as_str() && !actor.principal.is_admin() => {
            actor.principal.may(own)
        }
        Principal::User { name: caller, .. } if caller == name.as_str() => {
            actor.principal.may(others).or_else(|_| actor.principal.may(own))
        }
        _ => actor.principal.may(others),
    }
}

/// Returns the user with this name, or the refusal for a missing one.
pub(crate) async fn user_named(db: &mut Connection, name: &UserName) -> UseCaseResult<User> {
    user::by_name(db, name).await?.ok_or_else(|| UseCaseError::NotFound {
        what: "user",
        name: name.to_string(),
        hint: "`user list` shows those there are",
    })
}

/// Voids the registry tokens that a user has, on every node. Answers the epoch that new ones carry.
pub(crate) async fn void_registry_tokens(tx: &mut WriteTx, user_id: &str, now_ms: i64) -> UseCaseResult<i64> {
    let epoch = user::raise_epoch(tx, user_id).await?;
    token::revoke_user(tx, user_id, epoch, now_ms + MAX_TOKEN_LIFETIME_MS).await?;
    tx.changed(&Subject::Revocation(user_id.to_owned()), now_ms).await?;
    Ok(epoch)
}
