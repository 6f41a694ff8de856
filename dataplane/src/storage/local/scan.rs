//! Looking through a local store: which blobs there are, and putting damaged ones aside.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use roadstead_proto::{Algorithm, Digest};
use uuid::Uuid;

use crate::storage::StoredFile;

/// The folder, within the store, of damaged blobs that were put aside.
const QUARANTINE: &str = "quarantine";
/// Time for which corrupt blobs are kept for examination: a day.
const KEEP_DAMAGED: Duration = Duration::from_secs(24 * 3600);
/// Most damaged blobs that are kept.
const MAX_DAMAGED: usize = 100;

/// The next blobs after `after`, in the order of their digests, at most `limit`. Folders with a single level of two
/// hexadecimal digits keep the work of one page small. Files that are not named like a blob are skipped.
pub(crate) fn list(root: &Path, after: Option<&Digest>, limit: usize) -> io::Result<Vec<StoredFile>> {
    let mut found = Vec::new();
    for algorithm in [Algorithm::Sha256, Algorithm::Sha512] {
        if after.is_some_and(|after| after.algorithm() > algorithm) {
            continue;
        }
        let after = after.filter(|after| after.algorithm() == algorithm).map(Digest::hex);
        let folder = root.join(algorithm.name());
        for shelf in names(&folder)? {
            if after.as_ref().is_some_and(|after| after.get(..2).is_some_and(|first| shelf.as_str() < first)) {
                continue;
            }
            let folder = folder.join(&shelf);
            for name in names(&folder)? {
                if after.as_ref().is_some_and(|after| &name <= after) || !name.starts_with(&shelf) {
                    continue;
                }
                let Ok(digest) = format!("{}:{name}", algorithm.name()).parse::<Digest>() else { continue };
                match fs::metadata(folder.join(&name)) {
                    Ok(metadata) if metadata.is_file() => {
                        found.push(StoredFile { digest, size: metadata.len(), stored_at: metadata.modified()? });
                    }
                    Ok(_) => {}
                    // Deleted since the folder was read.
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    Err(error) => return Err(error),
                }
                if found.len() == limit {
                    return Ok(found);
                }
            }
        }
    }
    Ok(found)
}

/// The names in a folder, sorted; none if it is not there or no folder.
fn names(folder: &Path) -> io::Result<Vec<String>> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(Vec::new());
        }
        Err(error) => return Err(error),
    };
    let mut names = Vec::new();
    for entry in entries {
        // A name that is not UTF-8 is none of ours.
        if let Ok(name) = entry?.file_name().into_string() {
            names.push(name);
        }
    }
    names.sort_unstable();
    Ok(names)
}

/// Puts the file aside under a name that tells when and which. Blobs that were put aside a day ago, and the oldest of too
/// many, are deleted. A file that is not there is fine.
pub(crate) fn quarantine(root: &Path, file: &Path, digest: &Digest) -> io::Result<()> {
    let folder = root.join(QUARANTINE);
    crate::storage::local::create_folder(&folder)?;
    tidy(&folder)?;
    // A UUIDv7 begins with the time: names sort by age.
    let aside = folder.join(format!("{}-{}-{}", Uuid::now_v7(), digest.algorithm().name(), digest.hex()));
    match fs::rename(file, &aside) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        moved => {
            moved?;
            // Its age counts from now on, not from when it was stored. Where the disk does not even do that, it goes sooner.
            let dated =
                fs::File::options().append(true).open(&aside).and_then(|file| file.set_modified(SystemTime::now()));
            if let Err(error) = dated {
                tracing::warn!(path = %aside.display(), %error, "a quarantined blob keeps its old time");
            }
            Ok(())
        }
    }
}

/// Deletes what was put aside long ago, and leaves room for one more.
pub(crate) fn tidy_quarantine(root: &Path) -> io::Result<()> {
    tidy(&root.join(QUARANTINE))
}

fn tidy(folder: &Path) -> io::Result<()> {
    let files: Vec<PathBuf> = names(folder)?.iter().map(|name| folder.join(name)).collect();
    let surplus = (files.len() + 1).saturating_sub(MAX_DAMAGED);
    for (position, file) in files.iter().enumerate() {
        let age = fs::metadata(file)?.modified()?.elapsed().unwrap_or_default();
        if position < surplus || age >= KEEP_DAMAGED {
            fs::remove_file(file)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(root: &Path, digest: &Digest) -> PathBuf {
        let folder = root.join(digest.algorithm().name()).join(&digest.hex()[..2]);
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join(digest.hex()), b"content").unwrap();
        folder.join(digest.hex())
    }

    #[test]
    fn pages_of_any_size_bring_every_blob_once_and_in_order() {
        let root = tempfile::tempdir().unwrap();
        let mut all: Vec<Digest> = (0..700_u32)
            .map(|n| {
                let algorithm = if n % 5 == 0 { Algorithm::Sha512 } else { Algorithm::Sha256 };
                Digest::of(algorithm, &n.to_le_bytes())
            })
            .collect();
        all.iter().for_each(|digest| drop(put(root.path(), digest)));
        all.sort_unstable();
        // Not blobs: passed over.
        fs::write(root.path().join("sha256").join("notes"), b"").unwrap();
        fs::write(put(root.path(), &all[0]).with_file_name("abc"), b"").unwrap();
        for limit in [1, 7, 255, 1000] {
            let mut listed: Vec<Digest> = Vec::new();
            loop {
                let page = list(root.path(), listed.last(), limit).unwrap();
                assert!(page.len() <= limit && page.iter().all(|file| file.size == 7));
                if page.is_empty() {
                    break;
                }
                listed.extend(page.iter().map(|file| file.digest));
            }
            assert_eq!(listed, all);
        }
    }

    #[test]
    fn what_is_put_aside_is_kept_for_a_while_and_not_more_than_a_hundred() {
        let root = tempfile::tempdir().unwrap();
        let digest = |n: u32| Digest::of(Algorithm::Sha256, &n.to_le_bytes());
        quarantine(root.path(), &root.path().join("nowhere"), &digest(0)).unwrap();
        for n in 0..103 {
            let file = put(root.path(), &digest(n));
            quarantine(root.path(), &file, &digest(n)).unwrap();
            assert!(!file.exists());
        }
        assert!(list(root.path(), None, 10).unwrap().is_empty());
        let folder = root.path().join(QUARANTINE);
        let kept = names(&folder).unwrap();
        assert!(kept.len() == MAX_DAMAGED && kept[99].ends_with(&digest(102).hex()), "the newest are kept");
        for name in &kept[..98] {
            let file = fs::File::options().append(true).open(folder.join(name)).unwrap();
            file.set_modified(SystemTime::now() - KEEP_DAMAGED).unwrap();
        }
        tidy_quarantine(root.path()).unwrap();
        assert_eq!(names(&folder).unwrap(), kept[98..]);
    }
}
