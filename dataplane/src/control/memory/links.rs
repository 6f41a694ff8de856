//! The memory of links: what makes a warm pull cost no call to the control plane.

use std::{sync::Arc, time::Duration};

use quick_cache::sync::Cache;
use roadstead_proto::Digest;
use tokio::time::Instant;

use crate::control::{
    Link, LinkLookup, RepositoryRef, Unlinked,
    lookup::{ContentKey, ContentKeyRef},
    policy::Policy,
};

/// Links remembered: some 8,000 images, at about 400 bytes a link.
const REMEMBERED: usize = 100_000;

/// Missing links remembered: what images refer to that are just being pulled for the first time.
const REMEMBERED_MISSING: usize = 20_000;
/// Time for which the control plane's word that a link is missing is good. Another node may fetch the content meanwhile: it
/// holds the lease of that for longer, so that this one is led there if it starts a download of its own.
const MISSING_TIME: Duration = Duration::from_secs(3);
/// Contents remembered that came here lately.
const REMEMBERED_ARRIVED: usize = 20_000;

/// Links, each with the group's link epoch at which it was read. They are void once the group's epoch has moved.
pub struct LinkMemory {
    known: Cache<ContentKey, (i64, Arc<Link>)>,
    missing: Cache<ContentKey, Missing>,
    /// When content was linked by this node last, for whichever group: what was said of it before is old news.
    arrived: Cache<Digest, Instant>,
    policy: Arc<Policy>,
}

/// The control plane's word that a link is missing.
#[derive(Clone, Copy, Debug)]
struct Missing {
    is_from_upstream: bool,
    /// The group's link epoch then.
    read_at: i64,
    /// When the question was sent.
    asked_at: Instant,
}

impl LinkMemory {
    pub(crate) fn new(policy: Arc<Policy>) -> Self {
        let (known, missing) = (Cache::new(REMEMBERED), Cache::new(REMEMBERED_MISSING));
        Self { known, missing, arrived: Cache::new(REMEMBERED_ARRIVED), policy }
    }

    /// Returns what is known of the group's link to a digest: the link, or that it was missing a moment ago. Nobody gets
    /// content by the latter; it leads to a proof of the group's right without a question.
    pub(crate) fn lookup(&self, repository: &RepositoryRef, digest: &Digest) -> Option<LinkLookup> {
        let epoch = self.policy.load().group_by_id(&repository.group)?.link_epoch;
        if let Some(link) = self.get_at(repository, digest, epoch) {
            return Some(LinkLookup::Linked(link));
        }
        self.missing_at(repository, digest, epoch)
    }

    fn missing_at(&self, repository: &RepositoryRef, digest: &Digest, epoch: i64) -> Option<LinkLookup> {
        let missing = self.missing.get(&ContentKeyRef { repository, digest })?;
        let is_old_news = self.arrived.get(digest).is_some_and(|arrived| arrived >= missing.asked_at);
        let holds = missing.read_at == epoch && missing.asked_at.elapsed() < MISSING_TIME && !is_old_news;
        holds.then_some(LinkLookup::Unlinked { is_from_upstream: missing.is_from_upstream })
    }

    /// Remembers for a moment which links were missing at the group's link epoch `read_at`, as a question that was sent at
    /// `asked_at` brought it.
    pub(crate) fn put_missing(
        &self,
        repository: &RepositoryRef,
        missing: &[Unlinked],
        read_at: i64,
        asked_at: Instant,
    ) {
        for Unlinked { digest, is_from_upstream } in missing {
            let key = ContentKeyRef { repository, digest }.to_owned();
            self.missing.insert(key, Missing { is_from_upstream: *is_from_upstream, read_at, asked_at });
        }
    }

    /// Notes that content was linked by this node: for other groups it may be provable now.
    pub(crate) fn arrived(&self, digest: &Digest) {
        self.arrived.insert(*digest, Instant::now());
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
        self.missing.clear();
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
