//! A digest of a repository as one group sees it: the key of what is remembered and counted.

use quick_cache::Equivalent;
use roadstead_proto::Digest;

use super::RepositoryRef;

/// The key, owned.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct ContentKey {
    /// The group and repository.
    pub(super) repository: RepositoryRef,
    /// The content.
    pub(super) digest: Digest,
}

/// The key, borrowed: hashes and compares like [`ContentKey`], so that a lookup clones nothing.
#[derive(Clone, Copy, Debug, Hash)]
pub(crate) struct ContentKeyRef<'a> {
    /// The group and repository.
    pub(super) repository: &'a RepositoryRef,
    /// The content.
    pub(super) digest: &'a Digest,
}

impl ContentKeyRef<'_> {
    pub(super) fn to_owned(self) -> ContentKey {
        ContentKey { repository: self.repository.clone(), digest: *self.digest }
    }
}

impl Equivalent<ContentKey> for ContentKeyRef<'_> {
    fn equivalent(&self, key: &ContentKey) -> bool {
        *self.digest == key.digest && *self.repository == key.repository
    }
}
