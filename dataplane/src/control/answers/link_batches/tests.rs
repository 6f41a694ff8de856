use roadstead_proto::{Algorithm, Digest};
use tokio::time::sleep;

use super::*;
use crate::control::{ContentKind, Link, Proof, ProofKind, Recorded, RepositoryRef, fake::Fake};

fn link(number: usize) -> ProvenLink {
    let digest = Digest::of(Algorithm::Sha256, number.to_string().as_bytes());
    ProvenLink {
        repository: RepositoryRef {
            group: "g".into(),
            upstream: "docker.io".parse().unwrap(),
            repository: "library/alpine".parse().unwrap(),
        },
        link: Link { digest, kind: ContentKind::Blob, size_bytes: 1, media_type: String::new() },
        proof: Proof { kind: ProofKind::Fetched, link_epoch: 1 },
    }
}

struct World {
    fake: Fake,
    batches: Arc<LinkBatches>,
}

impl World {
    fn new() -> Self {
        let fake = Fake::default();
        let batches = Arc::new(LinkBatches::new(Arc::clone(&fake.client().client)));
        Self { fake, batches }
    }

    fn record(&self, number: usize, urgency: Urgency) -> tokio::task::JoinHandle<BlobRecorded> {
        let batches = Arc::clone(&self.batches);
        tokio::spawn(async move { batches.record(link(number), urgency).await })
    }

    /// The number of links in each call so far.
    fn calls(&self) -> Vec<usize> {
        self.fake.script(|script| script.links_recorded.iter().map(|call| call.links.len()).collect())
    }
}

#[tokio::test(start_paused = true)]
async fn links_that_come_one_after_the_other_share_a_call() {
    let world = World::new();
    let mut waiting = Vec::new();
    for number in 0..10 {
        waiting.push(world.record(number, Urgency::Soon));
        sleep(QUIET / 4).await;
    }
    for link in waiting {
        assert!(matches!(link.await.unwrap(), Ok((Recorded::Recorded, _))));
    }
    assert_eq!(world.calls(), [10]);
}

#[tokio::test(start_paused = true)]
async fn no_link_waits_for_ever_for_others() {
    let world = World::new();
    let first = world.record(0, Urgency::Soon);
    let mut number = 0;
    while !first.is_finished() {
        number += 1;
        assert!(number < 1000, "the first link never went");
        world.record(number, Urgency::Soon);
        sleep(QUIET / 4).await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_urgent_link_takes_those_that_wait_along_at_once() {
    let world = World::new();
    let slow = world.record(0, Urgency::Soon);
    tokio::task::yield_now().await;
    let began = Instant::now();
    world.record(1, Urgency::Now).await.unwrap().unwrap();
    slow.await.unwrap().unwrap();
    assert!(began.elapsed() < QUIET);
    assert_eq!(world.calls(), [2]);
}

#[tokio::test(start_paused = true)]
async fn a_call_has_no_more_links_than_the_contract_allows() {
    let world = World::new();
    let waiting: Vec<_> = (0..2 * MAX_LINKS + 1).map(|number| world.record(number, Urgency::Soon)).collect();
    for link in waiting {
        link.await.unwrap().unwrap();
    }
    let calls = world.calls();
    assert!(calls.iter().all(|links| *links <= MAX_LINKS), "{calls:?}");
    assert_eq!(calls.iter().sum::<usize>(), 2 * MAX_LINKS + 1);
}

#[tokio::test(start_paused = true)]
async fn a_node_that_stops_keeps_no_link_waiting() {
    let world = World::new();
    let waiting = world.record(0, Urgency::Soon);
    tokio::task::yield_now().await;
    let began = Instant::now();
    world.batches.hurry();
    waiting.await.unwrap().unwrap();
    world.record(1, Urgency::Soon).await.unwrap().unwrap();
    assert!(began.elapsed() < QUIET);
}

#[tokio::test(start_paused = true)]
async fn each_link_gets_its_own_result() {
    let world = World::new();
    let result = |outcome: roadstead_proto::node::v1::LinkOutcome| outcome.into();
    use roadstead_proto::node::v1::LinkOutcome as Wire;
    world.fake.script(|script| {
        script.link_outcomes =
            [Wire::Recorded, Wire::Outdated, Wire::BeingDeleted, Wire::Unproven, Wire::NoGroup].map(result).to_vec()
    });
    let mut waiting = Vec::new();
    for number in 0..5 {
        waiting.push(world.record(number, Urgency::Soon));
        tokio::task::yield_now().await;
    }
    let mut results = Vec::new();
    for link in waiting {
        results.push(link.await.unwrap().map(|(recorded, _)| recorded).map_err(|error| error.kind()));
    }
    assert_eq!(world.calls(), [5]);
    assert_eq!(
        results,
        [
            Ok(Recorded::Recorded),
            Ok(Recorded::Outdated),
            Ok(Recorded::BeingDeleted),
            Ok(Recorded::Unproven),
            Err("not_found")
        ]
    );
}
