//! Remembers sign-ins and their tokens, for clients that repeat them: for a minute or two without a call, and while the control
//! plane is unavailable.
//!
//! Neither passwords nor user names are kept, only a keyed hash of them and of what was asked for, under a key that is made at each
//! start and never leaves the process. The tokens are those that the client was given; whether one is still good is not decided
//! here.

use std::{io, sync::Arc};

use quick_cache::sync::Cache;
use roadstead_proto::{Algorithm, Digest, DigestHasher};
use secrecy::ExposeSecret;
use tokio::time::Instant;

use super::guesses::{Guess, Guesses};
#[cfg(doc)]
use crate::control::Policy;
use crate::control::{GroupPolicy, PolicySnapshot, RegistryToken, SignIn};

/// Sign-ins remembered: a fleet of a thousand machines that pull ten images has ten thousand.
const REMEMBERED: usize = 20_000;
/// Bytes of the key: those of a block of SHA-256.
const KEY_BYTES: usize = 64;

/// The memory.
pub struct SignInMemory {
    key: [u8; KEY_BYTES],
    known: Cache<Digest, Known>,
    guesses: Arc<Guesses>,
}

/// Names credentials and what was asked for with them.
#[derive(Clone, Copy)]
pub struct SignInName(Digest);

/// The result of a sign-in.
#[derive(Clone)]
struct Known {
    token: RegistryToken,
    /// When it was asked for.
    asked_at: Instant,
    /// The groups that it is for, as they were then. `None` if the node did not know one of them.
    groups: Option<Arc<[Arc<GroupPolicy>]>>,
    /// The address that asked.
    address: Arc<str>,
}

impl SignInMemory {
    /// An empty memory with a key of its own.
    pub fn new() -> io::Result<Self> {
        let mut key = [0; KEY_BYTES];
        getrandom::fill(&mut key).map_err(|error| io::Error::other(error.to_string()))?;
        Ok(Self { key, known: Cache::new(REMEMBERED), guesses: Arc::new(Guesses::new()) })
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
        Some(self.known.get(&name.0)?.token)
    }

    /// The same if it may be given again without a call, with the seconds that it is good for from now on.
    pub fn again(&self, name: SignInName, sign_in: &SignIn, policy: &PolicySnapshot) -> Option<RegistryToken> {
        let Known { token, asked_at, groups, address } = self.known.get(&name.0)?;
        let (age, groups) = (asked_at.elapsed(), groups?);
        let mut scopes = sign_in.scopes.iter().zip(groups.iter());
        let is_same = scopes.all(|(scope, then)| policy.group(&scope.group).is_some_and(|now| Arc::ptr_eq(now, then)));
        let may_repeat = !token.guessable || self.guesses.admits(&sign_in.client_address, &address, asked_at);
        let left = token.expires_in_seconds - i64::try_from(age.as_secs()).ok()? - 1;
        let is_good = age < token.reusable_for && is_same && may_repeat && left > 0;
        is_good.then_some(RegistryToken { expires_in_seconds: left, ..token })
    }

    /// Notes that the control plane is asked about a sign-in now.
    pub fn asking(&self, sign_in: &SignIn, policy: &PolicySnapshot) -> Asking {
        let groups = sign_in.scopes.iter().map(|scope| policy.group(&scope.group).cloned()).collect();
        let address: Arc<str> = sign_in.client_address.as_str().into();
        Asking { asked_at: Instant::now(), groups, guess: Guesses::begin(&self.guesses, address) }
    }

    /// They got a token.
    pub fn put(&self, name: SignInName, token: RegistryToken, asking: Asking) {
        let Asking { asked_at, groups, guess } = asking;
        self.known.insert(name.0, Known { token, asked_at, groups, address: guess.address() });
    }

    /// They were refused.
    pub fn forget(&self, name: SignInName) {
        self.known.remove(&name.0);
    }
}

/// A sign-in that the control plane is asked about.
pub struct Asking {
    asked_at: Instant,
    groups: Option<Arc<[Arc<GroupPolicy>]>>,
    guess: Guess,
}

