//! The guarantees, one function each.

use std::{io, sync::Arc};

use futures_util::future::join_all;
use roadstead_proto::{Algorithm, Digest};

use super::{
    super::{BlobStore, StagedFile, StorageError, StoredBlob},
    place::Place,
};

/// Three parts of an upload, and a bit.
const LARGE: usize = 17 * 1024 * 1024 + 5;

/// Bytes of which no stretch looks like another.
fn content(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    let mut bytes: Vec<u8> = std::iter::repeat_with(next).take(len.div_ceil(8)).flatten().collect();
    bytes.truncate(len);
    bytes
}

fn digest(content: &[u8]) -> Digest {
    Digest::of(Algorithm::Sha256, content)
}

/// Writes as a download does: in order, in pieces.
fn write(staged: &StagedFile, content: &[u8]) {
    for (index, piece) in content.chunks(1_000_000).enumerate() {
        staged.write_at(piece, index as u64 * 1_000_000).unwrap();
    }
}

async fn put(store: &dyn BlobStore, content: &[u8]) -> Digest {
    let digest = digest(content);
    let staged = store.stage_upload(&digest, Some(content.len() as u64)).await.unwrap();
    write(&staged, content);
    store.commit(&staged, &digest, content.len() as u64).await.unwrap();
    digest
}

async fn open(store: &dyn BlobStore, digest: &Digest) -> Arc<StoredBlob> {
    store.open(digest).await.unwrap().expect("it is stored")
}

async fn assert_absent(store: &dyn BlobStore, digest: &Digest) {
    assert!(store.opened(digest).is_none() && store.open(digest).await.unwrap().is_none());
    assert!(store.look(digest).await.unwrap().is_none());
    assert!(store.read(digest, 0, 10).await.unwrap().is_none());
    assert!(!store.list(None, 1000).await.unwrap().iter().any(|file| file.digest == *digest));
}

async fn assert_stored(store: &dyn BlobStore, content: &[u8]) {
    let digest = digest(content);
    let (blob, looked) = (open(store, &digest).await, store.look(&digest).await.unwrap().unwrap());
    assert_eq!((blob.size, looked.size, looked.digest), (content.len() as u64, content.len() as u64, digest));
    assert!(blob.read_all().await.unwrap() == content, "{} bytes", content.len());
    assert!(store.read(&digest, 0, content.len() + 1).await.unwrap().unwrap() == content);
}

pub async fn nothing_is_visible_before_its_commit_and_all_of_it_after(place: &Place) {
    let store = place.open().await;
    for (turn, len) in [0, 10, 70_000, LARGE].into_iter().enumerate() {
        // Taken along as it is written, of a size known or not; or written first.
        for (way, size) in [(0, Some(len as u64)), (1, None), (2, None)] {
            let content = content(10 * turn as u64 + way, len);
            let digest = digest(&content);
            if len == 0 && way > 0 {
                store.delete(&digest).await.unwrap();
            }
            let staged = match way {
                2 => store.stage(size).await.unwrap(),
                _ => store.stage_upload(&digest, size).await.unwrap(),
            };
            write(&staged, &content);
            assert_absent(&*store, &digest).await;
            let blob = store.commit(&staged, &digest, len as u64).await.unwrap();
            assert!(blob.read_all().await.unwrap() == content, "{len} bytes");
            drop(staged);
            assert_stored(&*store, &content).await;
        }
    }
    place.nothing_is_half_stored().await;
}

pub async fn what_is_given_up_leaves_nothing_behind(place: &Place) {
    let store = place.open().await;
    let content = content(1, LARGE);
    let digest = digest(&content);
    for len in [0, 100, LARGE] {
        let staged = store.stage_upload(&digest, Some(LARGE as u64)).await.unwrap();
        write(&staged, &content[..len]);
        assert!(place.half_stored().await > 0);
        drop(staged);
        place.nothing_is_half_stored().await;
        assert_absent(&*store, &digest).await;
    }
}

