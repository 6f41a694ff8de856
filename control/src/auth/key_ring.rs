//! The signing keys in memory: Ed25519, read from the database where they are kept sealed.

use arc_swap::ArcSwap;
use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use ed25519_dalek::{SigningKey, pkcs8::EncodePrivateKey as _};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use secrecy::ExposeSecret as _;

use serde::Serialize;

use super::{
    rotation::{self, KeyTimes},
    seal::{SealError, Sealer},
};

/// A signing key as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredKey {
    /// The `kid`.
    pub id: String,
    /// 32 bytes as base64.
    pub public_key: String,
    /// Sealed, so that this can be shown and logged.
    pub sealed_private_key: String,
    /// When it comes and goes.
    pub times: KeyTimes,
}

/// A key cannot be made, read or used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// It cannot be sealed or opened.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// The opened value is not a key.
    #[error("signing key {id} is corrupt")]
    Damaged {
        /// The key.
        id: String,
    },
    /// The ring has no signing key.
    #[error("there is no signing key in use")]
    None,
    /// Signing failed.
    #[error("cannot sign: {0}")]
    Sign(#[from] jsonwebtoken::errors::Error),
}

/// Makes a new key.
pub fn generate(sealer: &Sealer, now_ms: i64) -> Result<StoredKey, KeyError> {
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).map_err(SealError::Random)?;
    let id = uuid::Uuid::now_v7().to_string();
    Ok(StoredKey {
        public_key: BASE64.encode(SigningKey::from_bytes(&seed).verifying_key().as_bytes()),
        sealed_private_key: sealer.seal(&purpose(&id), &seed)?,
        times: KeyTimes { created_at_ms: now_ms, not_after_ms: None },
        id,
    })
}

/// Seals a private key again, with the key that seals now.
pub fn reseal(sealer: &Sealer, stored: &StoredKey) -> Result<String, KeyError> {
    let what = purpose(&stored.id);
    let seed = sealer.open_sealed(&what, &stored.sealed_private_key)?;
    Ok(sealer.seal(&what, seed.expose_secret())?)
}

fn purpose(id: &str) -> String {
    format!("signing key {id}")
}

/// Signs registry tokens and tickets with the key whose turn it is.
#[derive(Default)]
pub struct KeyRing(ArcSwap<Vec<Signer>>);

struct Signer {
    id: String,
    times: KeyTimes,
    key: EncodingKey,
}

impl KeyRing {
    /// Takes the keys that are in the database now.
    pub fn replace(&self, sealer: &Sealer, keys: &[StoredKey]) -> Result<(), KeyError> {
        let signers = keys.iter().map(|key| Signer::open(sealer, key)).collect::<Result<Vec<_>, _>>()?;
        self.0.store(signers.into());
        Ok(())
    }

    /// A JWT that says `claims`.
    pub fn sign(&self, claims: &impl Serialize, now_ms: i64) -> Result<String, KeyError> {
        let signers = self.0.load();
        let times: Vec<_> = signers.iter().map(|signer| signer.times).collect();
        let signer = rotation::signing(&times, now_ms).and_then(|index| signers.get(index)).ok_or(KeyError::None)?;
        let mut header = Header::new(Algorithm::EdDSA);
        header.kid = Some(signer.id.clone());
        Ok(jsonwebtoken::encode(&header, claims, &signer.key)?)
    }
}

impl Signer {
    fn open(sealer: &Sealer, stored: &StoredKey) -> Result<Self, KeyError> {
        let damaged = || KeyError::Damaged { id: stored.id.clone() };
        let seed = sealer.open_sealed(&purpose(&stored.id), &stored.sealed_private_key)?;
        let key = SigningKey::try_from(seed.expose_secret()).map_err(|_| damaged())?;
        if BASE64.encode(key.verifying_key().as_bytes()) != stored.public_key {
            return Err(damaged());
        }
        let der = key.to_pkcs8_der().map_err(|_| damaged())?;
        Ok(Self { id: stored.id.clone(), times: stored.times, key: EncodingKey::from_ed_der(der.as_bytes()) })
    }
}
