//! A group's credentials for an upstream, and the memory of them.

use std::{fmt, sync::Arc};

use quick_cache::sync::Cache;
use roadstead_proto::{Algorithm, Digest, DigestHasher, UpstreamHost};
use secrecy::{ExposeSecret, SecretString};

use crate::control::GroupId;

/// Credentials remembered; a large installation has a few upstreams for each of a few thousand groups.
const REMEMBERED: usize = 10_000;

/// A user name and its password or token.
pub struct Credential {
    username: String,
    password: SecretString,
    id: Digest,
}

impl Credential {
    /// Credentials as the control plane keeps them.
    pub fn new(username: String, password: SecretString) -> Self {
        let mut hasher = DigestHasher::new(Algorithm::Sha256);
        // The length keeps ("ab", "c") and ("a", "bc") apart.
        hasher.update(&(username.len() as u64).to_be_bytes());
        hasher.update(username.as_bytes());
        hasher.update(password.expose_secret().as_bytes());
        Self { id: hasher.finish(), username, password }
    }

    /// The user name.
    pub fn username(&self) -> &str {
        &self.username
    }

    /// The password or token.
    pub const fn password(&self) -> &SecretString {
        &self.password
    }

    /// Tells credentials apart: the same user name and password have the same id. To be kept in memory only.
    pub const fn id(&self) -> &Digest {
        &self.id
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credential").field("username", &self.username).finish_non_exhaustive()
    }
}

/// What was read, and the group's epoch at which it was. That a group has none is remembered too.
type ReadAt = (i64, Option<Arc<Credential>>);

/// Credentials, as they were read.
pub(crate) struct CredentialMemory {
    known: Cache<(GroupId, UpstreamHost), ReadAt>,
}

impl CredentialMemory {
    pub(crate) fn new() -> Self {
        Self { known: Cache::new(REMEMBERED) }
    }

    /// What was read at the group's current epoch, if that is remembered.
    pub(crate) fn get(&self, group: &GroupId, upstream: &UpstreamHost, epoch: i64) -> Option<Option<Arc<Credential>>> {
        let (read_at, credential) = self.known.get(&(group.clone(), upstream.clone()))?;
        (read_at == epoch).then_some(credential)
    }

    /// Remembers what was read at `read_at`.
    pub(crate) fn put(
        &self,
        group: &GroupId,
        upstream: &UpstreamHost,
        read_at: i64,
        credential: Option<Arc<Credential>>,
    ) {
        self.known.insert((group.clone(), upstream.clone()), (read_at, credential));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn credential(username: &str, password: &str) -> Credential {
        Credential::new(username.to_owned(), password.into())
    }

    #[test]
    fn ids_tell_credentials_apart_and_nothing_shows_the_secret() {
        assert_eq!(credential("ci", "s3cret").id(), credential("ci", "s3cret").id());
        assert_ne!(credential("ab", "c").id(), credential("a", "bc").id());
        assert!(!format!("{:?}", credential("ci", "s3cret")).contains("s3cret"));
    }

    #[test]
    fn a_credential_is_remembered_for_its_epoch_only() {
        let memory = CredentialMemory::new();
        let (group, host) = (GroupId::from("g1"), "ghcr.io".parse().unwrap());
        memory.put(&group, &host, 3, Some(Arc::new(credential("ci", "s3cret"))));
        assert!(memory.get(&group, &host, 3).is_some_and(|known| known.is_some()));
        assert!(memory.get(&group, &host, 4).is_none());
        memory.put(&group, &host, 4, None);
        assert!(memory.get(&group, &host, 4).is_some_and(|known| known.is_none()));
    }
}
