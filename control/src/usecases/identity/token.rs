//! Tokens: create, get, list, delete.

use roadstead_proto::{GroupPath, TokenKind};
use secrecy::{ExposeSecret as _, SecretString};

use crate::{
    auth::{rotation::MAX_TOKEN_LIFETIME_MS, seal::Sealer, secret},
    rules::{
        access::{Action, Actor, Denied},
        audit::Entry,
        identity::{
            token::{NewToken, Token, TokenOwner, TokenUser},
            user::UserName,
        },
        limits::{Limit, Limits},
        request::RequestId,
    },
    store::{Store, WriteTx, audit, changes::Subject, identity::token},
    usecases::{
        Page, UseCaseError, UseCaseResult, group_at,
        identity::user::{allow_for, user_named},
        new_id, request, room,
    },
};

/// The owners of tokens to list.
#[derive(Clone, Debug)]
pub enum TokensOf {
    /// Everybody's.
    All,
    /// A group's, of all kinds.
    Group(GroupPath),
    /// A person's.
    User(UserName),
}

/// Creates a token, if the caller may create one like it. Its secret is in the answer and nowhere else; for a request with an id
/// it is also stored, sealed, for the time in which a repeat answers it.
pub async fn create(
    store: &Store,
    sealer: &Sealer,
    limits: &Limits,
    actor: &Actor,
    new: NewToken,
    request: Option<&RequestId>,
    now_ms: i64,
) -> UseCaseResult<(Token, SecretString)> {
    may_create(store, actor, &new.owner).await?;
    let scopes = new.scopes().map_err(UseCaseError::Invalid)?;
    let kind = new.owner.kind();
    let secret = secret::generate(kind)?;
    let mut tx = store.write().await?;
    if let Some(earlier) = request::created_before(&mut tx, request, now_ms).await? {
        let found = token::by_id(&mut tx, &earlier.object).await?;
        let token = found.ok_or_else(|| UseCaseError::no_token(&earlier.object))?;
        let secret = sealer.open_text(&purpose(&token.id), &earlier.sealed_secret)?;
        return Ok((token, secret));
    }
    let group_id = match new.owner.group() {
        Some(path) => Some(group_at(&mut tx, path).await?.id),
        None => None,
    };
    let user = match &new.owner {
        TokenOwner::Person(name) => Some(user_named(&mut tx, name).await?),
        _ => None,
    };
    let token = Token {
        id: new_id(),
        kind,
        name: new.name,
        username: match &user {
            Some(user) => user.name.to_string(),
            None => secret::generate_username(kind)?,
        },
        group: new.owner.group().cloned(),
        user: user.map(|user| TokenUser { id: user.id, name: user.name.to_string() }),
        role: new.owner.role(),
        scopes,
        created_at_ms: now_ms,
        expires_at_ms: new.lifetime_ms.map(|lifetime| now_ms + lifetime),
        last_used_at_ms: None,
    };
    token::insert(&mut tx, &token, group_id.as_deref(), &secret::hash(&secret)).await?;
    check_count(&mut tx, limits, &token).await?;
    if request.is_some() {
        let sealed = sealer.seal(&purpose(&token.id), secret.expose_secret().as_bytes())?;
        request::record(&mut tx, request, &token.id, &sealed, now_ms).await?;
    }
    audit::record(&mut tx, &about(actor, "token.create", &token), now_ms).await?;
    tx.commit().await?;
    Ok((token, secret))
}

/// Refuses a token that was just added where its owner has too many.
async fn check_count(tx: &mut WriteTx, limits: &Limits, token: &Token) -> UseCaseResult<()> {
    if let Some(user) = &token.user {
        let have = token::count_of_user(tx, &user.id).await?;
        limits.check(Limit::Tokens, format!("user {}", user.name), 0, have)?;
    }
    match &token.group {
        Some(path) => room::check_tokens(tx, limits, path).await,
        None => Ok(()),
    }
}

/// Returns the purpose that a token's secret is sealed for.
fn purpose(id: &str) -> String {
    format!("secret of token {id}")
}

/// Adds a token of nobody in particular: the administrator's, or a node's. Answers its id.
pub(crate) async fn insert_unowned(
    tx: &mut WriteTx,
    kind: TokenKind,
    name: &str,
    secret: &SecretString,
    now_ms: i64,
) -> UseCaseResult<String> {
    let token = Token {
        id: new_id(),
        kind,
        name: name.into(),
        username: secret::generate_username(kind)?,
        group: None,
        user: None,
        role: None,
        scopes: Vec::new(),
        created_at_ms: now_ms,
        expires_at_ms: None,
        last_used_at_ms: None,
    };
    token::insert(tx, &token, None, &secret::hash(secret)).await?;
    Ok(token.id)
}

