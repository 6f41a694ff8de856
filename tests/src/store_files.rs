//! A local blob store as it lies on the disk, for tests that compare it with what the product says.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use crate::image;

/// The blobs of a store, by digest.
pub fn blobs(store: &Path) -> BTreeMap<String, PathBuf> {
    let mut found = BTreeMap::new();
    for algorithm in ["sha256", "sha512"] {
        for shelf in entries(&store.join(algorithm)) {
            for file in entries(&shelf) {
                found.insert(format!("{algorithm}:{}", file.file_name().unwrap().to_string_lossy()), file);
            }
        }
    }
    found
}

/// Bytes of all blobs. Files that disappear meanwhile do not count.
pub fn bytes(store: &Path) -> u64 {
    blobs(store).values().filter_map(|file| fs::metadata(file).ok()).map(|metadata| metadata.len()).sum()
}

/// Blobs whose bytes are not what their names say.
pub fn wrong(store: &Path) -> Vec<String> {
    let is_wrong = |(digest, file): &(String, PathBuf)| match fs::read(file) {
        Ok(content) if digest.starts_with("sha512:") => image::digest_sha512(&content) != *digest,
        Ok(content) => image::digest(&content) != *digest,
        Err(_) => false,
    };
    blobs(store).into_iter().filter(is_wrong).map(|(digest, _)| digest).collect()
}

/// The files in a folder; none if it is not there.
pub fn entries(folder: &Path) -> Vec<PathBuf> {
    fs::read_dir(folder).map(|entries| entries.map(|entry| entry.unwrap().path()).collect()).unwrap_or_default()
}
