//! The liveness of the database, and the changes of other processes: both are read at once, on a connection of their own.
//!
//! A server that is cut off says nothing, not even no. So that no call waits for it beyond the time that was set,
//! whoever looks decides for all: while the last look failed, calls under way are given up and new ones refused at
//! once.

use tokio::time::timeout;
use tracing::{info, warn};

use crate::store::{Store, StoreError, StoreResult, announce, changes};

impl Store {
    /// Announces revisions committed by others, or whose announcement was lost with a cancelled call. Answers whether
    /// there were any.
    pub async fn refresh_revision(&self) -> StoreResult<bool> {
        let look = async {
            let mut tx = self.begin_read(&self.watcher).await?;
            changes::current_revision(&mut tx).await
        };
        let seen = timeout(self.timeout, look).await.unwrap_or(Err(StoreError::Silent));
        self.note_presence(seen.as_ref().err());
        Ok(announce(&self.revision, seen?))
    }

    fn note_presence(&self, problem: Option<&StoreError>) {
        if !self.is_shared() {
            return;
        }
        let lost = problem.is_some_and(StoreError::retryable);
        let changed = self.lost.send_if_modified(|known| std::mem::replace(known, lost) != lost);
        match problem {
            Some(error) if changed => warn!(%error, "the database is gone; calls are refused until it is back"),
            None if changed => info!("the database is back"),
            _ => {}
        }
    }

    /// True if the last look found the database.
    pub(crate) fn must_be_there(&self) -> StoreResult<()> {
        if *self.lost.borrow() { Err(StoreError::Silent) } else { Ok(()) }
    }

    /// Returns the result of the work, unless the database is lost meanwhile: then it gives the work up.
    pub async fn unless_lost<T>(&self, work: impl Future<Output = T>) -> StoreResult<T> {
        if !self.is_shared() {
            return Ok(work.await);
        }
        // What begins while it is lost fails by itself, and fast, if it needs the database: only a new loss cuts it
        // short.
        let mut lost = self.lost.subscribe();
        let loss = async { while lost.changed().await.is_ok() && !*lost.borrow_and_update() {} };
        tokio::select! {
            done = work => Ok(done),
            () = loss => Err(StoreError::Silent),
        }
    }
}
