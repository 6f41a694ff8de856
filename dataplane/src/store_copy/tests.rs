use std::{fs, path::Path, sync::Mutex};

use roadstead_proto::Algorithm;

use super::*;

async fn fill(root: &Path, contents: &[&[u8]]) -> Vec<Digest> {
    let store = LocalStore::open(root).unwrap();
    let mut digests = Vec::new();
    for content in contents {
        let digest = Digest::of(Algorithm::Sha256, content);
        let staged = store.stage(Some(content.len() as u64)).await.unwrap();
        staged.write_at(content, 0).unwrap();
        store.commit(&staged, &digest, content.len() as u64).await.unwrap();
        digests.push(digest);
    }
    digests
}

fn file(root: &Path, digest: &Digest) -> PathBuf {
    root.join("sha256").join(&digest.hex()[..2]).join(digest.hex())
}

async fn run(from: &Path, to: &Path) -> (CopyProgress, Vec<(Digest, String)>) {
    let copy = StoreCopy {
        from: StorageUrl::Local(from.to_owned()),
        to: StorageUrl::Local(to.to_owned()),
        staging: to.join("unused"),
        jobs: 3,
    };
    let (progress, told) = (CopyProgress::default(), Mutex::new(Vec::new()));
    copy.run(&progress, &|digest, why| told.lock().unwrap().push((*digest, why.to_owned()))).await.unwrap();
    (progress, told.into_inner().unwrap())
}

#[tokio::test]
async fn everything_is_copied_once_and_a_second_run_goes_on_where_the_first_was() {
    let folder = tempfile::tempdir().unwrap();
    let (from, to) = (folder.path().join("from"), folder.path().join("to"));
    let large = vec![7; PIECE_BYTES + 17];
    let digests = fill(&from, &[b"", b"one", b"two", &large]).await;
    // A node goes on using the source.
    let _in_use = LocalStore::open(&from).unwrap();
    let (progress, told) = run(&from, &to).await;
    assert_eq!((progress.total.get().0, progress.copied.get().0, told.len()), (4, 4, 0));
    assert_eq!(progress.total.get(), progress.copied.get());
    for digest in &digests {
        assert_eq!(fs::read(file(&from, digest)).unwrap(), fs::read(file(&to, digest)).unwrap());
    }
    // What broke off is made good, the rest is left alone.
    fs::remove_file(file(&to, &digests[1])).unwrap();
    fs::write(file(&to, &digests[2]), "t").unwrap();
    let (progress, _) = run(&from, &to).await;
    assert_eq!((progress.copied.get().0, progress.skipped.get().0), (2, 2));
    assert_eq!(fs::read(file(&to, &digests[2])).unwrap(), b"two");
}

#[tokio::test]
async fn damaged_blobs_are_named_and_left_out() {
    let folder = tempfile::tempdir().unwrap();
    let (from, to) = (folder.path().join("from"), folder.path().join("to"));
    let digests = fill(&from, &[b"one", b"two"]).await;
    fs::write(file(&from, &digests[0]), "eno").unwrap();
    let (progress, told) = run(&from, &to).await;
    assert_eq!((progress.copied.get().0, progress.damaged.get().0), (1, 1));
    assert!(told.len() == 1 && told[0].0 == digests[0] && told[0].1.contains("hash"), "{told:?}");
    assert!(!file(&to, &digests[0]).exists() && file(&to, &digests[1]).exists());
    assert_eq!(fs::read_dir(to.join("staging")).unwrap().count(), 0);
}
