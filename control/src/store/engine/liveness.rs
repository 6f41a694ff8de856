//! The liveness of the database, and the changes of other processes: both are read at once, on a connection of their own.
//!
//! A server that is cut off says nothing, not even no. So that no call waits for it beyond the time that was set,
//! whoever looks decides for all: while the last look failed, calls under way are given up and new ones refused at
//! once.

use tokio::time::timeout;
use tracing::{info, warn};

use crate::store::{
    Store, StoreError, StoreResult, announce,
    changes::{self, Revision, Standing},
};

/// The result of a look at the database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    /// Nothing changed.
    Same,
    /// Others changed something; it has been announced.
    News,
    /// The database does not know this revision, which was read from it before: it was put back to an earlier state.
    OtherTimeline(Revision),
}

impl Store {
    /// Announces revisions committed by others, or whose announcement was lost with a cancelled call.
    pub async fn refresh_revision(&self) -> StoreResult<Seen> {
        // Known before the look begins, so that the look finds it, or the database is not what it was.
        let known = self.news.borrow().revision.clone();
        let look = async {
            let mut tx = self.begin_read(&self.watcher).await?;
            let current = changes::current_revision(&mut tx).await?;
            let standing = match current == known {
                true => Standing::Continues,
                false => changes::standing(&mut tx, &known).await?,
            };
            Ok((current, standing))
        };
        let seen = timeout(self.timeout, look).await.unwrap_or(Err(StoreError::Silent));
        self.note_presence(seen.as_ref().err());
        let (current, standing) = seen?;
        Ok(match standing {
            Standing::Foreign => Seen::OtherTimeline(known),
            _ if current == known => Seen::Same,
            _ => {
                announce(&self.news, current);
                Seen::News
            }
        })
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
