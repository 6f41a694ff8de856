//! Keeps secrets unreadable at rest: XChaCha20-Poly1305 under a key that is kept in a file outside the database.
//!
//! A sealed value is bound to its purpose, so that a sealed value moved to another row does not open.

use std::{
    fs, io,
    io::Write as _,
    path::{Path, PathBuf},
};

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use chacha20poly1305::{
    KeyInit as _, XChaCha20Poly1305, XNonce,
    aead::{Aead as _, Payload},
};
use secrecy::{ExposeSecret as _, SecretSlice, SecretString};
use sha2::{Digest as _, Sha256};

/// Length of the key, in bytes.
const KEY_BYTES: usize = 32;
/// Length of the nonce, in bytes: long enough to be drawn at random for every value.
const NONCE_BYTES: usize = 24;

/// Length of a fingerprint, in bytes.
const FINGERPRINT_BYTES: usize = 8;
/// Keeps fingerprints apart from all other digests.
const FINGERPRINT_OF: &[u8] = b"roadstead secret key\0";

/// The key file cannot be used, or a sealed value cannot be made or opened.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    /// The key file cannot be read or made.
    #[error("cannot use the key file {path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The key file is missing, and the database has secrets that only it opens.
    #[error(
        "the key file {path} is missing, and the secrets in the database open with that key only (fingerprint \
         {fingerprint}): copy it from a backup or from another replica, or name it by --secret-key-file; no new key was \
         made, because it would open nothing"
    )]
    Missing {
        /// The file.
        path: PathBuf,
        /// The fingerprint of the key that is wanted.
        fingerprint: String,
    },
    /// The key is another than the one that the database is sealed with.
    #[error(
        "{origin} holds another key (fingerprint {given}) than the one that the secrets in the database open with \
         (fingerprint {wanted}): copy the right one from a backup or from another replica, or name it by \
         --secret-key-file; all replicas need the same"
    )]
    Another {
        /// The origin of the key.
        origin: String,
        /// Its fingerprint.
        given: String,
        /// The fingerprint of the key that is wanted.
        wanted: String,
    },
    /// The key file is there but holds no key.
    #[error("{path} is not a key file ({KEY_BYTES} bytes as base64 on one line); restore it from a backup")]
    NotAKey {
        /// The file.
        path: PathBuf,
    },
    /// The given key cannot be used.
    #[error(
        "the given secret key is none: it takes {KEY_BYTES} bytes as base64, as `openssl rand -base64 32` makes them"
    )]
    NotAKeyValue,
    /// The system gives no random numbers.
    #[error("the random number generator of the system failed: {0}")]
    Random(getrandom::Error),
    /// A value was sealed with another key, for something else, or is damaged.
    #[error(
        "the stored secret of {what} does not open: is secret.key, or what --secret-key or --secret-key-file give, the \
         key that belongs to this database? all replicas need the same"
    )]
    DoesNotOpen {
        /// The purpose of the secret.
        what: String,
    },
}

