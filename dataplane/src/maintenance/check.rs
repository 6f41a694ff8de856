//! A check that somebody asked for: whether what a group links is in the store, and with `deep` whether its bytes are right.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use futures_util::{StreamExt, TryStreamExt, stream};

use super::hashing::{Pace, damage_of};
use crate::{
    control::{Check, CheckProgress, ControlError, CorruptionKind, NodeClient, StoredContent},
    links::corruption_log::CorruptionLog,
    storage::{BlobStore, StorageError},
};

/// Contents that are looked up at a time.
const LOOKS: usize = 16;

/// The reason for which a check was not done.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// The store fails.
    #[error("the blob store cannot be read: {0}")]
    Storage(#[from] StorageError),
    /// The control plane cannot be asked.
    #[error("the control plane is unavailable: {0}")]
    Control(#[from] ControlError),
}

/// The dependencies of checks.
pub struct Checker {
    /// The control plane.
    pub client: Arc<NodeClient>,
    /// The store.
    pub store: Arc<dyn BlobStore>,
    /// The log of corruption.
    pub corruption: Arc<CorruptionLog>,
}

/// The progress of a check, shared with whoever reports it.
#[derive(Default)]
pub struct Checked {
    total: AtomicU64,
    checked: AtomicU64,
    read_bytes: AtomicU64,
}

impl Checked {
    /// As it is now.
    pub fn now(&self) -> CheckProgress {
        CheckProgress {
            total: self.total.load(Ordering::Relaxed),
            checked: self.checked.load(Ordering::Relaxed),
            read_bytes: self.read_bytes.load(Ordering::Relaxed),
        }
    }
}

impl Checker {
    /// Looks at all contents of the group. The corruption is reported before this returns.
    pub async fn check(&self, check: &Check, checked: &Checked) -> Result<(), CheckError> {
        let mut after = None;
        loop {
            let (contents, total) = self.client.group_contents(&check.group, after.as_ref()).await?;
            checked.total.store(total, Ordering::Relaxed);
            let Some(last) = contents.last().map(|content| content.digest) else { break };
            // Hashing is work for one; waiting for a far store is not.
            let at_once = if check.deep { 1 } else { LOOKS };
            stream::iter(contents)
                .map(|content| self.look(content, check.deep, checked))
                .buffer_unordered(at_once)
                .try_collect::<Vec<()>>()
                .await?;
            after = Some(last);
        }
        Ok(self.corruption.report().await?)
    }

    async fn look(&self, content: StoredContent, deep: bool, checked: &Checked) -> Result<(), StorageError> {
        let damage = if deep {
            let read = |bytes| {
                checked.read_bytes.fetch_add(bytes, Ordering::Relaxed);
            };
            damage_of(&*self.store, &content, &mut Pace::new(None), read).await?
        } else {
            match self.store.look(&content.digest).await? {
                None => Some((CorruptionKind::Missing, 0)),
                Some(file) if file.size != content.size_bytes => Some((CorruptionKind::Size, file.size)),
                Some(_) => None,
            }
        };
        match damage {
            Some((kind, found_bytes)) => self.corruption.notice(&content.digest, kind, found_bytes).await,
            None => self.corruption.is_whole(&content.digest),
        }
        checked.checked.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}
