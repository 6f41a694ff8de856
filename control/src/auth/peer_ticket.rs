//! Tickets: the JWTs by which one node gets one blob from another. They name what, and on whose behalf, never a secret.

use roadstead_proto::{Digest, PEER_SERVICE, RepositoryRef};
use serde::Serialize;

use super::registry_token::ISSUER;

/// Time for which a ticket is good, in seconds. It is looked at when a transfer begins, and each one has its own.
const LIFETIME_SECONDS: i64 = 300;

/// The claims of a ticket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Ticket {
    iss: &'static str,
    aud: &'static str,
    /// The node that asks.
    sub: String,
    iat: i64,
    nbf: i64,
    exp: i64,
    /// The blob.
    digest: String,
    /// On whose behalf it is wanted: for them the owner tells whether their right is proven.
    group_id: String,
    upstream: String,
    repository: String,
    /// Proofs from before this epoch do not count.
    link_epoch: i64,
}

impl Ticket {
    /// Returns the claims of a ticket issued now.
    pub fn new(node_id: &str, digest: &Digest, repository: &RepositoryRef, link_epoch: i64, now_ms: i64) -> Self {
        let now = now_ms.div_euclid(1000);
        Self {
            iss: ISSUER,
            aud: PEER_SERVICE,
            sub: node_id.to_owned(),
            iat: now,
            nbf: now,
            exp: now + LIFETIME_SECONDS,
            digest: digest.to_string(),
            group_id: repository.group.to_string(),
            upstream: repository.upstream.to_string(),
            repository: repository.repository.to_string(),
            link_epoch,
        }
    }
}