pub async fn a_commit_takes_as_many_bytes_as_it_says(place: &Place) {
    let store = place.open().await;
    // More was announced and written than it turns out to be.
    for len in [100, LARGE - 8 * 1024 * 1024] {
        let content = content(len as u64, LARGE);
        let (content, rest) = content.split_at(len);
        let digest = digest(content);
        let staged = store.stage_upload(&digest, Some(LARGE as u64)).await.unwrap();
        write(&staged, content);
        staged.write_at(rest, len as u64).unwrap();
        if place.uploads().await.is_some() {
            while place.uploads().await == Some(0) {
                tokio::task::yield_now().await;
            }
        }
        store.commit(&staged, &digest, len as u64).await.unwrap();
        assert_stored(&*store, content).await;
    }
    place.nothing_is_half_stored().await;
}

pub async fn ranges_are_exact_to_the_byte(place: &Place) {
    let content = content(1, LARGE);
    let digest = put(&*place.open().await, &content).await;
    // First what this node keeps, then what it has to fetch.
    for _ in 0..2 {
        let store = place.open().await;
        for (offset, len) in [(0, 1), (4_194_303, 2), (LARGE / 2, 3_000_000), (LARGE - 1, 1), (LARGE - 3, 100)] {
            let end = LARGE.min(offset + len);
            let piece = store.read(&digest, offset as u64, len).await.unwrap().unwrap();
            assert!(piece == content[offset..end], "{offset}+{len}");
            let (blob, mut at) = (open(&*store, &digest).await, offset);
            while at < end {
                let piece = blob.load(at as u64, end as u64).await.unwrap();
                assert!(!piece.is_empty() && piece == content[at..at + piece.len()], "{offset}+{len} at {at}");
                at += piece.len();
            }
        }
        for offset in [LARGE, LARGE + 1000] {
            assert!(store.read(&digest, offset as u64, 10).await.unwrap().unwrap().is_empty(), "{offset}");
        }
        place.forget_node_cache();
    }
}

pub async fn commits_of_the_same_blob_at_once_all_succeed(place: &Place) {
    let store = place.open().await;
    for len in [1000, LARGE] {
        let content = content(len as u64, len);
        let puts = join_all((0..4).map(|_| put(&*store, &content))).await;
        assert_stored(&*store, &content).await;
        let listed = store.list(None, 10).await.unwrap();
        assert_eq!(listed.iter().filter(|file| file.digest == puts[0]).count(), 1);
    }
    place.nothing_is_half_stored().await;
}

pub async fn a_blob_may_be_deleted_while_it_is_read(place: &Place) {
    let store = place.open().await;
    let content = content(1, LARGE);
    let digest = put(&*store, &content).await;
    let reader = open(&*store, &digest).await;
    assert_eq!(reader.load(0, 10).await.unwrap(), content[..10]);
    store.delete(&digest).await.unwrap();
    store.delete(&digest).await.unwrap();
    assert_absent(&*store, &digest).await;
    match reader.read_all().await {
        Ok(read) => assert!(read == content),
        Err(error) => assert!(!place.readers_outlive_deletion() && error.kind() == io::ErrorKind::NotFound, "{error}"),
    }
    put(&*store, &content).await;
    assert_stored(&*store, &content).await;
}

pub async fn lists_come_in_pages_in_the_order_of_digests(place: &Place) {
    let store = place.open().await;
    assert!(store.list(None, 10).await.unwrap().is_empty());
    let mut expected = Vec::new();
    for n in 0..23 {
        expected.push((put(&*store, &content(n, n as usize)).await, n));
    }
    let longer = content(99, 7);
    let other = Digest::of(Algorithm::Sha512, &longer);
    let staged = store.stage_upload(&other, None).await.unwrap();
    write(&staged, &longer);
    store.commit(&staged, &other, 7).await.unwrap();
    expected.push((other, 7));
    expected.sort_unstable();
    let (mut found, mut after) = (Vec::new(), None);
    loop {
        let page = store.list(after.as_ref(), 5).await.unwrap();
        assert!(page.len() <= 5);
        let Some(last) = page.last() else { break };
        assert!(after.is_none_or(|after| after < last.digest), "the page after {after:?} does not come after it");
        after = Some(last.digest);
        found.extend(page.iter().map(|file| (file.digest, file.size)));
    }
    assert_eq!(found, expected);
}

