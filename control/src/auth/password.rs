//! Passwords: hashed with Argon2id, slowly and with much memory by design, so that a stolen database is of little use.
//!
//! It guarantees that only a few are hashed at once, away from the threads that serve, and that checking one for a name
//! that is not there takes as long as for one that is.

use std::{sync::Arc, time::Duration};

use argon2::{Argon2, PasswordHasher as _, PasswordVerifier as _, password_hash};
use secrecy::{ExposeSecret as _, SecretString};
use tokio::{sync::Semaphore, task::spawn_blocking, time::timeout};

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

/// Hashes and checks passwords.
pub struct Passwords(Arc<Semaphore>);

impl Default for Passwords {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(AT_ONCE)))
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
        let password = password.clone();
        self.take_turns(move || match stored {
            Some(stored) => match Argon2::default().verify_password(password.expose_secret().as_bytes(), &*stored) {
                Ok(()) => Ok(true),
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
        let turn = timeout(PATIENCE, self.0.clone().acquire_owned()).await.map_err(|_| PasswordError::Busy)?;
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
    async fn who_waits_too_long_is_told_to_come_back() {
        let passwords = Passwords::default();
        let _all = passwords.0.clone().acquire_many_owned(AT_ONCE as u32).await.unwrap();
        let refused = passwords.verify(&"correct horse".into(), None).await;
        assert!(matches!(refused, Err(PasswordError::Busy)));
    }
}
