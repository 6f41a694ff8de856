//! The remembered state, and its end.

use roadstead_proto::time::{duration, seconds};
use std::sync::Arc;

use roadstead_proto::{
    Digest,
    node::v1::{self as pb, policy_change::Change},
};
use tokio::{
    sync::mpsc,
    time::{Duration, advance},
};

use super::{
    super::{
        ContentKind, Control, Link, LinkLookup, Proof, ProofKind, Recorded, TagOutcome, TagResolution, Urgency,
        fake::{Fake, FakeWatch, changes, group, snapshot},
    },
    digest, repository, run, until,
};

/// A fake that has told a group with link and credential epoch 5, and a client that knows it.
async fn told() -> (Fake, Arc<Control>, mpsc::UnboundedSender<pb::WatchResponse>) {
    let fake = Fake::default();
    let (tell, told) = mpsc::unbounded_channel();
    fake.script(|script| script.watches.push_back(FakeWatch::Live(told)));
    let client = fake.client();
    run(&client);
    tell.send(snapshot(1, vec![group("g1", "acme", 5, 5)])).unwrap();
    client.policy.wait_for_snapshot().await;
    (fake, client, tell)
}

async fn move_epochs(client: &Control, tell: &mpsc::UnboundedSender<pb::WatchResponse>, links: i64, credentials: i64) {
    let revision = client.policy.current().revision() + 1;
    tell.send(changes(revision, vec![Change::Group(group("g1", "acme", links, credentials))])).unwrap();
    until(|| client.policy.current().revision() == revision).await;
}

fn link(digest: &Digest, kind: pb::ContentKind) -> pb::Link {
    pb::Link { digest: digest.to_string(), kind: kind.into(), size_bytes: 3, media_type: "a/b".to_owned() }
}

#[tokio::test(start_paused = true)]
async fn links_are_asked_for_once_and_bring_what_the_manifest_refers_to() {
    let (fake, client, tell) = told().await;
    let (manifest, layer) = (digest("manifest"), digest("layer"));
    let answer = pb::GetLinksResponse {
        link: Some(link(&manifest, pb::ContentKind::Manifest)),
        referenced: vec![link(&layer, pb::ContentKind::Blob)],
        link_epoch: 5,
        from_upstream: true,
        unlinked: vec![],
    };
    fake.script(|script| script.links = answer);
    let found = client.links.get(&repository("g1"), &manifest).await.unwrap().link().unwrap();
    assert_eq!((found.kind, found.size_bytes, found.media_type.as_str()), (ContentKind::Manifest, 3, "a/b"));
    assert!(client.links.get(&repository("g1"), &manifest).await.unwrap().link().is_some());
    assert!(client.links.get(&repository("g1"), &layer).await.unwrap().link().is_some());
    assert!(client.links.remembered(&repository("g2"), &layer).is_none());
    assert_eq!(fake.script(|script| script.links_asked), 1);
    move_epochs(&client, &tell, 6, 5).await;
    assert!(client.links.remembered(&repository("g1"), &manifest).is_none(), "links were removed");
    // The answer is still of epoch 5: it is told, but not remembered.
    assert!(client.links.get(&repository("g1"), &manifest).await.unwrap().link().is_some());
    assert!(client.links.remembered(&repository("g1"), &manifest).is_none());
}

#[tokio::test(start_paused = true)]
async fn that_there_is_no_link_is_not_remembered() {
    let (fake, client, _tell) = told().await;
    assert!(client.links.get(&repository("g1"), &digest("a")).await.unwrap().link().is_none());
    assert!(client.links.get(&repository("g1"), &digest("a")).await.unwrap().link().is_none());
    assert_eq!(fake.script(|script| script.links_asked), 2);
    fake.script(|script| script.links.link = Some(link(&digest("b"), pb::ContentKind::Blob)));
    assert_eq!(
        client.links.get(&repository("g1"), &digest("a")).await.unwrap_err().kind(),
        "bad_answer",
        "another digest"
    );
}

/// An answer about `asked`, which has no link: its manifest refers to it and to `beside`, from the same upstream.
fn without_links(asked: &Digest, beside: &Digest) -> pb::GetLinksResponse {
    let unlinked = |digest: &Digest| pb::Unlinked { digest: digest.to_string(), from_upstream: true };
    pb::GetLinksResponse { unlinked: vec![unlinked(asked), unlinked(beside)], link_epoch: 5, ..Default::default() }
}