pub async fn what_is_damaged_is_put_aside_and_can_be_stored_again(place: &Place) {
    let store = place.open().await;
    let content = content(1, LARGE);
    let digest = put(&*store, &content).await;
    let mut wrong = content.clone();
    wrong[LARGE / 2] ^= 1;
    place.replace(&digest, wrong.clone()).await;
    assert!(store.read(&digest, 0, LARGE).await.unwrap().unwrap() == wrong, "past everything that is kept here");
    store.quarantine(&digest).await.unwrap();
    store.quarantine(&digest).await.unwrap();
    assert_absent(&*store, &digest).await;
    put(&*store, &content).await;
    assert_stored(&*store, &content).await;
}

pub async fn a_probe_leaves_nothing_behind(place: &Place) {
    let store = place.open().await;
    let space = store.probe().await.unwrap();
    assert!(space.available_bytes <= space.total_bytes);
    assert!(store.list(None, 10).await.unwrap().is_empty());
    place.nothing_is_half_stored().await;
}

pub async fn a_restart_finds_what_was_stored_and_nothing_that_was_half_stored(place: &Place) {
    let (small, large, half) = (content(1, 1000), content(2, LARGE), content(3, LARGE));
    let store = place.open().await;
    put(&*store, &small).await;
    put(&*store, &large).await;
    let staged = store.stage_upload(&digest(&half), Some(LARGE as u64)).await.unwrap();
    write(&staged, &half[..LARGE - 1]);
    while place.uploads().await == Some(0) {
        tokio::task::yield_now().await;
    }
    // A crash runs no destructor.
    std::mem::forget(staged);
    drop(store);
    let store = place.open().await;
    // What was uploaded is given up with the first look at how the store is.
    store.probe().await.unwrap();
    place.nothing_is_half_stored().await;
    assert_absent(&*store, &digest(&half)).await;
    assert_stored(&*store, &small).await;
    assert_stored(&*store, &large).await;
    assert_eq!(store.list(None, 10).await.unwrap().len(), 2);
}

pub async fn one_process_at_a_time_uses_it(place: &Place) {
    let _first = place.open().await;
    assert!(matches!(place.try_open().await, Err(StorageError::InUse(_))));
}

pub async fn trouble_is_never_a_miss(place: &Place) {
    let first = place.open().await;
    let content = content(1, 300_000);
    let digest = put(&*first, &content).await;
    drop(first);
    place.forget_node_cache();
    let store = place.open().await;
    if !place.fail(&digest, true).await {
        return;
    }
    let (opened, looked, read, put_aside, deleted) = tokio::join!(
        store.open(&digest),
        store.look(&digest),
        store.read(&digest, 0, 10),
        store.quarantine(&digest),
        store.delete(&digest),
    );
    let errors = [opened.err(), looked.err(), read.err(), put_aside.err(), deleted.err()];
    assert!(
        errors.iter().flatten().count() == 5 && !errors.iter().flatten().any(StorageError::is_damage),
        "{errors:?}"
    );
    // A disk is listed shelf by shelf, and the one that fails holds nothing.
    assert!(store.list(None, 10).await.is_err() || !store.is_elsewhere());
    let staged = store.stage_upload(&digest, Some(300_000)).await.unwrap();
    write(&staged, &content);
    assert!(store.commit(&staged, &digest, 300_000).await.is_err());
    drop(staged);
    place.fail(&digest, false).await;
    assert_stored(&*store, &content).await;
    place.nothing_is_half_stored().await;
}

pub async fn other_bytes_never_pass_for_a_blob_where_they_are_fetched(place: &Place) {
    if !place.hashes_what_it_fetches() {
        return;
    }
    for len in [1000, LARGE] {
        let content = content(len as u64, len);
        let store = place.open().await;
        let digest = put(&*store, &content).await;
        drop(store);
        place.forget_node_cache();
        let mut wrong = content.clone();
        wrong[len / 2] ^= 1;
        place.replace(&digest, wrong).await;
        let store = place.open().await;
        if let Some(blob) = store.open(&digest).await.unwrap() {
            let error = blob.read_all().await.map(|read| read.len()).unwrap_err();
            let is_damage = error.get_ref().and_then(|inner| inner.downcast_ref()).is_some_and(StorageError::is_damage);
            assert!(is_damage, "{error}");
        }
        assert_absent(&*store, &digest).await;
    }
}
