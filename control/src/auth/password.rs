//! Passwords: hashed with Argon2id, slowly and with much memory by design, so that a stolen database is of little use.
//!
//! It guarantees that only a few are hashed at once, away from the threads that serve, and that checking one for a name
//! that is not there takes as long as for one that is. A right password is remembered for some minutes, under a keyed hash of it
//! and of its stored form, so that repeating it is cheap and waits for nobody; a changed password has another stored form.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    time::Duration,
};

use argon2::{Argon2, PasswordHasher as _, PasswordVerifier as _, password_hash};
use secrecy::{ExposeSecret as _, SecretString};
use sha2::{Digest as _, Sha256};
use tokio::{
    sync::Semaphore,
    task::spawn_blocking,
    time::{Instant, timeout},
};

/// Maximum number of concurrent hashes. Each takes the 19 MiB and two passes that OWASP's password storage cheat sheet
/// asks for, which are the library's defaults.
const AT_ONCE: usize = 4;
/// Longest wait for a turn before the caller is told to try again.
const PATIENCE: Duration = Duration::from_secs(10);

/// A password cannot be hashed or checked.
#[derive(Debug, thiserror::Error)]
pub enum PasswordError {
    /// Too many others are waiting.
    #[error("too many passwords are being checked right now; try again in a moment")]
    Busy,
    /// The library fails, or the stored text is not a hash.
    #[error("a password cannot be hashed or checked: {0}")]
    Hash(password_hash::Error),
    /// The thread that did it ended early.
    #[error("the check of a password was cut off")]
    CutOff,
}

/// Time for which a right password is remembered.
const REMEMBERED_TIME: Duration = Duration::from_secs(5 * 60);
/// Most passwords remembered.
const MAX_REMEMBERED: usize = 10_000;

/// Hashes and checks passwords.
pub struct Passwords {
    turns: Arc<Semaphore>,
    right: Arc<RightOnes>,
}

impl Default for Passwords {
    fn default() -> Self {
        Self { turns: Arc::new(Semaphore::new(AT_ONCE)), right: Arc::default() }
    }
}

/// Passwords that were right a while ago. Neither they nor anything to test guesses by leaves the process: the key is made at each
/// start.
#[derive(Default)]
struct RightOnes {
    key: OnceLock<[u8; 32]>,
    until: Mutex<HashMap<[u8; 32], Instant>>,
}

impl RightOnes {
    /// The name of a password with its stored form; `None` if the system gives no randomness for a key: then nothing is remembered.
    fn name(&self, password: &SecretString, stored: &str) -> Option<[u8; 32]> {
        let key = match self.key.get() {
            Some(key) => key,
            None => {
                let mut key = [0; 32];
                getrandom::fill(&mut key).ok()?;
                self.key.get_or_init(|| key)
            }
        };
        let mut hasher = Sha256::new_with_prefix(key);
        // The length keeps the two apart.
        hasher.update((stored.len() as u64).to_be_bytes());
        hasher.update(stored);
        hasher.update(password.expose_secret());
        Some(hasher.finalize().into())
    }

    fn has(&self, name: &[u8; 32]) -> bool {
        self.until().get(name).is_some_and(|until| *until > Instant::now())
    }

    fn put(&self, name: [u8; 32]) {
        let (now, mut until) = (Instant::now(), self.until());
        if until.len() >= MAX_REMEMBERED {
            until.retain(|_, until| *until > now);
        }
        // Full of good ones: the next check is slow again, and nothing else.
        if until.len() < MAX_REMEMBERED {
            until.insert(name, now + REMEMBERED_TIME);
        }
    }