impl Asking {
    /// It was refused.
    pub fn failed(self) {
        self.guess.failed();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::advance;

    use super::*;
    use crate::control::{PolicyChange, PullScope};

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

    fn token(guessable: bool) -> RegistryToken {
        RegistryToken {
            token: "t".to_owned(),
            expires_in_seconds: 900,
            issued_at_ms: 0,
            reusable_for: Duration::from_secs(120),
            guessable,
        }
    }

    /// A policy with the group of the sign-ins.
    fn policy(enabled: bool) -> PolicySnapshot {
        let group = GroupPolicy {
            id: "g1".into(),
            path: "acme".parse().unwrap(),
            old_paths: Vec::new(),
            enabled,
            anonymous_pull: false,
            upstreams: Vec::new(),
            link_epoch: 1,
            credential_epoch: 1,
            access_epoch: 1,
            frozen: false,
            allowed_images: Vec::new(),
            denied_images: Vec::new(),
        };
        PolicySnapshot::default().with(PolicyChange::Group(group))
    }

    fn from(address: &str) -> SignIn {
        SignIn { client_address: address.to_owned(), ..sign_in("ci", "secret", &["alpine"]) }
    }

    #[test]
    fn only_the_very_same_credentials_and_scopes_find_the_token() {
        let memory = SignInMemory::new().unwrap();
        let name = |username, password, images: &[&str]| memory.name(&sign_in(username, password, images), "m1");
        let asked = sign_in("ci", "secret", &["alpine"]);
        memory.put(memory.name(&asked, "m1"), token(false), memory.asking(&asked, &policy(true)));
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

    #[tokio::test(start_paused = true)]
    async fn a_token_is_given_again_for_as_long_as_it_may_be_and_says_what_is_left_of_it() {
        let (memory, policy, asked) = (SignInMemory::new().unwrap(), policy(true), from("192.0.2.1"));
        let name = memory.name(&asked, "m1");
        memory.put(name, token(false), memory.asking(&asked, &policy));
        advance(Duration::from_secs(100)).await;
        let again = memory.again(name, &from("192.0.2.2"), &policy).unwrap();
        assert!((798..=800).contains(&again.expires_in_seconds), "{again:?}");
        advance(Duration::from_secs(20)).await;
        assert!(memory.again(name, &asked, &policy).is_none());
        assert!(memory.get(name).is_some(), "for an outage");
    }

    #[test]
    fn any_change_of_the_group_voids_it() {
        let (memory, before, asked) = (SignInMemory::new().unwrap(), policy(true), from("192.0.2.1"));
        let name = memory.name(&asked, "m1");
        memory.put(name, token(false), memory.asking(&asked, &before));
        assert!(memory.again(name, &asked, &before).is_some());
        for after in [policy(false), policy(true), PolicySnapshot::default()] {
            assert!(memory.again(name, &asked, &after).is_none());
        }
        // What was decided before a change came is not good after it, however late the answer is.
        let asking = memory.asking(&asked, &before);
        let after = policy(false);
        memory.put(name, token(false), asking);
        assert!(memory.again(name, &asked, &after).is_none());
        memory.put(name, token(false), memory.asking(&asked, &PolicySnapshot::default()));
        assert!(memory.again(name, &asked, &after).is_none(), "a group that the node did not know");
    }

    #[test]
    fn a_password_is_good_again_for_its_address_until_something_else_is_tried_there() {
        let (memory, policy) = (SignInMemory::new().unwrap(), policy(true));
        let (own, other, unknown) = (from("192.0.2.1"), from("192.0.2.2"), from(""));
        let name = memory.name(&own, "m1");
        memory.put(name, token(true), memory.asking(&own, &policy));
        assert!(memory.again(name, &own, &policy).is_some());
        assert!(memory.again(name, &other, &policy).is_none());
        assert!(memory.again(name, &unknown, &policy).is_none());
        // Failures elsewhere make no difference.
        memory.asking(&other, &policy).failed();
        assert!(memory.again(name, &own, &policy).is_some());
        // A guess that is not judged yet, and one that was wrong.
        let guess = memory.asking(&own, &policy);
        assert!(memory.again(name, &own, &policy).is_none());
        drop(guess);
        assert!(memory.again(name, &own, &policy).is_some());
        memory.asking(&own, &policy).failed();
        assert!(memory.again(name, &own, &policy).is_none());
        // The control plane has said again that it is right.
        memory.put(name, token(true), memory.asking(&own, &policy));
        assert!(memory.again(name, &own, &policy).is_some());
        memory.put(memory.name(&unknown, "m1"), token(true), memory.asking(&unknown, &policy));
        assert!(memory.again(memory.name(&unknown, "m1"), &unknown, &policy).is_none());
    }

    #[test]
    fn names_mean_nothing_to_another_process() {
        let (one, two) = (SignInMemory::new().unwrap(), SignInMemory::new().unwrap());
        let asked = sign_in("ci", "secret", &["alpine"]);
        assert_ne!(one.name(&asked, "m1").0, two.name(&asked, "m1").0);
    }
}
