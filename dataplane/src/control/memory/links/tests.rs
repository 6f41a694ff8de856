use roadstead_proto::Algorithm;

use super::*;
use crate::control::ContentKind;

fn repository(group: &str) -> RepositoryRef {
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
    let memory = LinkMemory::new(Arc::default());
    let a = link(b"a");
    memory.put_at(&repository("g1"), Arc::clone(&a), 5, 5);
    assert_eq!(memory.get_at(&repository("g1"), &a.digest, 5), Some(Arc::clone(&a)));
    assert_eq!(memory.get_at(&repository("g1"), &a.digest, 6), None, "links were removed since");
    assert_eq!(memory.get_at(&repository("g2"), &a.digest, 5), None, "no right of another group");
    assert_eq!(memory.get_at(&repository("g1"), &link(b"b").digest, 5), None);
}

#[test]
fn an_answer_from_before_a_purge_is_not_remembered() {
    let memory = LinkMemory::new(Arc::default());
    let a = link(b"a");
    memory.put_at(&repository("g1"), Arc::clone(&a), 5, 6);
    assert_eq!(memory.get_at(&repository("g1"), &a.digest, 5), None);
    // The watch may be behind the answer: it counts once the watch has caught up.
    memory.put_at(&repository("g1"), Arc::clone(&a), 7, 6);
    assert_eq!(memory.get_at(&repository("g1"), &a.digest, 6), None);
    assert_eq!(memory.get_at(&repository("g1"), &a.digest, 7), Some(a));
}
