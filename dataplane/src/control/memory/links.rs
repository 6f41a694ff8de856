//! The memory of links: what makes a warm pull cost no call to the control plane.

use std::sync::Arc;

use quick_cache::sync::Cache;
use roadstead_proto::Digest;

use crate::control::{
    Link, RepositoryRef,
    lookup::{ContentKey, ContentKeyRef},
};

/// Links remembered: some 8,000 images, at about 400 bytes a link.
const REMEMBERED: usize = 100_000;

/// Links, each with the group's link epoch at which it was read.
pub(crate) struct LinkCache {
    known: Cache<ContentKey, (i64, Arc<Link>)>,
}

impl LinkCache {
    pub(crate) fn new() -> Self {
        Self { known: Cache::new(REMEMBERED) }
    }

    /// The link, if it was read at the group's current epoch. Allocates nothing.
    pub(crate) fn get(&self, at: &RepositoryRef, digest: &Digest, epoch: i64) -> Option<Arc<Link>> {
        let (read_at, link) = self.known.get(&ContentKeyRef { at, digest })?;
        (read_at == epoch).then_some(link)
    }

    /// Everything, for keeping it.
    pub(crate) fn all(&self) -> Vec<(ContentKey, (i64, Arc<Link>))> {
        self.known.iter().collect()
    }

    /// Remembers a link that was read at `read_at`, where `epoch` is the group's current one. One that was read
    /// before links were last removed may be among the removed, and is not taken.
    pub(crate) fn put(&self, at: &RepositoryRef, link: Arc<Link>, read_at: i64, epoch: i64) {
        if read_at >= epoch {
            let key = ContentKeyRef { at, digest: &link.digest }.to_owned();
            self.known.insert(key, (read_at, link));
        }
    }
}

#[cfg(test)]
mod tests {
    use roadstead_proto::Algorithm;

    use super::*;
    use crate::control::ContentKind;

    fn at(group: &str) -> RepositoryRef {
        RepositoryRef {
            group: group.into(),
            upstream: "docker.io".parse().unwrap(),
            repository: "library/alpine".parse().unwrap(),
        }
    }

    fn link(content: &[u8]) -> Arc<Link> {
        let digest = Digest::of(Algorithm::Sha256, content);
        Arc::new(Link { digest, kind: ContentKind::Blob, size_bytes: 1, media_type: String::new() })
    }

    #[test]
    fn a_link_holds_for_its_group_and_epoch_only() {
        let cache = LinkCache::new();
        let a = link(b"a");
        cache.put(&at("g1"), Arc::clone(&a), 5, 5);
        assert_eq!(cache.get(&at("g1"), &a.digest, 5), Some(Arc::clone(&a)));
        assert_eq!(cache.get(&at("g1"), &a.digest, 6), None, "links were removed since");
        assert_eq!(cache.get(&at("g2"), &a.digest, 5), None, "no right of another group");
        assert_eq!(cache.get(&at("g1"), &link(b"b").digest, 5), None);
    }

    #[test]
    fn an_answer_from_before_a_purge_is_not_remembered() {
        let cache = LinkCache::new();
        let a = link(b"a");
        cache.put(&at("g1"), Arc::clone(&a), 5, 6);
        assert_eq!(cache.get(&at("g1"), &a.digest, 5), None);
        // The watch may be behind the answer: it counts once the watch has caught up.
        cache.put(&at("g1"), Arc::clone(&a), 7, 6);
        assert_eq!(cache.get(&at("g1"), &a.digest, 6), None);
        assert_eq!(cache.get(&at("g1"), &a.digest, 7), Some(a));
    }
}
