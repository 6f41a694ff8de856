//! An issuer's public keys (JWK set, RFC 7517), and which of them may verify what.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{
    Algorithm, DecodingKey,
    crypto::verify,
    jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm, PublicKeyUse},
};
use serde::Deserialize;

/// Most keys that are looked at of a set.
const MAX_KEYS: usize = 100;
/// Shortest modulus of an RSA key, in bytes: 2048 bits (RFC 7518, section 3.3).
const MIN_RSA_BYTES: usize = 256;
/// Longest modulus of an RSA key, in bytes: 8192 bits; longer ones take long to verify.
const MAX_RSA_BYTES: usize = 1024;

/// The kind of a key, which limits the algorithms that it can be meant for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Rsa,
    P256,
    P384,
    Ed25519,
}

impl Kind {
    fn makes(self, algorithm: Algorithm) -> bool {
        match algorithm {
            Algorithm::RS256
            | Algorithm::RS384
            | Algorithm::RS512
            | Algorithm::PS256
            | Algorithm::PS384
            | Algorithm::PS512 => self == Self::Rsa,
            Algorithm::ES256 => self == Self::P256,
            Algorithm::ES384 => self == Self::P384,
            Algorithm::EdDSA => self == Self::Ed25519,
            // Neither with shared secrets, which a public key is not, nor with anything that is not named here.
            _ => false,
        }
    }
}

struct Key {
    id: Option<String>,
    kind: Kind,
    /// The one algorithm it is for, where the issuer says so.
    only: Option<KeyAlgorithm>,
    key: DecodingKey,
}

/// An issuer's keys that can verify.
pub struct KeySet(Vec<Key>);

/// The result of looking for a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The signature is good.
    Good,
    /// A key was found, but did not make that signature.
    Bad,
    /// The key that is named is for other algorithms.
    WrongAlgorithm,
    /// The set has no such key.
    UnknownKey,
}

impl KeySet {
    /// Reads a set. Keys that are of no use here are left out: others must not stop working because of them.
    pub fn parse(body: &[u8]) -> Result<Self, serde_json::Error> {
        #[derive(Deserialize)]
        struct Set {
            keys: Vec<serde_json::Value>,
        }
        let set: Set = serde_json::from_slice(body)?;
        Ok(Self(set.keys.into_iter().take(MAX_KEYS).filter_map(usable).collect()))
    }

    /// Checks whether the set has a key with this id, or any key if none is named.
    pub fn has(&self, id: Option<&str>) -> bool {
        self.named(id).next().is_some()
    }

    /// Verifies the signature (base64url) of a message by the key that is named. A token that names none is tried with
    /// each that fits, which RFC 7515 leaves to the verifier.
    pub fn verify(&self, id: Option<&str>, algorithm: Algorithm, message: &str, signature: &str) -> Verdict {
        let mut verdict = Verdict::UnknownKey;
        for key in self.named(id) {
            if !key.is_for(algorithm) {
                if verdict == Verdict::UnknownKey {
                    verdict = Verdict::WrongAlgorithm;
                }
                continue;
            }
            if verify(signature, message.as_bytes(), &key.key, algorithm).unwrap_or(false) {
                return Verdict::Good;
            }
            verdict = Verdict::Bad;
        }
        verdict
    }

    fn named<'a>(&'a self, id: Option<&'a str>) -> impl Iterator<Item = &'a Key> {
        self.0.iter().filter(move |key| id.is_none() || key.id.as_deref() == id)
    }
}

impl Key {
    fn is_for(&self, algorithm: Algorithm) -> bool {
        self.kind.makes(algorithm) && self.only.is_none_or(|only| only == KeyAlgorithm::from(algorithm))
    }
}

fn usable(key: serde_json::Value) -> Option<Key> {
    let jwk: Jwk = serde_json::from_value(key).ok()?;
    if jwk.common.public_key_use.as_ref().is_some_and(|usage| *usage != PublicKeyUse::Signature) {
        return None;
    }
    let kind = match &jwk.algorithm {
        AlgorithmParameters::RSA(rsa) => {
            let modulus = URL_SAFE_NO_PAD.decode(&rsa.n).ok()?;
            let bytes = modulus.iter().skip_while(|byte| **byte == 0).count();
            (MIN_RSA_BYTES..=MAX_RSA_BYTES).contains(&bytes).then_some(Kind::Rsa)
        }
        AlgorithmParameters::EllipticCurve(key) => match key.curve {
            EllipticCurve::P256 => Some(Kind::P256),
            EllipticCurve::P384 => Some(Kind::P384),
            _ => None,
        },
        AlgorithmParameters::OctetKeyPair(key) => (key.curve == EllipticCurve::Ed25519).then_some(Kind::Ed25519),
        _ => None,
    }?;
    let key = DecodingKey::from_jwk(&jwk).ok()?;
    Some(Key { id: jwk.common.key_id, kind, only: jwk.common.key_algorithm, key })
}
