//! Keeps secrets unreadable at rest: XChaCha20-Poly1305 under a key that is kept in a file outside the database.
//!
//! A sealed value is bound to its purpose, so that a sealed value moved to another row does not open. There may be several
//! keys: the first seals, all open, so that a new key can take over from an old one.

use std::{
    collections::HashSet,
    fs, io,
    io::Write as _,
    path::{Path, PathBuf},
};

use arc_swap::ArcSwap;
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
    #[error("{path} is not a key file ({KEY_BYTES} bytes as base64, one key a line); restore it from a backup")]
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
            Self::DataDir => Sealer::read_own(data_dir_file),
            Self::File(path) => Sealer::read(path),
            Self::Value(key) => Sealer::with(key),
        }
    }
}

/// A key, and the name by which the database remembers it.
struct Key {
    cipher: XChaCha20Poly1305,
    fingerprint: String,
}

/// Seals and opens secrets. Has no useful `Debug`: it holds the keys.
pub struct Sealer {
    /// The first seals, any opens: so that a new key can take over from an old one.
    keys: ArcSwap<Vec<Key>>,
    /// The file of the key, where this process may replace it.
    file: Option<PathBuf>,
}

/// A replacement of the key that is under way: both keys are in the file, and the new one seals.
pub struct Replacing {
    file: PathBuf,
    new: SecretString,
}

impl Replacing {
    /// Removes the old key from the file: nothing is sealed with it any more.
    pub fn finish(self) -> Result<(), SealError> {
        write_key_file(&self.file, &[&self.new])
    }
}

impl Sealer {
    /// Reads the key at `path`, or creates it if it is missing.
    pub fn open(path: &Path) -> Result<Self, SealError> {
        match Self::read_own(path) {
            Err(error) if error.is_missing() => {
                write_key_file(path, &[&generate()?])?;
                Self::read_own(path)
            }
            found => found,
        }
    }

    /// Reads the keys at `path`, in the file of this process, which it may replace.
    pub fn read_own(path: &Path) -> Result<Self, SealError> {
        Ok(Self { file: Some(path.to_owned()), ..Self::read(path)? })
    }

    /// Names the key that seals without telling anything of it: the first half of a digest of 256 random bits.
    pub fn fingerprint(&self) -> String {
        self.keys.load().first().map(|key| key.fingerprint.clone()).unwrap_or_default()
    }

    /// Returns whether the key of this name is among those that open.
    pub fn has(&self, fingerprint: &str) -> bool {
        self.keys.load().iter().any(|key| key.fingerprint == fingerprint)
    }

    /// Reads the keys at `path`, which has to be there.
    pub fn read(path: &Path) -> Result<Self, SealError> {
        let text = fs::read_to_string(path).map_err(|source| SealError::File { path: path.to_owned(), source })?;
        Self::of(&SecretString::from(text)).ok_or_else(|| SealError::NotAKey { path: path.to_owned() })
    }

    /// Takes `keys`, each as base64, separated by white space or commas.
    pub fn with(keys: &SecretString) -> Result<Self, SealError> {
        Self::of(keys).ok_or(SealError::NotAKeyValue)
    }

    fn of(keys: &SecretString) -> Option<Self> {
        let keys: Vec<_> = words(keys.expose_secret()).map(key).collect::<Option<_>>()?;
        (!keys.is_empty()).then(|| Self { keys: ArcSwap::from_pointee(keys), file: None })
    }

    /// Makes a new key that seals from now on, and writes both to the file; `None` where the keys were given. Whatever was
    /// sealed with the old one still opens, until this process ends.
    pub fn replace_own(&self) -> Result<Option<Replacing>, SealError> {
        let Some(file) = self.file.clone() else { return Ok(None) };
        let unreadable = |source| SealError::File { path: file.clone(), source };
        let old = SecretString::from(fs::read_to_string(&file).map_err(unreadable)?);
        let new = generate()?;
        write_key_file(&file, &[&new, &old])?;
        let sealer = Self::read(&file)?;
        self.keys.store(sealer.keys.load_full());
        Ok(Some(Replacing { file, new }))
    }

    /// The number of keys that open.
    pub fn keys(&self) -> usize {
        self.keys.load().len()
    }