#[tokio::test(start_paused = true)]
async fn one_answer_tells_of_all_blobs_of_an_image_that_have_no_link() {
    let (fake, client, tell) = told().await;
    let (a, b) = (digest("a"), digest("b"));
    let missing = LinkLookup::Unlinked { is_from_upstream: true };
    fake.script(|script| script.links = without_links(&a, &b));
    client.links.get(&repository("g1"), &a).await.unwrap();
    assert_eq!(client.links.get(&repository("g1"), &b).await.unwrap(), missing);
    assert_eq!(fake.script(|script| script.links_asked), 1);
    assert!(client.links.lookup(&repository("g2"), &b).is_none(), "another group");
    // A purge voids it, and so does time.
    move_epochs(&client, &tell, 6, 5).await;
    assert!(client.links.lookup(&repository("g1"), &b).is_none());
    fake.script(|script| script.links.link_epoch = 6);
    client.links.get(&repository("g1"), &a).await.unwrap();
    assert_eq!(client.links.lookup(&repository("g1"), &b), Some(missing));
    advance(Duration::from_secs(3)).await;
    assert!(client.links.lookup(&repository("g1"), &b).is_none());
}

#[tokio::test(start_paused = true)]
async fn content_that_another_group_has_recorded_since_is_asked_about_again() {
    let (fake, client, _tell) = told().await;
    let (a, b) = (digest("a"), digest("b"));
    fake.script(|script| script.links = without_links(&a, &b));
    client.links.get(&repository("g1"), &a).await.unwrap();
    let link = Link { digest: b, kind: ContentKind::Blob, size_bytes: 1, media_type: String::new() };
    let proof = Proof { kind: ProofKind::Fetched, link_epoch: 5 };
    client.links.record_blob(&repository("g2"), &link, proof, Urgency::Now).await.unwrap();
    assert!(client.links.lookup(&repository("g1"), &b).is_none(), "it may be provable by a HEAD now");
    assert!(client.links.lookup(&repository("g1"), &a).is_some());
}

#[tokio::test(start_paused = true)]
async fn a_recorded_blob_is_remembered_as_linked_and_not_as_missing() {
    let (fake, client, _tell) = told().await;
    let (a, b) = (digest("a"), digest("b"));
    fake.script(|script| {
        script.links = without_links(&a, &b);
        script.recorded.link_epoch = 5;
    });
    client.links.get(&repository("g1"), &a).await.unwrap();
    let link = Link { digest: b, kind: ContentKind::Blob, size_bytes: 1, media_type: String::new() };
    let proof = Proof { kind: ProofKind::Fetched, link_epoch: 5 };
    client.links.record_blob(&repository("g1"), &link, proof, Urgency::Now).await.unwrap();
    assert_eq!(client.links.lookup(&repository("g1"), &b).and_then(LinkLookup::link), Some(Arc::new(link)));
}

#[tokio::test(start_paused = true)]
async fn a_resolved_tag_and_a_recorded_link_are_remembered_with_their_references() {
    let (fake, client, _tell) = told().await;
    let serve = pb::ServeManifest {
        unconfirmed_for: seconds(60),
        manifest: Some(link(&digest("m"), pb::ContentKind::Manifest)),
        referenced: vec![link(&digest("l"), pb::ContentKind::Blob)],
        link_epoch: 5,
        age: seconds(60),
        stale: pb::StaleReason::Frozen.into(),
        fresh_for: duration(0),
    };
    fake.script(|script| script.serve = Some(serve));
    let tag = "latest".parse().unwrap();
    let TagResolution::Serve(served) = client.tags.resolve(&repository("g1"), &tag).await.unwrap() else { panic!() };
    assert_eq!((served.manifest.digest, served.age.as_secs()), (digest("m"), 60));
    assert!(client.links.remembered(&repository("g1"), &digest("m")).is_some());
    assert!(client.links.remembered(&repository("g1"), &digest("l")).is_some());
    let new = Link { digest: digest("n"), kind: ContentKind::Manifest, size_bytes: 1, media_type: String::new() };
    let proof = Proof { kind: ProofKind::Fetched, link_epoch: 5 };
    assert_eq!(
        client.links.record(&repository("g1"), &new, &[], Some(&tag), proof).await.unwrap(),
        Recorded::BeingDeleted
    );
    assert!(client.links.remembered(&repository("g1"), &new.digest).is_none());
    fake.script(|script| {
        script.recorded = pb::RecordLinkResponse { recorded: true, link_epoch: 5, ..Default::default() }
    });
    assert_eq!(client.links.record(&repository("g1"), &new, &[], Some(&tag), proof).await.unwrap(), Recorded::Recorded);
    assert!(client.links.remembered(&repository("g1"), &new.digest).is_some());
}

