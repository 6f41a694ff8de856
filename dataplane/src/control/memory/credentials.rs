//! The credentials that groups have for upstreams, remembered until they change.

use std::sync::Arc;

use quick_cache::sync::Cache;
use roadstead_proto::UpstreamHost;

use crate::control::{Credential, GroupId};

/// Credentials remembered; a large installation has a few upstreams for each of a few thousand groups.
const REMEMBERED: usize = 10_000;

/// The credentials, and the group's epoch at which they were read. That a group has none is remembered too.
type ReadAt = (i64, Option<Arc<Credential>>);

/// Credentials, as they were read.
pub(crate) struct CredentialMemory {
    known: Cache<(GroupId, UpstreamHost), ReadAt>,
}

impl Default for CredentialMemory {
    fn default() -> Self {
        Self { known: Cache::new(REMEMBERED) }
    }
}

impl CredentialMemory {
    /// Returns the credentials that were read at the group's current epoch, if they are remembered.
    pub(crate) fn get(&self, group: &GroupId, upstream: &UpstreamHost, epoch: i64) -> Option<Option<Arc<Credential>>> {
        let (read_at, credential) = self.known.get(&(group.clone(), upstream.clone()))?;
        (read_at == epoch).then_some(credential)
    }

    /// Forgets all credentials.
    pub(crate) fn forget_all(&self) {
        self.known.clear();
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
mod tests;
