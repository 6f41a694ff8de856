//! The key that seals the secrets in the database: made at the first start, and replaced only on demand.

use std::{io::ErrorKind, path::Path};

use crate::{
    auth::{
        key_ring::KeyRing,
        seal::{SealError, Sealer, SecretKey},
    },
    store::{Store, cluster::fact, identity::key},
    usecases::UseCaseResult,
};

/// Stands for the fingerprint in a database that has none.
const UNKNOWN: &str = "not recorded";

/// Reads the key, and makes one in `data_dir_file` if the database has nothing sealed yet and no other key is given. Fails
/// if it is another than the one that the database is sealed with.
pub async fn open(store: &Store, source: &SecretKey, data_dir_file: &Path) -> UseCaseResult<Sealer> {
    // In one writing transaction: of several replicas that start at once, one makes or brings the key.
    let mut tx = store.write().await?;
    let sealed = key::all(&mut tx).await?;
    let wanted = match fact::get(&mut tx, fact::SECRET_KEY).await? {
        None if !sealed.is_empty() => Some(UNKNOWN.to_owned()),
        known => known,
    };
    let sealer = match (source.read(data_dir_file), &wanted, source) {
        (Err(error), None, SecretKey::DataDir) if error.is_missing() => Sealer::open(data_dir_file)?,
        (Err(SealError::File { path, source }), Some(wanted), _) if source.kind() == ErrorKind::NotFound => {
            return Err(SealError::Missing { path, fingerprint: wanted.clone() }.into());
        }
        (read, ..) => read?,
    };
    match wanted {
        Some(wanted) if sealer.has(&wanted) => return Ok(sealer),
        Some(wanted) if wanted != UNKNOWN => {
            let (origin, given) = (source.origin(data_dir_file), sealer.fingerprint());
            return Err(SealError::Another { origin, given, wanted }.into());
        }
        // It opens what there is, or nothing is sealed yet.
        _ => KeyRing::default().replace(&sealer, &sealed)?,
    }
    fact::put(&mut tx, fact::SECRET_KEY, &sealer.fingerprint()).await?;
    tx.commit().await?;
    Ok(sealer)
}
