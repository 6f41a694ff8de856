//! What tags meant when the control plane last said so: for pulls by tag while it cannot be asked.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use quick_cache::sync::Cache;
use roadstead_proto::Tag;

use crate::control::{Link, RefusalReason, Refused, RepositoryRef, ServeManifest, StaleReason};

/// Tags remembered, at some 500 bytes each.
const REMEMBERED: usize = 20_000;

/// What a tag meant.
#[derive(Clone, Debug)]
pub(crate) struct Meaning {
    pub(crate) manifest: Arc<Link>,
    /// The group's link epoch then.
    pub(crate) link_epoch: i64,
    /// When upstream confirmed it.
    pub(crate) confirmed_at: SystemTime,
    /// Until when it may be served without the control plane's word.
    pub(crate) good_until: SystemTime,
}

/// The meanings of tags, each with the group's link epoch at which it was told.
pub(crate) struct TagMemory {
    known: Cache<(RepositoryRef, Tag), Meaning>,
}

impl TagMemory {
    pub(crate) fn new() -> Self {
        Self { known: Cache::new(REMEMBERED) }
    }

    /// Remembers a meaning, where `epoch` is the group's current one: what was told before links were last removed is not taken.
    pub(crate) fn put(&self, at: &RepositoryRef, tag: &Tag, meaning: Meaning, epoch: i64) {
        if meaning.link_epoch >= epoch && meaning.good_until > meaning.confirmed_at {
            self.known.insert((at.clone(), tag.clone()), meaning);
        }
    }

    /// The control plane has said that the tag is not to be served.
    pub(crate) fn forget(&self, at: &RepositoryRef, tag: &Tag) {
        self.known.remove(&(at.clone(), tag.clone()));
    }

    /// What to do about a pull while nobody can be asked; `None` if nothing is known.
    pub(crate) fn resolve(
        &self,
        at: &RepositoryRef,
        tag: &Tag,
        epoch: i64,
        now: SystemTime,
    ) -> Option<Result<ServeManifest, Refused>> {
        let meaning = self.known.get(&(at.clone(), tag.clone()))?;
        if meaning.link_epoch != epoch {
            return None;
        }
        let age = now.duration_since(meaning.confirmed_at).unwrap_or(Duration::ZERO);
        Some(if now < meaning.good_until {
            let stale = Some(StaleReason::ControlUnavailable);
            Ok(ServeManifest { manifest: meaning.manifest, age, stale })
        } else {
            let age = humantime::format_duration(Duration::from_secs(age.as_secs()));
            let message = format!(
                "{}:{tag} is cached, but was last confirmed {age} ago, longer than the group allows, and the control plane \
                 of this cache cannot be asked right now",
                at.repository
            );
            Err(Refused { reason: RefusalReason::TooStale, message, retry_after: Some(Duration::from_secs(10)) })
        })
    }

    /// Everything, for keeping it.
    pub(crate) fn all(&self) -> Vec<((RepositoryRef, Tag), Meaning)> {
        self.known.iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use roadstead_proto::{Algorithm, Digest};

    use super::*;
    use crate::control::ContentKind;

    fn at(group: &str) -> RepositoryRef {
        RepositoryRef {
            group: group.into(),
            upstream: "docker.io".parse().unwrap(),
            repository: "library/alpine".parse().unwrap(),
        }
    }

    fn meaning(link_epoch: i64) -> Meaning {
        let digest = Digest::of(Algorithm::Sha256, b"manifest");
        let confirmed_at = SystemTime::UNIX_EPOCH + Duration::from_secs(1000);
        Meaning {
            manifest: Arc::new(Link {
                digest,
                kind: ContentKind::Manifest,
                size_bytes: 8,
                media_type: "x/y".to_owned(),
            }),
            link_epoch,
            confirmed_at,
            good_until: confirmed_at + Duration::from_secs(60),
        }
    }

    fn after(seconds: u64) -> SystemTime {
        meaning(0).confirmed_at + Duration::from_secs(seconds)
    }

    #[test]
    fn a_tag_is_served_for_as_long_as_the_group_allows_and_says_how_old_it_is() {
        let (memory, tag) = (TagMemory::new(), "latest".parse().unwrap());
        memory.put(&at("g1"), &tag, meaning(5), 5);
        let served = memory.resolve(&at("g1"), &tag, 5, after(59)).unwrap().unwrap();
        assert_eq!((served.age.as_secs(), served.stale), (59, Some(StaleReason::ControlUnavailable)));
        let refused = memory.resolve(&at("g1"), &tag, 5, after(60)).unwrap().unwrap_err();
        assert_eq!(refused.reason, RefusalReason::TooStale);
        let early = memory.resolve(&at("g1"), &tag, 5, SystemTime::UNIX_EPOCH).unwrap().unwrap();
        assert_eq!(early.age, Duration::ZERO, "a clock that was set back makes nothing negative");
    }

    #[test]
    fn a_meaning_is_void_after_links_were_removed_and_never_another_group_s() {
        let (memory, tag) = (TagMemory::new(), "latest".parse().unwrap());
        memory.put(&at("g1"), &tag, meaning(5), 5);
        assert!(memory.resolve(&at("g1"), &tag, 6, after(1)).is_none());
        assert!(memory.resolve(&at("g2"), &tag, 5, after(1)).is_none());
        memory.put(&at("g1"), &tag, meaning(5), 6);
        assert!(memory.resolve(&at("g1"), &tag, 6, after(1)).is_none(), "told before the purge, heard after it");
        memory.put(&at("g1"), &tag, meaning(6), 6);
        memory.forget(&at("g1"), &tag);
        assert!(memory.resolve(&at("g1"), &tag, 6, after(1)).is_none(), "it is gone upstream");
    }

    #[test]
    fn what_may_not_be_served_unconfirmed_is_not_remembered() {
        let (memory, tag) = (TagMemory::new(), "latest".parse().unwrap());
        memory.put(&at("g1"), &tag, Meaning { good_until: after(0), ..meaning(5) }, 5);
        assert!(memory.resolve(&at("g1"), &tag, 5, after(0)).is_none());
    }
}