#[tokio::test(start_paused = true)]
async fn credentials_are_asked_for_once_per_epoch() {
    let (fake, client, tell) = told().await;
    let credential = |password: &str, credential_epoch| pb::GetCredentialResponse {
        username: "ci".to_owned(),
        password: password.to_owned(),
        credential_epoch,
    };
    let (group, hub) = ("g1".into(), "docker.io".parse().unwrap());
    fake.script(|script| script.credential = credential("a", 5));
    let first = client.credentials.get(&group, &hub).await.unwrap().unwrap();
    client.credentials.get(&group, &hub).await.unwrap();
    assert_eq!(fake.script(|script| script.credentials_asked), 1);
    move_epochs(&client, &tell, 5, 6).await;
    fake.script(|script| script.credential = credential("b", 6));
    let second = client.credentials.get(&group, &hub).await.unwrap().unwrap();
    assert_ne!(first.id(), second.id());
    move_epochs(&client, &tell, 5, 7).await;
    fake.script(|script| script.credential = pb::GetCredentialResponse { credential_epoch: 7, ..Default::default() });
    assert!(client.credentials.get(&group, &hub).await.unwrap().is_none());
    assert!(client.credentials.get(&group, &hub).await.unwrap().is_none());
    assert_eq!(fake.script(|script| script.credentials_asked), 3);
}

#[tokio::test(start_paused = true)]
async fn failures_are_told_apart() {
    let (_fake, client, _tell) = told().await;
    let tag = "latest".parse().unwrap();
    let hangs = client.tags.report(&repository("g1"), &tag, TagOutcome::NotFound).await.unwrap_err();
    assert_eq!((hangs.kind(), hangs.retryable()), ("timeout", true));
    assert_eq!(client.tags.resolve(&repository("g1"), &tag).await.unwrap_err().kind(), "bad_answer", "no decision");
    assert_eq!(client.client.claim_garbage("store", 10, false).await.unwrap_err().kind(), "bad_answer", "no digest");
    assert_eq!(client.client.confirm_garbage("claim", &[]).await.unwrap_err().kind(), "node_refused");
}

#[tokio::test(start_paused = true)]
async fn pulls_of_a_tag_at_the_same_time_share_a_call_that_is_sent_after_they_came() {
    let (fake, client, _tell) = told().await;
    let serve = pb::ServeManifest {
        manifest: Some(link(&digest("m"), pb::ContentKind::Manifest)),
        link_epoch: 5,
        ..Default::default()
    };
    fake.script(|script| script.serve = Some(serve));
    let (repository, tag) = (repository("g1"), "latest".parse().unwrap());
    let all = futures_util::future::join_all((0..64).map(|_| client.tags.resolve(&repository, &tag))).await;
    assert!(all.into_iter().all(|resolved| matches!(resolved, Ok(TagResolution::Serve(_)))));
    assert_eq!(
        fake.script(|script| script.tags_asked),
        2,
        "the first, and one for all who came while it was under way"
    );
    client.tags.resolve(&repository, &tag).await.unwrap();
    assert_eq!(fake.script(|script| script.tags_asked), 3, "nothing is remembered");
}

#[tokio::test(start_paused = true)]
async fn a_decision_that_holds_is_repeated_without_a_call_until_it_expires_or_the_group_changes() {
    let (fake, client, tell) = told().await;
    let serve = pb::ServeManifest {
        manifest: Some(link(&digest("m"), pb::ContentKind::Manifest)),
        link_epoch: 5,
        age: seconds(10),
        unconfirmed_for: seconds(3600),
        fresh_for: duration(5_000),
        ..Default::default()
    };
    fake.script(|script| script.serve = Some(serve));
    let (repository, tag) = (repository("g1"), "latest".parse().unwrap());
    let calls = async || {
        let resolved = client.tags.resolve(&repository, &tag).await.unwrap();
        assert!(matches!(&resolved, TagResolution::Serve(serve) if serve.manifest.digest == digest("m")));
        fake.script(|script| script.tags_asked)
    };
    assert_eq!((calls().await, calls().await), (1, 1));
    advance(Duration::from_secs(4)).await;
    assert_eq!(calls().await, 1);
    advance(Duration::from_secs(1)).await;
    assert_eq!((calls().await, calls().await), (2, 2), "it had expired");
    // Any change of the group voids it: a pin, a freeze, other rules, a purge.
    tell.send(changes(2, vec![Change::Group(group("g1", "acme", 5, 5))])).unwrap();
    until(|| client.policy.current().revision() == 2).await;
    assert_eq!((calls().await, calls().await), (3, 3));
    tell.send(changes(3, vec![])).unwrap();
    until(|| client.policy.current().revision() == 3).await;
    assert_eq!(calls().await, 3, "another group's changes do not");
}
