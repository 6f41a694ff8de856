//! Tickets: the control plane's word that a node may have one blob.

use http::{HeaderMap, header};
use jsonwebtoken::{Algorithm, Validation, decode, decode_header};
use roadstead_proto::{Digest, PEER_SERVICE};
use serde::Deserialize;

use crate::control::{GroupId, PolicySnapshot, RepositoryRef};

/// Longest ticket that is looked at, in bytes.
const MAX_TICKET_BYTES: usize = 4 * 1024;
/// How far this node's clock may be from the control plane's, in seconds.
const LEEWAY_SECONDS: u64 = 60;

#[derive(Deserialize)]
struct Claims {
    sub: String,
    digest: String,
    group_id: String,
    upstream: String,
    repository: String,
    link_epoch: i64,
}

/// Who shows a good ticket.
#[derive(Debug)]
pub(super) struct Asker {
    /// The node's id.
    pub node_id: String,
    /// On whose behalf it asks.
    pub repository: RepositoryRef,
    /// What was proven before this epoch does not count.
    pub link_epoch: i64,
}

/// Who asks, if the request carries a ticket for `digest`.
pub(super) fn verify(headers: &HeaderMap, digest: &Digest, policy: &PolicySnapshot) -> Option<Asker> {
    let (scheme, ticket) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("bearer") || ticket.len() > MAX_TICKET_BYTES {
        return None;
    }
    let key = policy.key(&decode_header(ticket).ok()?.kid?)?;
    let mut validation = Validation::new(Algorithm::EdDSA);
    validation.set_audience(&[PEER_SERVICE]);
    validation.set_issuer(&["roadstead"]);
    validation.set_required_spec_claims(&["exp", "aud", "iss", "sub"]);
    validation.validate_nbf = true;
    validation.leeway = LEEWAY_SECONDS;
    let claims = decode::<Claims>(ticket, key, &validation).ok()?.claims;
    if claims.digest.parse::<Digest>().ok()? != *digest {
        return None;
    }
    let repository = RepositoryRef {
        group: GroupId::from(claims.group_id.as_str()),
        upstream: claims.upstream.parse().ok()?,
        repository: claims.repository.parse().ok()?,
    };
    Some(Asker { node_id: claims.sub, repository, link_epoch: claims.link_epoch })
}
