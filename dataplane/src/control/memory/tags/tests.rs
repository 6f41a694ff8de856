use roadstead_proto::{Algorithm, Digest};

use super::*;
use crate::control::ContentKind;

fn repository(group: &str) -> RepositoryRef {
    RepositoryRef {
        group: group.into(),
        upstream: "docker.io".parse().unwrap(),
        repository: "library/alpine".parse().unwrap(),
    }
}

fn remembered(link_epoch: i64) -> Remembered {
    let digest = Digest::of(Algorithm::Sha256, b"manifest");
    let confirmed_at = SystemTime::UNIX_EPOCH + Duration::from_secs(1000);
    Remembered {
        manifest: Arc::new(Link { digest, kind: ContentKind::Manifest, size_bytes: 8, media_type: "x/y".to_owned() }),
        link_epoch,
        confirmed_at,
        good_until: confirmed_at + Duration::from_secs(60),
        fresh: None,
    }
}

fn after(seconds: u64) -> SystemTime {
    remembered(0).confirmed_at + Duration::from_secs(seconds)
}

#[test]
fn a_tag_is_served_for_as_long_as_the_group_allows_and_says_how_old_it_is() {
    let (memory, tag) = (TagMemory::new(Arc::default()), "latest".parse().unwrap());
    memory.put_at(&repository("g1"), &tag, remembered(5), 5);
    let served = memory.get_at(&repository("g1"), &tag, 5, after(59)).unwrap().unwrap();
    assert_eq!((served.age.as_secs(), served.stale), (59, Some(StaleReason::ControlUnavailable)));
    let refused = memory.get_at(&repository("g1"), &tag, 5, after(60)).unwrap().unwrap_err();
    assert_eq!(refused.reason, RefusalReason::TooStale);
    let early = memory.get_at(&repository("g1"), &tag, 5, SystemTime::UNIX_EPOCH).unwrap().unwrap();
    assert_eq!(early.age, Duration::ZERO, "a clock that was set back makes nothing negative");
}

#[test]
fn a_meaning_is_void_after_links_were_removed_and_never_another_group_s() {
    let (memory, tag) = (TagMemory::new(Arc::default()), "latest".parse().unwrap());
    memory.put_at(&repository("g1"), &tag, remembered(5), 5);
    assert!(memory.get_at(&repository("g1"), &tag, 6, after(1)).is_none());
    assert!(memory.get_at(&repository("g2"), &tag, 5, after(1)).is_none());
    memory.put_at(&repository("g1"), &tag, remembered(5), 6);
    assert!(memory.get_at(&repository("g1"), &tag, 6, after(1)).is_none(), "told before the purge, heard after it");
    memory.put_at(&repository("g1"), &tag, remembered(6), 6);
    memory.forget(&repository("g1"), &tag);
    assert!(memory.get_at(&repository("g1"), &tag, 6, after(1)).is_none(), "it is gone upstream");
}

#[test]
fn what_may_not_be_served_unconfirmed_is_not_remembered() {
    let (memory, tag) = (TagMemory::new(Arc::default()), "latest".parse().unwrap());
    memory.put_at(&repository("g1"), &tag, Remembered { good_until: after(0), ..remembered(5) }, 5);
    assert!(memory.get_at(&repository("g1"), &tag, 5, after(0)).is_none());
}
