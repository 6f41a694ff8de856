use roadstead_proto::Algorithm;

use super::*;

fn repository(group: &str) -> RepositoryRef {
    RepositoryRef {
        group: group.into(),
        upstream: "docker.io".parse().unwrap(),
        repository: "library/alpine".parse().unwrap(),
    }
}

#[test]
fn pulls_of_the_same_content_add_up() {
    let counter = UsageCounter::default();
    let digest = Digest::of(Algorithm::Sha256, b"a");
    counter.record(&repository("g1"), &digest, Pull::Miss);
    counter.record(&repository("g1"), &digest, Pull::Hit);
    counter.record(&repository("g1"), &digest, Pull::Hit);
    counter.record(&repository("g2"), &digest, Pull::Hit);
    let mut counts: Vec<_> = counter
        .take()
        .into_iter()
        .flat_map(|batch| batch.usage)
        .map(|usage| (usage.key.repository.group.to_string(), usage.hits, usage.misses))
        .collect();
    counts.sort();
    assert_eq!(counts, [("g1".to_owned(), 2, 1), ("g2".to_owned(), 1, 0)]);
    assert!(counter.take().is_empty());
}

#[test]
fn memory_and_batches_are_bounded() {
    let counter = UsageCounter::default();
    let total = MAX_COUNTED + 20_000;
    for i in 0..total {
        counter.record(&repository("g1"), &Digest::of(Algorithm::Sha256, &i.to_be_bytes()), Pull::Hit);
    }
    let batches = counter.take();
    let counted: usize = batches.iter().map(|batch| batch.usage.len()).sum();
    assert!(batches.iter().all(|batch| batch.usage.len() <= MAX_BATCH));
    assert!(counted <= MAX_COUNTED && counted > MAX_COUNTED / 2);
    assert_eq!(counter.take_uncounted(), (total - counted) as u64);
}
