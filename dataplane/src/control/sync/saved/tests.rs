use std::os::unix::fs::PermissionsExt;

use roadstead_proto::node::v1 as pb;
use roadstead_proto::time::{seconds, timestamp};

use super::*;
use crate::{
    control::{
        ContentKind, Control, Link, NodeIdentity, Pull, RepositoryRef, StaleReason,
        client::translate,
        fake::{Fake, FakeWatch, group, snapshot},
    },
    node_id::NodeId,
};

fn repository() -> RepositoryRef {
    RepositoryRef {
        group: "g1".into(),
        upstream: "docker.io".parse().unwrap(),
        repository: "library/alpine".parse().unwrap(),
    }
}

fn client(fake: &Fake, folder: &Path) -> Arc<Control> {
    let node = NodeIdentity { name: "node-1".to_owned(), id: NodeId::open(folder).unwrap() };
    Control::connect(fake.channel(), &"rs_node_x".into(), node, Some(folder.to_owned())).unwrap()
}

/// A node that heard a snapshot, was told a tag, and stopped.
async fn lived(folder: &Path) -> Link {
    let fake = Fake::default();
    let mut told = snapshot(7, vec![group("g1", "acme", 3, 1)]);
    if let Some(pb::watch_response::Event::Snapshot(snapshot)) = &mut told.event {
        snapshot.revocations.push(pb::Revocation {
            token_id: "t-revoked".to_owned(),
            forget_after: timestamp(i64::MAX),
            user_epoch: 0,
        });
    }
    let link = Link {
        digest: Digest::of(Algorithm::Sha256, b"manifest"),
        kind: ContentKind::Manifest,
        size_bytes: 8,
        media_type: "x/y".to_owned(),
    };
    fake.script(|script| {
        script.watches.push_back(FakeWatch::Events(vec![told]));
        script.serve = Some(pb::ServeManifest {
            manifest: Some(translate::link_to_pb(&link)),
            link_epoch: 3,
            unconfirmed_for: seconds(3600),
            ..Default::default()
        });
    });
    let (client, stop) = (client(&fake, folder), CancellationToken::new());
    let (running, stopping) = (Arc::clone(&client), stop.clone());
    let run = tokio::spawn(async move { running.run("", stopping).await });
    client.policy.wait_for_snapshot().await;
    client.tags.resolve(&repository(), &"latest".parse().unwrap()).await.unwrap();
    client.usage.record(&repository(), &link.digest, Pull::Hit);
    stop.cancel();
    run.await.unwrap();
    link
}

#[tokio::test]
async fn what_was_known_is_known_after_a_restart_without_the_control_plane() {
    let folder = tempfile::tempdir().unwrap();
    let link = lived(folder.path()).await;
    for file in [SNAPSHOT, REMEMBERED] {
        let mode = fs::metadata(folder.path().join(file)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{file}");
        let text = fs::read(folder.path().join(file)).unwrap();
        assert!(!String::from_utf8_lossy(&text).contains("rs_node_x"), "{file} holds the node's token");
    }
    let client = client(&Fake::default(), folder.path());
    let policy = client.policy.current();
    assert_eq!((client.policy.has_snapshot(), policy.revision()), (true, 7));
    assert!(policy.key("k1").is_some() && policy.is_revoked("t-revoked", 0));
    assert!(policy.group(&"acme".parse().unwrap()).is_some_and(|group| group.anonymous_pull));
    assert!(policy.upstream(&"docker.io".parse().unwrap()).is_some());
    assert_eq!(client.links.remembered(&repository(), &link.digest).as_deref(), Some(&link));
    let served = client.tags.remembered(&repository(), &"latest".parse().unwrap()).unwrap().unwrap();
    assert_eq!((&*served.manifest, served.stale), (&link, Some(StaleReason::ControlUnavailable)));
    assert!(client.liveness.silent_for() < Duration::from_secs(60));
}

#[tokio::test]
async fn what_is_damaged_of_another_version_or_another_node_s_is_ignored() {
    let folder = tempfile::tempdir().unwrap();
    lived(folder.path()).await;
    let good = fs::read(folder.path().join(SNAPSHOT)).unwrap();
    let mut bad = good.clone();
    *bad.last_mut().unwrap() ^= 1;
    let other_version = String::from_utf8_lossy(&good).replacen(MAGIC, "roadstead-saved-2", 1).into_bytes();
    for bytes in [bad, good[..good.len() / 2].to_vec(), Vec::new(), other_version] {
        fs::write(folder.path().join(SNAPSHOT), bytes).unwrap();
        assert!(!client(&Fake::default(), folder.path()).policy.has_snapshot());
    }
    fs::write(folder.path().join(SNAPSHOT), good).unwrap();
    assert!(client(&Fake::default(), folder.path()).policy.has_snapshot());
    fs::remove_file(folder.path().join("node-id")).unwrap();
    assert!(!client(&Fake::default(), folder.path()).policy.has_snapshot());
}

#[tokio::test]
async fn a_restored_node_asks_for_everything_anew() {
    let folder = tempfile::tempdir().unwrap();
    lived(folder.path()).await;
    let fake = Fake::default();
    fake.script(|script| script.watches.push_back(FakeWatch::Events(vec![snapshot(9, vec![])])));
    let (client, stop) = (client(&fake, folder.path()), CancellationToken::new());
    let (running, stopping) = (Arc::clone(&client), stop.clone());
    let run = tokio::spawn(async move { running.run("", stopping).await });
    while client.policy.current().revision() != 9 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(fake.script(|script| script.resumed_from.clone()), [0]);
    stop.cancel();
    run.await.unwrap();
}
