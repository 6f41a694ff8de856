//! The wait for a job.

use std::time::Duration;

use tokio::{
    runtime::Handle,
    sync::watch,
    time::{Instant, sleep_until, timeout_at},
};
use tracing::debug;

use super::{Jobs, KEEP_MS};
use crate::{
    clock::Clock,
    jobs::{JobError, Report},
    store::{Store, StoreResult, jobs::job},
};

/// Longest wait of a job for a node to claim it.
const CLAIM_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest silence of a node: it reports every five seconds, and two such reports may be lost.
const REPORT_TIMEOUT: Duration = Duration::from_secs(15);
/// Interval at which the database is told that somebody still waits: two such notes may fail.
const KEEP_EVERY: Duration = Duration::from_secs(KEEP_MS as u64 / 3000);

/// Waits for a job. Dropping it gives the job up.
pub struct JobHandle {
    store: Store,
    clock: Clock,
    wait: Wait,
    keep_at: Instant,
}

impl JobHandle {
    pub(super) fn new(id: &str, store: Store, clock: Clock, jobs: watch::Receiver<Jobs>) -> Self {
        Self { store, clock, wait: Wait::new(id, jobs), keep_at: Instant::now() + KEEP_EVERY }
    }

    /// Returns the node's next report; of several, the last.
    pub async fn next(&mut self) -> Result<Report, JobError> {
        loop {
            tokio::select! {
                told = self.wait.next() => return told,
                () = sleep_until(self.keep_at) => {}
            }
            self.keep_at = Instant::now() + KEEP_EVERY;
            if let Err(error) = self.keep().await {
                debug!(%error, job.id = self.wait.id, "cannot note that a job is still waited for; trying again");
            }
        }
    }

    /// Waits for the last report.
    pub async fn end(mut self) -> Result<(), JobError> {
        loop {
            match self.next().await? {
                Report::Progress(_) | Report::Checking(_) => {}
                Report::Done(_) | Report::Checked(_) | Report::CredentialGood => return Ok(()),
                Report::Failed(error) => return Err(error),
            }
        }
    }

    async fn keep(&self) -> StoreResult<()> {
        let mut tx = self.store.write_soon().await?;
        job::keep(&mut tx, &self.wait.id, self.clock.now_ms().saturating_add(KEEP_MS)).await?;
        tx.commit().await
    }
}

impl Drop for JobHandle {
    fn drop(&mut self) {
        // Without a runtime the process is ending, and the job with it once nobody keeps it.
        let Ok(runtime) = Handle::try_current() else { return };
        let (store, id) = (self.store.clone(), std::mem::take(&mut self.wait.id));
        runtime.spawn(async move {
            if let Err(error) = give_up(&store, &id).await {
                debug!(%error, job.id = id, "cannot give a job up; it ends when nobody has kept it");
            }
        });
    }
}

async fn give_up(store: &Store, id: &str) -> StoreResult<()> {
    let mut tx = store.write_soon().await?;
    if job::delete(&mut tx, id).await? {
        tx.jobs_changed().await?;
    }
    tx.commit().await
}

/// The wait itself, over what is read of the database.
struct Wait {
    id: String,
    jobs: watch::Receiver<Jobs>,
    /// The number of reports that were returned.
    reports: i64,
    is_claimed: bool,
    /// It has been read at least once.
    is_known: bool,
    /// When a node last did something for it.
    heard_at: Instant,
}

impl Wait {
    fn new(id: &str, jobs: watch::Receiver<Jobs>) -> Self {
        let heard_at = Instant::now();
        Self { id: id.to_owned(), jobs, reports: 0, is_claimed: false, is_known: false, heard_at }
    }

    async fn next(&mut self) -> Result<Report, JobError> {
        loop {
            if let Some(told) = self.look() {
                return told;
            }
            let (patience, silent) =
                if self.is_claimed { (REPORT_TIMEOUT, JobError::Silent) } else { (CLAIM_TIMEOUT, JobError::NoNode) };
            match timeout_at(self.heard_at + patience, self.jobs.changed()).await {
                Err(_) => return Err(silent),
                Ok(Err(_)) => return Err(JobError::Silent),
                Ok(Ok(())) => {}
            }
        }
    }

    fn look(&mut self) -> Option<Result<Report, JobError>> {
        let jobs = self.jobs.borrow_and_update().clone();
        let Some(job) = jobs.get(&self.id) else {
            // Nobody but the one who waits deletes it, unless it was not kept in time.
            return self.is_known.then_some(Err(JobError::Silent));
        };
        self.is_known = true;
        if !job.is_offered && !self.is_claimed {
            (self.is_claimed, self.heard_at) = (true, Instant::now());
        }
        if job.reports <= self.reports {
            return None;
        }
        (self.reports, self.heard_at) = (job.reports, Instant::now());
        let unknown =
            |_| JobError::Unavailable("the node's report is of another version; upgrade all parts".to_owned());
        Some(serde_json::from_str(&job.report).map_err(unknown))
    }
}

#[cfg(test)]
mod tests;
