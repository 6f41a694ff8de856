//! The first content of an empty database: the administrator's token, the built-in upstream, a group, a signing key.

use roadstead_proto::{TokenKind, Visibility};

use secrecy::SecretString;

use super::UseCaseResult;
use crate::{
    auth::secret,
    rules::{groups::group::GroupSettings, upstreams::upstream::Upstream},
    store::{Store, WriteTx, changes::Subject, identity::token, upstreams::upstream},
    usecases::{
        groups::group::insert_group,
        identity::{signing_keys::SigningKeys, token::insert_unowned},
    },
};

/// Path of the group that is there from the start.
pub const DEFAULT_GROUP: &str = "default";

/// The fate of the administrator's token at a start.
pub enum AdminToken {
    /// It was there before.
    Kept,
    /// It was there before, and what was given now is another: that is ignored.
    KeptAnother,
    /// The one given was taken.
    Taken,
    /// This one was made.
    Made(SecretString),
}

/// The fate of a given node token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeToken {
    /// It is a node's.
    Good,
    /// It is a token of another kind, and stays so.
    OfAnother,
}

/// Sees to it that nodes can come with this token.
pub async fn admit_node_token(store: &Store, given: &SecretString, now_ms: i64) -> UseCaseResult<NodeToken> {
    let mut tx = store.write().await?;
    if let Some(found) = token::by_secret_hash(&mut tx, &secret::hash(given)).await? {
        return Ok(if found.kind == TokenKind::Node { NodeToken::Good } else { NodeToken::OfAnother });
    }
    insert_unowned(&mut tx, TokenKind::Node, "bootstrap", given, now_ms).await?;
    tx.commit().await?;
    Ok(NodeToken::Good)
}

/// Brings the database to where it can be used. `keep` makes a secret durable outside the database before the
/// database relies on it.
pub async fn start(
    store: &Store,
    keys: &SigningKeys,
    given: Option<&SecretString>,
    keep: impl FnOnce(&SecretString) -> UseCaseResult<()>,
    now_ms: i64,
) -> UseCaseResult<AdminToken> {
    let mut tx = store.write().await?;
    refresh_docker_hub(&mut tx, now_ms).await?;
    let admin = if token::has_admin(&mut tx).await? {
        match given {
            Some(given) => {
                let found = token::by_secret_hash(&mut tx, &secret::hash(given)).await?;
                if found.is_some_and(|token| token.kind == TokenKind::Admin) {
                    AdminToken::Kept
                } else {
                    AdminToken::KeptAnother
                }
            }
            None => AdminToken::Kept,
        }
    } else {
        create_default_group(&mut tx, now_ms).await?;
        let (secret, admin) = match given {
            Some(given) => (given.clone(), AdminToken::Taken),
            None => {
                let secret = secret::generate(TokenKind::Admin)?;
                keep(&secret)?;
                (secret.clone(), AdminToken::Made(secret))
            }
        };
        insert_unowned(&mut tx, TokenKind::Admin, "administrator", &secret, now_ms).await?;
        admin
    };
    tx.commit().await?;
    keys.rotate().await?;
    Ok(admin)
}

/// The built-in upstream as this version knows it, unless an administrator changed it.
async fn refresh_docker_hub(tx: &mut WriteTx, now_ms: i64) -> UseCaseResult<()> {
    let Ok(hub) = Upstream::docker_hub() else { return Ok(()) };
    let stored = upstream::by_host(tx, hub.host.as_str()).await?;
    if stored.as_ref().is_none_or(|stored| stored.updated_at_ms.is_none() && *stored != hub) {
        upstream::put(tx, &hub).await?;
        tx.changed(&Subject::Upstream(hub.host.to_string()), now_ms).await?;
    }
    Ok(())
}

async fn create_default_group(tx: &mut WriteTx, now_ms: i64) -> UseCaseResult<()> {
    let (Ok(path), Ok(hub)) = (DEFAULT_GROUP.parse(), Upstream::docker_hub()) else { return Ok(()) };
    let settings =
        GroupSettings { visibility: Visibility::Public, anonymous_pull: true, ..GroupSettings::new(vec![hub.host]) };
    insert_group(tx, path, settings, now_ms).await.map(|_| ())
}
