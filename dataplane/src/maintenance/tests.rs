//! Linking what is gone, being refused a link, hashing, and reports of damage, against a local store and a control plane that does as
//! told.

use std::sync::Arc;

use prometheus_client::registry::Registry;
use roadstead_proto::{Algorithm, Digest, node::v1 as pb};
use tempfile::TempDir;

use super::{
    Maintenance,
    hashing::{Pace, damage_of},
};
use crate::{
    control::{
        ContentKind, CorruptionKind, Link, Proof, ProofKind, Recorded, RepositoryRef, StoredContent, fake::Fake,
    },
    metrics::Metrics,
    storage::{BlobStore, LocalStore, StoredBlob},
};

struct World {
    folder: TempDir,
    fake: Fake,
    store: Arc<dyn BlobStore>,
    maintenance: Maintenance,
}

fn world() -> World {
    let folder = tempfile::tempdir().unwrap();
    let store: Arc<dyn BlobStore> = Arc::new(LocalStore::open(folder.path()).unwrap());
    let fake = Fake::default();
    let metrics = Metrics::register(&mut Registry::default());
    let maintenance = Maintenance::new(fake.client(), Arc::clone(&store), "here".to_owned(), metrics);
    World { folder, fake, store, maintenance }
}

impl World {
    async fn put(&self, content: &[u8]) -> (Digest, Arc<StoredBlob>) {
        let digest = Digest::of(Algorithm::Sha256, content);
        let staged = self.store.stage(Some(content.len() as u64)).await.unwrap();
        staged.write_at(content, 0).unwrap();
        (digest, self.store.commit(&staged, &digest, content.len() as u64).await.unwrap())
    }

    async fn link(&self, digest: Digest, blob: &Arc<StoredBlob>) -> Recorded {
        let at = RepositoryRef {
            group: "g1".into(),
            upstream: "docker.io".parse().unwrap(),
            repository: "library/alpine".parse().unwrap(),
        };
        let proof = Proof { kind: ProofKind::Fetched, link_epoch: 0 };
        let link = Link { digest, kind: ContentKind::Blob, size_bytes: blob.size, media_type: String::new() };
        self.maintenance.recorder.link(&at, proof, &link, &[], None, blob).await.unwrap()
    }

    /// Writes to the file that holds the blob.
    fn spoil(&self, digest: &Digest, content: &[u8]) {
        let hex = digest.hex();
        let path = self.folder.path().join("sha256").join(&hex[..2]).join(&hex);
        std::fs::remove_file(&path).unwrap();
        std::fs::write(path, content).unwrap();
    }
}

#[tokio::test]
async fn what_was_deleted_while_it_was_linked_is_stored_again() {
    let world = world();
    world.fake.script(|script| script.recorded = pb::RecordLinkResponse { recorded: true, ..Default::default() });
    for len in [10, 300_000] {
        let content = vec![7; len];
        let (digest, blob) = world.put(&content).await;
        // As another node does that claimed it before.
        world.store.delete(&digest).await.unwrap();
        assert_eq!(world.link(digest, &blob).await, Recorded::Recorded);
        let stored = world.store.open(&digest).await.unwrap().expect("stored again");
        assert_eq!(stored.read_all().await.unwrap(), content);
    }
}

#[tokio::test]
async fn what_may_not_be_linked_stays_and_is_told_of_until_it_is_gone() {
    let world = world();
    let (digest, blob) = world.put(b"claimed by another node").await;
    assert_eq!(world.link(digest, &blob).await, Recorded::BeingDeleted);
    assert!(world.store.look(&digest).await.unwrap().is_some(), "somebody else may be linking it this moment");
    let told = |world: &World| world.fake.script(|script| script.adopted.len());
    world.maintenance.recorder.tell_leftovers().await.unwrap();
    world.maintenance.recorder.tell_leftovers().await.unwrap();
    assert_eq!(told(&world), 2);
    world.store.delete(&digest).await.unwrap();
    world.maintenance.recorder.tell_leftovers().await.unwrap();
    world.maintenance.recorder.tell_leftovers().await.unwrap();
    assert_eq!(told(&world), 2, "it is gone, and nothing is left to tell");
    let adopted = world.fake.script(|script| script.adopted.remove(0));
    assert_eq!((adopted.store_id.as_str(), adopted.contents[0].digest.clone()), ("here", digest.to_string()));
}

#[tokio::test]
async fn damage_is_told_apart() {
    let world = world();
    let content = vec![3; 200_000];
    let (digest, _) = world.put(&content).await;
    let stored = StoredContent { digest, size_bytes: content.len() as u64 };
    let look = async || damage_of(&*world.store, &stored, &mut Pace::new(None), |_| ()).await.unwrap();
    assert_eq!(look().await, None);
    world.spoil(&digest, &[&[4], &content[1..]].concat());
    assert_eq!(look().await, Some((CorruptionKind::Digest, 200_000)));
    world.spoil(&digest, &content[1..]);
    assert_eq!(look().await, Some((CorruptionKind::Size, 199_999)));
    world.store.delete(&digest).await.unwrap();
    assert_eq!(look().await, Some((CorruptionKind::Missing, 0)));
}

#[tokio::test(start_paused = true)]
async fn hashing_takes_its_time() {
    let world = world();
    let content = vec![3; 1_000_000];
    let (digest, _) = world.put(&content).await;
    let stored = StoredContent { digest, size_bytes: content.len() as u64 };
    let started = tokio::time::Instant::now();
    assert_eq!(damage_of(&*world.store, &stored, &mut Pace::new(Some(100_000)), |_| ()).await.unwrap(), None);
    let seconds = started.elapsed().as_secs_f64();
    assert!((9.9..=10.1).contains(&seconds), "{seconds} s for ten seconds' bytes");
}

#[tokio::test]
async fn damage_is_put_aside_reported_once_and_healed_by_the_next_link() {
    let world = world();
    world.fake.script(|script| script.recorded = pb::RecordLinkResponse { recorded: true, ..Default::default() });
    let content = vec![3; 200_000];
    let (digest, _) = world.put(&content).await;
    world.maintenance.corruption.notice(&digest, CorruptionKind::Digest, 200_000).await;
    assert!(world.store.look(&digest).await.unwrap().is_none(), "out of the way");
    world.maintenance.corruption.report().await.unwrap();
    world.maintenance.corruption.report().await.unwrap();
    let (_, blob) = world.put(&content).await;
    world.link(digest, &blob).await;
    world.link(digest, &blob).await;
    world.maintenance.corruption.report().await.unwrap();
    let reports = world.fake.script(|script| std::mem::take(&mut script.corruption_reports));
    let told: Vec<_> = reports.iter().map(|report| (report.corruptions.len(), report.healed_digests.len())).collect();
    assert_eq!(told, [(1, 0), (0, 1)]);
}
