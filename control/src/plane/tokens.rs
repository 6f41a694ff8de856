//! Tokens: make, list, revoke, and tell who holds one.

use roadstead_proto::GroupPath;
use secrecy::{ExposeSecret as _, SecretString};
use subtle::ConstantTimeEq as _;

use super::{Page, Plane, PlaneError, PlaneResult, group_at, new_id};
use crate::{
    access::{Actor, HeldToken, Principal, Reach},
    audit::Entry,
    auth::{rotation::MAX_TOKEN_LIFETIME_MS, secret},
    member::Role,
    store::{audit, changes::Subject, tokens},
    token::{NewToken, Token, TokenKind, TokenOwner},
};

impl Plane {
    /// Makes a token. Its secret is in the answer and nowhere else.
    pub async fn create_token(&self, actor: &Actor, new: NewToken) -> PlaneResult<(Token, SecretString)> {
        let scopes = new.scopes().map_err(PlaneError::Invalid)?;
        let kind = match new.owner {
            TokenOwner::Group(_) => TokenKind::Group,
            TokenOwner::Node => TokenKind::Node,
        };
        let secret = secret::generate(kind)?;
        let now_ms = self.clock.now_ms();
        let mut tx = self.store.write().await?;
        let (group, group_id) = match new.owner {
            TokenOwner::Group(path) => {
                let id = group_at(&mut tx, &path).await?.id;
                (Some(path), Some(id))
            }
            TokenOwner::Node => (None, None),
        };
        let token = Token {
            id: new_id(),
            kind,
            name: new.name,
            username: secret::generate_username(kind)?,
            group,
            user: None,
            role: None,
            scopes,
            created_at_ms: now_ms,
            expires_at_ms: new.lifetime_ms.map(|lifetime| now_ms + lifetime),
            last_used_at_ms: None,
        };
        tokens::insert(&mut tx, &token, group_id.as_deref(), &secret::hash(&secret)).await?;
        audit::record(&mut tx, &about(actor, "token.create", &token), now_ms).await?;
        tx.commit().await?;
        Ok((token, secret))
    }

    /// Reads the tokens that follow the id `after`, of one group or all.
    pub async fn tokens(&self, group: Option<&GroupPath>, after: &str, limit: i64) -> PlaneResult<Page<Token>> {
        let mut tx = self.store.read().await?;
        let group_id = match group {
            Some(path) => Some(group_at(&mut tx, path).await?.id),
            None => None,
        };
        let found = tokens::page(&mut tx, group_id.as_deref(), after, limit + 1).await?;
        Ok(Page::cut(found, limit))
    }

    /// Revokes a token that is within `reach`. One that is not there looks like one that is out of reach.
    pub async fn revoke_token(&self, actor: &Actor, id: &str) -> PlaneResult<()> {
        let mut tx = self.store.write().await?;
        let token = tokens::by_id(&mut tx, id).await?;
        if let Reach::Within(own) = actor.principal.reach() {
            let within = |path: &GroupPath| crate::group::contains(&own, path);
            if !token.as_ref().and_then(|token| token.group.as_ref()).is_some_and(within) {
                return Err(PlaneError::no_token(id));
            }
        }
        match token {
            None => Err(PlaneError::no_token(id)),
            Some(token) if token.kind == TokenKind::Admin => Err(PlaneError::Precondition(format!(
                "token {id} is the administrator's only token; without it nobody could administer this installation"
            ))),
            Some(token) => {
                let now_ms = self.clock.now_ms();
                tokens::revoke(&mut tx, id, now_ms + MAX_TOKEN_LIFETIME_MS).await?;
                tx.changed(&Subject::Revocation(id.to_owned()), now_ms).await?;
                audit::record(&mut tx, &about(actor, "token.revoke", &token), now_ms).await?;
                Ok(tx.commit().await?)
            }
        }
    }

    /// Who holds this secret, if it is good.
    pub async fn authenticate(&self, secret: &SecretString) -> PlaneResult<Option<Principal>> {
        let given = secret.expose_secret().as_bytes();
        if bool::from(given.ct_eq(self.embedded_node_token.expose_secret().as_bytes())) {
            return Ok(Some(Principal::Node));
        }
        Ok(self.live_token(secret).await?.and_then(principal))
    }

    /// The token with this secret, if it still works; notes that it was used.
    pub(super) async fn live_token(&self, given: &SecretString) -> PlaneResult<Option<Token>> {
        if !secret::is_plausible(given) {
            return Ok(None);
        }
        let now_ms = self.clock.now_ms();
        let found = tokens::by_secret_hash(&mut *self.store.read().await?, &secret::hash(given)).await?;
        let live = found.filter(|token| token.is_live(now_ms));
        if let Some(token) = &live {
            self.last_used.note(token, now_ms);
        }
        Ok(live)
    }
}

/// Whom a token stands for on the control port.
fn principal(token: Token) -> Option<Principal> {
    let held = HeldToken { id: token.id, name: token.name, scopes: token.scopes };
    match (token.kind, token.group) {
        (TokenKind::Admin, _) => Some(Principal::Admin),
        (TokenKind::Node, _) => Some(Principal::Node),
        (TokenKind::Group, Some(group)) => Some(Principal::Group { token: held, group, role: Role::Maintainer }),
        (TokenKind::GroupAccess, Some(group)) => Some(Principal::Group { token: held, group, role: token.role? }),
        (TokenKind::Service, group) => Some(Principal::Service { token: held, group }),
        (TokenKind::Job, _) => Some(Principal::Job { token: held }),
        (TokenKind::Personal | TokenKind::Group | TokenKind::GroupAccess, _) => None,
    }
}

/// The record of what was done to a token.
fn about(actor: &Actor, action: &'static str, token: &Token) -> Entry {
    let entry = actor.did(action, token.id.as_str()).detail(format!("{} token {}", token.kind.as_str(), token.name));
    match &token.group {
        Some(path) => entry.of_group(path),
        None => entry,
    }
}