impl SealError {
    /// Returns whether the key file is missing.
    pub fn is_missing(&self) -> bool {
        matches!(self, Self::File { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }
}

/// The source of the key that seals stored secrets. All replicas need the same key.
#[derive(Debug, Clone, Default)]
pub enum SecretKey {
    /// `secret.key` in the data folder, made if it is not there.
    #[default]
    DataDir,
    /// This file, which has to be there.
    File(PathBuf),
    /// The key itself, as base64.
    Value(SecretString),
}

impl SecretKey {
    /// Names the origin of the key, for people.
    pub fn origin(&self, data_dir_file: &Path) -> String {
        match self {
            Self::DataDir => data_dir_file.display().to_string(),
            Self::File(path) => path.display().to_string(),
            Self::Value(_) => "ROADSTEAD_SECRET_KEY".to_owned(),
        }
    }

    /// Reads the key; the default one is in `data_dir_file`.
    pub fn read(&self, data_dir_file: &Path) -> Result<Sealer, SealError> {
        match self {
            Self::DataDir => Sealer::read(data_dir_file),
            Self::File(path) => Sealer::read(path),
            Self::Value(key) => Sealer::with(key),
        }
    }
}

/// Seals and opens secrets. Has no useful `Debug`: it holds the key.
pub struct Sealer {
    cipher: XChaCha20Poly1305,
    fingerprint: String,
}

impl Sealer {
    /// Reads the key at `path`, or creates it if it is missing.
    pub fn open(path: &Path) -> Result<Self, SealError> {
        match Self::read(path) {
            Err(error) if error.is_missing() => {
                let mut key = [0; KEY_BYTES];
                getrandom::fill(&mut key).map_err(SealError::Random)?;
                let text = SecretString::from(BASE64.encode(key) + "\n");
                write_private(path, text.expose_secret())
                    .map_err(|source| SealError::File { path: path.to_owned(), source })?;
                Self::read(path)
            }
            found => found,
        }
    }

    /// Names the key without telling anything of it: the first half of a digest of 256 random bits.
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// Reads the key at `path`, which has to be there.
    pub fn read(path: &Path) -> Result<Self, SealError> {
        let text = fs::read_to_string(path).map_err(|source| SealError::File { path: path.to_owned(), source })?;
        Self::of(&SecretString::from(text)).ok_or_else(|| SealError::NotAKey { path: path.to_owned() })
    }

    /// Takes `key`, as base64.
    pub fn with(key: &SecretString) -> Result<Self, SealError> {
        Self::of(key).ok_or(SealError::NotAKeyValue)
    }

    fn of(key: &SecretString) -> Option<Self> {
        let key = SecretSlice::from(BASE64.decode(key.expose_secret().trim()).ok()?);
        let cipher = XChaCha20Poly1305::new_from_slice(key.expose_secret()).ok()?;
        let digest = Sha256::new_with_prefix(FINGERPRINT_OF).chain_update(key.expose_secret()).finalize();
        Some(Self { cipher, fingerprint: hex::encode(&digest[..FINGERPRINT_BYTES]) })
    }

    /// Seals `secret`, to be opened for the same `what` only.
    pub fn seal(&self, what: &str, secret: &[u8]) -> Result<String, SealError> {
        let mut nonce = [0; NONCE_BYTES];
        getrandom::fill(&mut nonce).map_err(SealError::Random)?;
        let sealed = self
            .cipher
            .encrypt(&XNonce::from(nonce), Payload { msg: secret, aad: what.as_bytes() })
            .map_err(|_| SealError::DoesNotOpen { what: what.to_owned() })?;
        Ok(BASE64.encode([nonce.as_slice(), &sealed].concat()))
    }

    /// Opens what was sealed for `what`.
    pub fn open_sealed(&self, what: &str, sealed: &str) -> Result<SecretSlice<u8>, SealError> {
        let fails = || SealError::DoesNotOpen { what: what.to_owned() };
        let bytes = BASE64.decode(sealed).map_err(|_| fails())?;
        let (nonce, sealed) = bytes.split_first_chunk::<NONCE_BYTES>().ok_or_else(fails)?;
        let secret = self
            .cipher
            .decrypt(&XNonce::from(*nonce), Payload { msg: sealed, aad: what.as_bytes() })
            .map_err(|_| fails())?;
        Ok(SecretSlice::from(secret))
    }

    /// Opens text that was sealed for `what`.
    pub fn open_text(&self, what: &str, sealed: &str) -> Result<SecretString, SealError> {
        let opened = self.open_sealed(what, sealed)?;
        let fails = |_| SealError::DoesNotOpen { what: what.to_owned() };
        Ok(std::str::from_utf8(opened.expose_secret()).map_err(fails)?.to_owned().into())
    }
}

/// Writes a file that only its owner may read, whole or not at all: a crash leaves no half of it.
pub fn write_private(path: &Path, text: &str) -> io::Result<()> {
    let staged = path.with_extension("new");
    let mut options = fs::OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(&staged)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&staged, path)?;
    if let Some(folder) = path.parent() {
        fs::File::open(folder)?.sync_all()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_opens_with_the_same_key_for_the_same_thing_only() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret.key");
        let sealed = Sealer::open(&path).unwrap().seal("a", b"hunter2").unwrap();
        assert!(!sealed.contains("hunter2"));
        let again = Sealer::open(&path).unwrap();
        assert_eq!(again.open_sealed("a", &sealed).unwrap().expose_secret(), b"hunter2");
        assert!(again.open_sealed("b", &sealed).is_err());
        let other = Sealer::open(&folder.path().join("other.key")).unwrap();
        for bad in [sealed.as_str(), "", "AAAA", "not base64"] {
            assert!(other.open_sealed("a", bad).is_err());
        }
    }

    #[cfg(unix)]
    #[test]
    fn the_key_file_is_private() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret.key");
        Sealer::open(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_key_is_the_same_in_a_file_and_given_and_nothing_else_is_taken() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret.key");
        let sealed = Sealer::open(&path).unwrap().seal("a", b"hunter2").unwrap();
        let given = Sealer::with(&fs::read_to_string(&path).unwrap().into()).unwrap();
        assert_eq!(given.open_sealed("a", &sealed).unwrap().expose_secret(), b"hunter2");
        for bad in ["", "AAAA", "hunter2hunter2hunter2hunter2hunt"] {
            assert!(matches!(Sealer::with(&bad.into()), Err(SealError::NotAKeyValue)), "{bad}");
        }
    }

    #[test]
    fn a_damaged_key_file_is_not_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret.key");
        fs::write(&path, "junk").unwrap();
        assert!(matches!(Sealer::open(&path), Err(SealError::NotAKey { .. })));
        assert_eq!(fs::read_to_string(&path).unwrap(), "junk");
    }
}
