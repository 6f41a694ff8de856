//! The liveness of the database, the changes of other replicas, and the time: all are read at once, by one statement on a
//! connection of its own.
//!
//! A server that is cut off says nothing, not even no. So that no call waits for it beyond the time that was set,
//! whoever looks decides for all: while the last look failed, calls under way are given up and new ones refused at
//! once.

use std::{
    sync::PoisonError,
    time::{Duration, Instant},
};

use sqlx::Row as _;
use tokio::time::timeout;
use tracing::{info, warn};

use super::{postgres, settings::Engine};
use crate::store::{
    Known, Store, StoreError, StoreResult, announce,
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

/// The findings of one look at the database.
struct Look {
    began: Instant,
    revision: Revision,
    jobs: i64,
    /// The relation of the known revision to the change log.
    standing: Standing,
}

impl Known {
    /// Has whoever follows jobs read them again, if the count is another than before.
    pub(in crate::store) fn announce_jobs(&self, jobs: i64) {
        self.jobs.send_if_modified(|known| std::mem::replace(known, jobs) != jobs);
    }
}

impl Store {
    /// Announces what others committed, or whose announcement was lost with a cancelled call, and follows the server's
    /// clock.
    pub async fn refresh_revision(&self) -> StoreResult<Seen> {
        // Known before the look begins, so that the look finds it, or the database is not what it was.
        let known = self.known.news.borrow().revision.clone();
        let look = async {
            match self.look(&known).await {
                // The connection may be the only thing that is lost.
                Err(StoreError::Database(error)) if postgres::is_lost(&error) => self.look(&known).await,
                looked => looked,
            }
        };
        let seen = timeout(self.timeout, look).await.unwrap_or(Err(StoreError::Silent));
        self.note_liveness(seen.as_ref().err());
        let seen = seen?;
        self.known.announce_jobs(seen.jobs);
        if seen.standing == Standing::Foreign {
            return Ok(Seen::OtherTimeline(known));
        }
        let is_news = seen.revision != known;
        if is_news {
            announce(&self.known.news, seen.revision);
        }
        *self.known.looked_at.lock().unwrap_or_else(PoisonError::into_inner) = Some(seen.began);
        Ok(if is_news { Seen::News } else { Seen::Same })
    }

    async fn look(&self, known: &Revision) -> StoreResult<Look> {
        let mut connection = self.watcher.acquire().await?;
        let began = Instant::now();
        let statement = match self.engine {
            Engine::Sqlite => "SELECT revision, mark, jobs FROM revision_counter WHERE id = 1",
            Engine::Postgres => {
                "SELECT revision, mark, jobs, CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000 AS BIGINT) AS now
                 FROM revision_counter WHERE id = 1"
            }
        };
        let row = sqlx::query(statement).fetch_one(&mut *connection).await?;
        if self.engine == Engine::Postgres {
            self.clock.follow(row.try_get("now")?, began, Instant::now());
        }
        drop(connection);
        let revision = Revision { number: row.try_get("revision")?, mark: row.try_get("mark")? };
        let standing = match revision == *known {
            true => Standing::Continues,
            false => changes::standing(&mut *self.begin_read(&self.watcher).await?, known).await?,
        };
        Ok(Look { began, revision, jobs: row.try_get("jobs")?, standing })
    }

    /// True if everything that was committed so long ago has been announced here.
    pub fn has_looked_within(&self, span: Duration) -> bool {
        let looked_at = *self.known.looked_at.lock().unwrap_or_else(PoisonError::into_inner);
        looked_at.is_some_and(|at| at.elapsed() <= span)
    }

    fn note_liveness(&self, problem: Option<&StoreError>) {
        // A file is always there: an error concerns the call that has it.
        if self.engine == Engine::Sqlite {
            return;
        }
        let lost = problem.is_some_and(StoreError::retryable);
        let changed = self.known.lost.send_if_modified(|known| std::mem::replace(known, lost) != lost);
        match problem {
            Some(error) if changed => warn!(%error, "the database is gone; calls are refused until it is back"),
            None if changed => info!("the database is back"),
            _ => {}
        }
    }

    /// True if the last look found the database.
    pub(crate) fn must_be_there(&self) -> StoreResult<()> {
        if *self.known.lost.borrow() { Err(StoreError::Silent) } else { Ok(()) }
    }

    /// Returns the result of the work, unless the database is lost meanwhile: then it gives the work up.
    pub async fn unless_lost<T>(&self, work: impl Future<Output = T>) -> StoreResult<T> {
        // What begins while it is lost fails by itself, and fast, if it needs the database: only a new loss cuts it
        // short.
        let mut lost = self.known.lost.subscribe();
        let loss = async { while lost.changed().await.is_ok() && !*lost.borrow_and_update() {} };
        tokio::select! {
            done = work => Ok(done),
            () = loss => Err(StoreError::Silent),
        }
    }
}
