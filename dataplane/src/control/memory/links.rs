//! The memory of links: what makes a warm pull cost no call to the control plane.

use std::sync::Arc;

use quick_cache::sync::Cache;
use roadstead_proto::Digest;

use crate::control::{
    Link, RepositoryRef,
    lookup::{ContentKey, ContentKeyRef},
    policy::Policy,
};

/// Links remembered: some 8,000 images, at about 400 bytes a link.
const REMEMBERED: usize = 100_000;

/// Links, each with the group's link epoch at which it was read. They are void once the group's epoch has moved.
pub struct LinkMemory {
    known: Cache<ContentKey, (i64, Arc<Link>)>,
    policy: Arc<Policy>,
}

impl LinkMemory {
    pub(crate) fn new(policy: Arc<Policy>) -> Self {
        Self { known: Cache::new(REMEMBERED), policy }
    }

    /// Returns the group's link to a digest, if it is remembered and no link of the group was removed since. Allocates nothing.
    pub fn get(&self, repository: &RepositoryRef, digest: &Digest) -> Option<Arc<Link>> {
        let epoch = self.policy.load().group_by_id(&repository.group)?.link_epoch;
        self.get_at(repository, digest, epoch)
    }

    /// Remembers links that were read at the group's link epoch `read_at`. Links that were read before links of the group
    /// were last removed may be among the removed, and are not taken.
    pub(crate) fn put(&self, repository: &RepositoryRef, links: impl IntoIterator<Item = Arc<Link>>, read_at: i64) {
        let policy = self.policy.load();
        let Some(group) = policy.group_by_id(&repository.group) else { return };
        for link in links {
            self.put_at(repository, link, read_at, group.link_epoch);
        }
    }

    /// Returns everything, to be saved.
    pub(crate) fn all(&self) -> Vec<(ContentKey, (i64, Arc<Link>))> {
        self.known.iter().collect()
    }

    /// Forgets all links.
    pub(crate) fn forget_all(&self) {
        self.known.clear();
    }

    fn get_at(&self, repository: &RepositoryRef, digest: &Digest, epoch: i64) -> Option<Arc<Link>> {
        let (read_at, link) = self.known.get(&ContentKeyRef { repository, digest })?;
        (read_at == epoch).then_some(link)
    }

    fn put_at(&self, repository: &RepositoryRef, link: Arc<Link>, read_at: i64, epoch: i64) {
        if read_at >= epoch {
            let key = ContentKeyRef { repository, digest: &link.digest }.to_owned();
            self.known.insert(key, (read_at, link));
        }
    }
}

#[cfg(test)]
mod tests;