    fn until(&self) -> MutexGuard<'_, HashMap<[u8; 32], Instant>> {
        self.until.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Passwords {
    /// Returns the stored form of a password.
    pub async fn hash(&self, password: &SecretString) -> Result<String, PasswordError> {
        let password = password.clone();
        self.take_turns(move || Ok(hash(&password)?.to_string())).await
    }

    /// Checks whether `stored` is the hash of this password. `None` stands for nobody's: it takes as long, and is
    /// wrong.
    pub async fn verify(&self, password: &SecretString, stored: Option<String>) -> Result<bool, PasswordError> {
        let name = stored.as_deref().and_then(|stored| self.right.name(password, stored));
        if name.as_ref().is_some_and(|name| self.right.has(name)) {
            return Ok(true);
        }
        let (password, right) = (password.clone(), Arc::clone(&self.right));
        self.take_turns(move || match stored {
            Some(stored) => match Argon2::default().verify_password(password.expose_secret().as_bytes(), &*stored) {
                Ok(()) => {
                    name.into_iter().for_each(|name| right.put(name));
                    Ok(true)
                }
                Err(password_hash::Error::PasswordInvalid) => Ok(false),
                Err(problem) => Err(PasswordError::Hash(problem)),
            },
            None => hash(&password).map(|_| false),
        })
        .await
    }

    /// Does the work on a thread of its own. Dropping the call leaves the work to its end, and its place taken till
    /// then.
    async fn take_turns<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, PasswordError> + Send + 'static,
    ) -> Result<T, PasswordError> {
        let turn = timeout(PATIENCE, self.turns.clone().acquire_owned()).await.map_err(|_| PasswordError::Busy)?;
        let place = turn.map_err(|_| PasswordError::CutOff)?;
        spawn_blocking(move || {
            let _place = place;
            work()
        })
        .await
        .map_err(|_| PasswordError::CutOff)?
    }
}

fn hash(password: &SecretString) -> Result<password_hash::phc::PasswordHash, PasswordError> {
    Argon2::default().hash_password(password.expose_secret().as_bytes()).map_err(PasswordError::Hash)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_right_password_fits_its_hash_and_no_other_does() {
        let passwords = Passwords::default();
        let (right, wrong) = (SecretString::from("correct horse"), SecretString::from("correct horsf"));
        let stored = passwords.hash(&right).await.unwrap();
        assert!(stored.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{stored}");
        assert!(!stored.contains("horse"));
        assert_ne!(stored, passwords.hash(&right).await.unwrap(), "salted");
        assert!(passwords.verify(&right, Some(stored.clone())).await.unwrap());
        assert!(!passwords.verify(&wrong, Some(stored)).await.unwrap());
        assert!(!passwords.verify(&right, None).await.unwrap());
        assert!(passwords.verify(&right, Some("junk".into())).await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn a_right_password_waits_for_no_turn_when_it_is_repeated_and_no_other_does_so() {
        let passwords = Passwords::default();
        let (right, wrong) = (SecretString::from("correct horse"), SecretString::from("correct horsf"));
        let (stored, changed) = (passwords.hash(&right).await.unwrap(), passwords.hash(&right).await.unwrap());
        assert!(passwords.verify(&right, Some(stored.clone())).await.unwrap());
        assert!(!passwords.verify(&wrong, Some(stored.clone())).await.unwrap());
        let all = passwords.turns.clone().acquire_many_owned(AT_ONCE as u32).await.unwrap();
        assert!(passwords.verify(&right, Some(stored.clone())).await.unwrap());
        for (password, stored) in [(&wrong, Some(stored.clone())), (&right, Some(changed)), (&right, None)] {
            assert!(matches!(passwords.verify(password, stored).await, Err(PasswordError::Busy)));
        }
        tokio::time::advance(REMEMBERED_TIME).await;
        assert!(matches!(passwords.verify(&right, Some(stored.clone())).await, Err(PasswordError::Busy)));
        drop(all);
        assert!(passwords.verify(&right, Some(stored)).await.unwrap());
    }

    #[test]
    fn the_number_of_remembered_passwords_is_bounded() {
        let right = RightOnes::default();
        for number in 0..MAX_REMEMBERED as u64 + 10 {
            let mut name = [0; 32];
            name[..8].copy_from_slice(&number.to_be_bytes());
            right.put(name);
        }
        assert_eq!(right.until().len(), MAX_REMEMBERED);
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_too_long_is_told_to_come_back() {
        let passwords = Passwords::default();
        let _all = passwords.turns.clone().acquire_many_owned(AT_ONCE as u32).await.unwrap();
        let refused = passwords.verify(&"correct horse".into(), None).await;
        assert!(matches!(refused, Err(PasswordError::Busy)));
    }
}
