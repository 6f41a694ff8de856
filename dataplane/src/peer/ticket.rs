//! Tickets: the control plane's word that a node may have one blob.

use http::{HeaderMap, header};
use jsonwebtoken::{Algorithm, Validation, decode, decode_header};
use roadstead_proto::{Digest, PEER_SERVICE};
use serde::Deserialize;

use crate::control::{GroupId, PolicySnapshot, RepositoryRef};

/// Longest ticket that is looked at, in bytes.
const MAX_TICKET_BYTES: usize = 4 * 1024;
/// Largest difference between this node's clock and the control plane's, in seconds.
const LEEWAY_SECONDS: u64 = 150;

#[derive(Deserialize)]
struct Claims {
    sub: String,
    digest: String,
    group_id: String,
    upstream: String,
    repository: String,
    link_epoch: i64,
}

/// The target of a valid ticket.
#[derive(Debug)]
pub(super) struct Asker {
    /// The node's id.
    pub node_id: String,
    /// On whose behalf it asks.
    pub repository: RepositoryRef,
    /// Proofs from before this epoch do not count.
    pub link_epoch: i64,
}

/// Returns the target, if the request carries a ticket for `digest`.
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

#[cfg(test)]
mod tests {
    use std::time::{SystemTime, UNIX_EPOCH};

    use ed25519_dalek::{SigningKey, pkcs8::EncodePrivateKey};
    use jsonwebtoken::{DecodingKey, EncodingKey, Header, encode};
    use roadstead_proto::{Algorithm as DigestAlgorithm, REGISTRY_SERVICE};
    use serde_json::{Value, json};

    use super::*;
    use crate::control::{PolicyChange, VerifyingKey};

    fn digest() -> Digest {
        Digest::of(DigestAlgorithm::Sha256, b"layer")
    }

    fn claims() -> Value {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        json!({
            "iss": "roadstead", "aud": PEER_SERVICE, "sub": "n2", "iat": now, "nbf": now, "exp": now + 300,
            "digest": digest().to_string(), "group_id": "g1", "upstream": "docker.io", "repository": "library/app",
            "link_epoch": 3,
        })
    }

    fn signed_by(seed: u8, claims: &Value) -> String {
        let key = SigningKey::from_bytes(&[seed; 32]).to_pkcs8_der().unwrap();
        let header = Header { kid: Some("k1".to_owned()), ..Header::new(Algorithm::EdDSA) };
        encode(&header, claims, &EncodingKey::from_ed_der(key.as_bytes())).unwrap()
    }

    fn shown(ticket: &str) -> Option<Asker> {
        let ed25519 = SigningKey::from_bytes(&[7; 32]).verifying_key().to_bytes();
        let key = DecodingKey::from_ed_der(&ed25519);
        let key = VerifyingKey { id: "k1".to_owned(), key, ed25519, not_after: None };
        let policy = PolicySnapshot::default().with(PolicyChange::Keys(vec![key]));
        let headers = HeaderMap::from_iter([(header::AUTHORIZATION, format!("Bearer {ticket}").parse().unwrap())]);
        verify(&headers, &digest(), &policy)
    }

    #[test]
    fn a_ticket_is_good_for_its_blob_and_its_time_and_if_the_control_plane_signed_it() {
        let asker = shown(&signed_by(7, &claims())).unwrap();
        assert_eq!((&*asker.node_id, asker.link_epoch), ("n2", 3));
        assert_eq!(asker.repository.to_string(), "docker.io/library/app of group g1");
        let other = Digest::of(DigestAlgorithm::Sha256, b"another");
        for (claim, value) in [
            ("digest", json!(other.to_string())),
            ("aud", json!(REGISTRY_SERVICE)),
            ("iss", json!("somebody")),
            ("exp", json!(claims()["iat"].as_u64().unwrap() - 151)),
            ("nbf", json!(claims()["iat"].as_u64().unwrap() + 240)),
            ("exp", Value::Null),
            ("group_id", Value::Null),
        ] {
            let mut claims = claims();
            claims[claim] = value.clone();
            assert!(shown(&signed_by(7, &claims)).is_none(), "{claim}: {value}");
        }
        assert!(shown(&signed_by(8, &claims())).is_none(), "signed by somebody else");
        assert!(shown("nonsense").is_none());
        let bare = Header { kid: Some("k1".to_owned()), ..Header::new(Algorithm::HS256) };
        let by_hand = encode(&bare, &claims(), &EncodingKey::from_secret(&[7; 32])).unwrap();
        assert!(shown(&by_hand).is_none(), "another algorithm");
    }
}
