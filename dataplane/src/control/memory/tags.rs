//! The digests that the control plane last resolved tags to, for pulls by tag while it is unavailable.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use quick_cache::sync::Cache;
use roadstead_proto::Tag;
use tokio::time::Instant;

use crate::control::{
    GroupPolicy, Link, RefusalReason, Refused, RepositoryRef, ServeManifest, StaleReason,
    policy::Policy,
    tag::{Brought, Fresh, Remembered},
};

/// Tags remembered, at some 500 bytes each.
const REMEMBERED: usize = 20_000;

/// The moment at which a call was sent.
pub(crate) struct AskedAt {
    group: Arc<GroupPolicy>,
    at: Instant,
}

impl AskedAt {
    /// A decision that the answer says to hold for so long. It counts from the question, so that it never outlives its reason.
    fn fresh_for(&self, time: Duration) -> Fresh {
        Fresh { group: Arc::clone(&self.group), until: self.at + time }
    }
}

/// The digests of tags, each with the group's link epoch at which it was received.
pub struct TagMemory {
    known: Cache<(RepositoryRef, Tag), Remembered>,
    policy: Arc<Policy>,
}

impl TagMemory {
    pub(crate) fn new(policy: Arc<Policy>) -> Self {
        Self { known: Cache::new(REMEMBERED), policy }
    }

    /// Returns what to do about a pull by tag while the control plane is unavailable; `None` if nothing is remembered of the
    /// tag, or it is void by now.
    pub fn get(&self, repository: &RepositoryRef, tag: &Tag) -> Option<Result<ServeManifest, Refused>> {
        let epoch = self.policy.load().group_by_id(&repository.group)?.link_epoch;
        self.get_at(repository, tag, epoch, SystemTime::now())
    }

    /// Returns the tags of a repository that are remembered to be cached, in no order.
    pub fn of_repository(&self, repository: &RepositoryRef) -> Vec<String> {
        let epoch = self.policy.load().group_by_id(&repository.group).map(|group| group.link_epoch);
        let known = self.known.iter();
        let theirs = known.filter(|((at, _), told)| at == repository && Some(told.link_epoch) == epoch);
        theirs.map(|((_, tag), _)| tag.to_string()).collect()
    }

    /// Notes that a call about a tag of a group is sent now.
    pub(crate) fn asking(&self, repository: &RepositoryRef) -> Option<AskedAt> {
        let group = Arc::clone(self.policy.load().group_by_id(&repository.group)?);
        Some(AskedAt { group, at: Instant::now() })
    }

    /// Returns what to serve for a tag without asking, because the control plane has said that its decision holds for a
    /// while, and nothing of the group has changed since.
    pub(crate) fn fresh(&self, repository: &RepositoryRef, tag: &Tag) -> Option<ServeManifest> {
        let known = self.known.get(&(repository.clone(), tag.clone()))?;
        let fresh = known.fresh?;
        let policy = self.policy.load();
        let group = policy.group_by_id(&repository.group)?;
        let holds = Arc::ptr_eq(group, &fresh.group) && Instant::now() < fresh.until;
        let age = SystemTime::now().duration_since(known.confirmed_at).unwrap_or(Duration::ZERO);
        holds.then_some(ServeManifest { manifest: known.manifest, age, stale: None })
    }

    /// Remembers what the control plane has just said of a tag, for as long as that may be served without its word; it was
    /// asked as `asked` says.
    pub(crate) fn remember(
        &self,
        repository: &RepositoryRef,
        tag: &Tag,
        manifest: &Arc<Link>,
        age: Duration,
        brought: &Brought,
        asked: Option<&AskedAt>,
    ) {
        if brought.good_for.is_zero() {
            return self.forget(repository, tag);
        }
        let now = SystemTime::now();
        let (Some(confirmed_at), Some(good_until)) = (now.checked_sub(age), now.checked_add(brought.good_for)) else {
            return;
        };
        let manifest = Arc::clone(manifest);
        let link_epoch = brought.link_epoch;
        let fresh = asked.filter(|_| !brought.fresh_for.is_zero()).map(|asked| asked.fresh_for(brought.fresh_for));
        self.put(repository, tag, Remembered { manifest, link_epoch, confirmed_at, good_until, fresh });
    }

    /// Remembers a tag, unless links of the group were removed since it was told.
    pub(crate) fn put(&self, repository: &RepositoryRef, tag: &Tag, remembered: Remembered) {
        let policy = self.policy.load();
        if let Some(group) = policy.group_by_id(&repository.group) {
            self.put_at(repository, tag, remembered, group.link_epoch);
        }
    }

    /// Forgets a tag: the control plane has said that it is not to be served.
    pub(crate) fn forget(&self, repository: &RepositoryRef, tag: &Tag) {
        self.known.remove(&(repository.clone(), tag.clone()));
    }

    /// Returns everything, to be saved.
    pub(crate) fn all(&self) -> Vec<((RepositoryRef, Tag), Remembered)> {
        self.known.iter().collect()
    }

    /// Forgets all tags.
    pub(crate) fn forget_all(&self) {
        self.known.clear();
    }

    fn put_at(&self, repository: &RepositoryRef, tag: &Tag, remembered: Remembered, epoch: i64) {
        if remembered.link_epoch >= epoch && remembered.good_until > remembered.confirmed_at {
            self.known.insert((repository.clone(), tag.clone()), remembered);
        }
    }

    fn get_at(
        &self,
        repository: &RepositoryRef,
        tag: &Tag,
        epoch: i64,
        now: SystemTime,
    ) -> Option<Result<ServeManifest, Refused>> {
        let known = self.known.get(&(repository.clone(), tag.clone()))?;
        if known.link_epoch != epoch {
            return None;
        }
        let age = now.duration_since(known.confirmed_at).unwrap_or(Duration::ZERO);
        Some(if now < known.good_until {
            let stale = Some(StaleReason::ControlUnavailable);
            Ok(ServeManifest { manifest: known.manifest, age, stale })
        } else {
            let age = humantime::format_duration(Duration::from_secs(age.as_secs()));
            let message = format!(
                "{}:{tag} is cached, but was last confirmed {age} ago, longer than the group allows, and the control plane \
                 of this cache is unavailable",
                repository.repository
            );
            Err(Refused { reason: RefusalReason::TooStale, message, retry_after: Some(Duration::from_secs(10)) })
        })
    }
}

#[cfg(test)]
mod tests;
