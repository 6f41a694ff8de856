//! Remembers sign-ins and their tokens, for clients that sign in again while the control plane is unavailable.
//!
//! Neither passwords nor user names are kept, only a keyed hash of them and of what was asked for, under a key that is made at each
//! start and never leaves the process. The tokens are those that the client was given; whether one is still good is not decided
//! here.

use std::io;

use quick_cache::sync::Cache;
use roadstead_proto::{Algorithm, Digest, DigestHasher};
use secrecy::ExposeSecret;

#[cfg(doc)]
use crate::control::Policy;
use crate::control::{RegistryToken, SignIn};

/// Sign-ins remembered: a fleet of a thousand machines that pull ten images has ten thousand.
const REMEMBERED: usize = 20_000;
/// Bytes of the key: those of a block of SHA-256.
const KEY_BYTES: usize = 64;

/// The memory.
pub struct SignInMemory {
    key: [u8; KEY_BYTES],
    known: Cache<Digest, RegistryToken>,
}

/// Names credentials and what was asked for with them.
#[derive(Clone, Copy)]
pub struct SignInName(Digest);

impl SignInMemory {
    /// An empty memory with a key of its own.
    pub fn new() -> io::Result<Self> {
        let mut key = [0; KEY_BYTES];
        getrandom::fill(&mut key).map_err(|error| io::Error::other(error.to_string()))?;
        Ok(Self { key, known: Cache::new(REMEMBERED) })
    }

    /// The name of a sign-in in the memory that is called `memory_id`; see [`Policy::memory_id`].
    pub fn name(&self, sign_in: &SignIn, memory_id: &str) -> SignInName {
        // HMAC's construction: the key goes in twice, differently.
        let keyed = |mask: u8| {
            let mut hasher = DigestHasher::new(Algorithm::Sha256);
            hasher.update(&self.key.map(|byte| byte ^ mask));
            hasher
        };
        let mut inner = keyed(0x36);
        let mut take = |part: &[u8]| {
            // The length keeps ("ab", "c") and ("a", "bc") apart.
            inner.update(&(part.len() as u64).to_be_bytes());
            inner.update(part);
        };
        take(memory_id.as_bytes());
        take(sign_in.username.as_bytes());
        take(sign_in.password.expose_secret().as_bytes());
        for scope in &sign_in.scopes {
            take(scope.name.as_bytes());
            take(scope.group.as_str().as_bytes());
        }
        let mut outer = keyed(0x5c);
        outer.update(inner.finish().to_string().as_bytes());
        SignInName(outer.finish())
    }

    /// The token that these credentials got last.
    pub fn get(&self, name: SignInName) -> Option<RegistryToken> {
        self.known.get(&name.0)
    }

    /// They got a token.
    pub fn put(&self, name: SignInName, token: RegistryToken) {
        self.known.insert(name.0, token);
    }

    /// They were refused.
    pub fn forget(&self, name: SignInName) {
        self.known.remove(&name.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::PullScope;

    fn sign_in(username: &str, password: &str, images: &[&str]) -> SignIn {
        let scope = |image: &&str| PullScope {
            name: format!("acme/dependency_proxy/containers/{image}"),
            group: "acme".parse().unwrap(),
        };
        SignIn {
            username: username.to_owned(),
            password: password.into(),
            scopes: images.iter().map(scope).collect(),
            anonymous_allowed: true,
            client_address: String::new(),
        }
    }

    #[test]
    fn only_the_very_same_credentials_and_scopes_find_the_token() {
        let memory = SignInMemory::new().unwrap();
        let name = |username, password, images: &[&str]| memory.name(&sign_in(username, password, images), "m1");
        let token = RegistryToken { token: "t".to_owned(), expires_in_seconds: 900, issued_at_ms: 0 };
        memory.put(name("ci", "secret", &["alpine"]), token);
        assert!(memory.get(name("ci", "secret", &["alpine"])).is_some());
        for other in [
            name("ci", "Secret", &["alpine"]),
            name("c", "isecret", &["alpine"]),
            name("ci", "secret", &["alpine", "redis"]),
            name("ci", "secret", &["redis"]),
            name("ci", "secret", &[]),
        ] {
            assert!(memory.get(other).is_none());
        }
        assert!(memory.get(memory.name(&sign_in("ci", "secret", &["alpine"]), "m2")).is_none());
        memory.forget(name("ci", "secret", &["alpine"]));
        assert!(memory.get(name("ci", "secret", &["alpine"])).is_none());
    }

    #[test]
    fn names_mean_nothing_to_another_process() {
        let (one, two) = (SignInMemory::new().unwrap(), SignInMemory::new().unwrap());
        let asked = sign_in("ci", "secret", &["alpine"]);
        assert_ne!(one.name(&asked, "m1").0, two.name(&asked, "m1").0);
    }
}