/// Returns whether the caller may make a token of this owner: none that may do more than the caller.
async fn may_create(store: &Store, actor: &Actor, owner: &TokenOwner) -> UseCaseResult<()> {
    match owner {
        TokenOwner::Node | TokenOwner::Service(None) => Ok(actor.principal.may(Action::Administer)?),
        TokenOwner::Person(name) => Ok(allow_for(actor, name, Action::ChangeSelf, Action::Administer)?),
        TokenOwner::Group(path) | TokenOwner::Job(path) | TokenOwner::Service(Some(path)) => {
            crate::usecases::access::authorize(store, actor, Action::ChangeGroup, path).await
        }
        TokenOwner::GroupAccess(path, role) => {
            crate::usecases::access::authorize(store, actor, Action::ChangeGroup, path).await?;
            let have = actor.principal.role_in(&crate::usecases::access::target(store, actor, path).await?);
            if have < Some(*role) {
                return Err(Denied::NeedsRole { needs: *role, have, group: path.clone() }.into());
            }
            Ok(())
        }
    }
}

/// Reads the tokens that follow the id `after`.
pub async fn list(store: &Store, actor: &Actor, of: &TokensOf, after: &str, limit: i64) -> UseCaseResult<Page<Token>> {
    match of {
        TokensOf::All => actor.principal.may(Action::ReadEverything)?,
        TokensOf::Group(path) => crate::usecases::access::authorize(store, actor, Action::ReviewGroup, path).await?,
        TokensOf::User(name) => allow_for(actor, name, Action::ReadSelf, Action::ReadEverything)?,
    }
    let mut tx = store.read().await?;
    let found = match of {
        TokensOf::All => token::page(&mut tx, after, limit + 1).await?,
        TokensOf::Group(path) => {
            let group = group_at(&mut tx, path).await?;
            token::page_of_group(&mut tx, &group.id, after, limit + 1).await?
        }
        TokensOf::User(name) => {
            let user = user_named(&mut tx, name).await?;
            token::page_of_user(&mut tx, &user.id, after, limit + 1).await?
        }
    };
    Ok(Page::cut(found, limit))
}

/// Reads a token that is within the caller's reach. One that does not exist looks like one that is out of reach.
pub async fn get(store: &Store, actor: &Actor, id: &str) -> UseCaseResult<Token> {
    let found = token::by_id(&mut *store.read().await?, id).await?;
    let token = found.ok_or_else(|| UseCaseError::no_token(id))?;
    let (of_group, own, other) = (Action::ReviewGroup, Action::ReadSelf, Action::ReadEverything);
    within_reach(store, actor, &token, (of_group, own, other)).await?;
    Ok(token)
}

/// Deletes a token that is within the caller's reach, which revokes it. One that does not exist looks like one that is out of
/// reach.
pub async fn delete(store: &Store, actor: &Actor, id: &str, now_ms: i64) -> UseCaseResult<()> {
    let found = token::by_id(&mut *store.read().await?, id).await?;
    let token = found.ok_or_else(|| UseCaseError::no_token(id))?;
    let (of_group, own, other) = (Action::ChangeGroup, Action::ChangeSelf, Action::Administer);
    within_reach(store, actor, &token, (of_group, own, other)).await?;
    if token.kind == TokenKind::Admin {
        return Err(UseCaseError::Precondition(format!(
            "token {id} is the administrator's token; without it nobody could administer this installation; replace it with \
             `admin-token rotate`"
        )));
    }
    let mut tx = store.write().await?;
    let owner = match (&token.user, &token.group) {
        (Some(user), _) => user.id.clone(),
        (None, Some(path)) => room::token_owner(&mut tx, path).await?,
        (None, None) => String::new(),
    };
    if !token::revoke(&mut tx, id, &owner, now_ms + MAX_TOKEN_LIFETIME_MS).await? {
        return Err(UseCaseError::no_token(id));
    }
    tx.changed(&Subject::Revocation(id.to_owned()), now_ms).await?;
    audit::record(&mut tx, &about(actor, "token.delete", &token), now_ms).await?;
    Ok(tx.commit().await?)
}

/// Checks whether the caller may do this: to a group's token, to its own, to any other.
async fn within_reach(
    store: &Store,
    actor: &Actor,
    token: &Token,
    (of_group, own, other): (Action, Action, Action),
) -> UseCaseResult<()> {
    let allowed = match (&token.group, &token.user) {
        (Some(path), _) => {
            let target = crate::usecases::access::target(store, actor, path).await?;
            match actor.principal.may_on(of_group, &target) {
                // Somebody with a role there may know of it.
                Err(denied @ Denied::NeedsRole { have: Some(_), .. }) => return Err(denied.into()),
                allowed => allowed,
            }
        }
        (None, Some(user)) if actor.principal.user_id() == Some(&user.id) => actor.principal.may(own),
        (None, _) => actor.principal.may(other),
    };
    allowed.map_err(|_| UseCaseError::no_token(&token.id))
}

/// The record of what was done to a token.
fn about(actor: &Actor, action: &'static str, token: &Token) -> Entry {
    let mut detail = format!("{} token {}", token.kind.as_str(), token.name);
    if let Some(user) = &token.user {
        detail = format!("{detail} of user {}", user.name);
    }
    let entry = actor.did(action, token.id.as_str()).detail(detail);
    match &token.group {
        Some(path) => entry.of_group(path),
        None => entry,
    }
}