    /// Seals `secret`, to be opened for the same `what` only.
    pub fn seal(&self, what: &str, secret: &[u8]) -> Result<String, SealError> {
        let mut nonce = [0; NONCE_BYTES];
        getrandom::fill(&mut nonce).map_err(SealError::Random)?;
        let fails = || SealError::DoesNotOpen { what: what.to_owned() };
        let keys = self.keys.load();
        let sealed = keys
            .first()
            .ok_or_else(fails)?
            .cipher
            .encrypt(&XNonce::from(nonce), Payload { msg: secret, aad: what.as_bytes() })
            .map_err(|_| fails())?;
        Ok(BASE64.encode([nonce.as_slice(), &sealed].concat()))
    }

    /// Opens what was sealed for `what`.
    pub fn open_sealed(&self, what: &str, sealed: &str) -> Result<SecretSlice<u8>, SealError> {
        let fails = || SealError::DoesNotOpen { what: what.to_owned() };
        let bytes = BASE64.decode(sealed).map_err(|_| fails())?;
        let (nonce, sealed) = bytes.split_first_chunk::<NONCE_BYTES>().ok_or_else(fails)?;
        let keys = self.keys.load();
        let open =
            |key: &Key| key.cipher.decrypt(&XNonce::from(*nonce), Payload { msg: sealed, aad: what.as_bytes() }).ok();
        keys.iter().find_map(open).map(SecretSlice::from).ok_or_else(fails)
    }

    /// Opens text that was sealed for `what`.
    pub fn open_text(&self, what: &str, sealed: &str) -> Result<SecretString, SealError> {
        let opened = self.open_sealed(what, sealed)?;
        let fails = |_| SealError::DoesNotOpen { what: what.to_owned() };
        Ok(std::str::from_utf8(opened.expose_secret()).map_err(fails)?.to_owned().into())
    }
}

/// The keys in a text.
fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split([' ', '\t', '\r', '\n', ',']).filter(|word| !word.is_empty())
}

fn key(text: &str) -> Option<Key> {
    let key = SecretSlice::from(BASE64.decode(text).ok()?);
    let cipher = XChaCha20Poly1305::new_from_slice(key.expose_secret()).ok()?;
    let digest = Sha256::new_with_prefix(FINGERPRINT_OF).chain_update(key.expose_secret()).finalize();
    Some(Key { cipher, fingerprint: hex::encode(&digest[..FINGERPRINT_BYTES]) })
}

fn generate() -> Result<SecretString, SealError> {
    let mut key = [0; KEY_BYTES];
    getrandom::fill(&mut key).map_err(SealError::Random)?;
    Ok(SecretString::from(BASE64.encode(key)))
}

/// Writes keys to a file, one a line.
fn write_key_file(path: &Path, keys: &[&SecretString]) -> Result<(), SealError> {
    let lines = keys.iter().flat_map(|keys| words(keys.expose_secret())).map(|key| format!("{key}\n"));
    let text = SecretString::from(lines.collect::<String>());
    write_private(path, text.expose_secret()).map_err(|source| SealError::File { path: path.to_owned(), source })
}

/// The keys of two texts, each once: what was sealed while one took over from the other opens with them.
pub fn keys_of_both(one: &str, other: &str) -> SecretString {
    let mut keys: Vec<&str> = words(other).collect();
    keys.extend(words(one));
    let mut seen = HashSet::new();
    keys.retain(|key| seen.insert(*key));
    SecretString::from(keys.into_iter().map(|key| format!("{key}\n")).collect::<String>())
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

    #[test]
    fn a_new_key_takes_over_and_the_old_one_is_gone_from_the_file_at_the_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret.key");
        let sealer = Sealer::open(&path).unwrap();
        let old_file = fs::read_to_string(&path).unwrap();
        let before = sealer.seal("a", b"hunter2").unwrap();
        let replacing = sealer.replace_own().unwrap().unwrap();
        // A crash here leaves both keys.
        let restarted = Sealer::open(&path).unwrap();
        let after = sealer.seal("a", b"hunter2").unwrap();
        for sealed in [&before, &after] {
            assert_eq!(restarted.open_sealed("a", sealed).unwrap().expose_secret(), b"hunter2");
        }
        replacing.finish().unwrap();
        let restarted = Sealer::open(&path).unwrap();
        assert!(restarted.open_sealed("a", &before).is_err(), "the old key is gone");
        assert_eq!(restarted.open_sealed("a", &after).unwrap().expose_secret(), b"hunter2");
        let both = keys_of_both(&old_file, &fs::read_to_string(&path).unwrap());
        let both = Sealer::with(&both).unwrap();
        assert_eq!(both.keys(), 2);
        assert!([before, after].iter().all(|sealed| both.open_sealed("a", sealed).is_ok()));
        assert!(both.replace_own().unwrap().is_none(), "given keys are not this process's to replace");
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
