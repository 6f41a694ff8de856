//! Jobs between those who wait for them and the nodes that do them, by way of the database.
//!
//! A job is stored, sealed, before it is offered to every node that watches, at whichever replica. The first node to claim
//! it does it, and reports until it has ended. The database alone records this; each replica keeps the last reading of it,
//! for those who wait or watch here, and reads again when the count of changes has moved: at once after a change made
//! here, and after the next look for changes made elsewhere. A job lives only as long as somebody waits: dropping the
//! [`JobHandle`] gives it up, and the node learns so from its next report.

mod handle;

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use secrecy::ExposeSecret as _;
use tokio::{sync::watch, time::sleep};
use tokio_util::sync::CancellationToken;
use tracing::warn;

pub use self::handle::JobHandle;
use crate::{
    auth::seal::Sealer,
    clock::Clock,
    jobs::{Job, JobError, Report, stored},
    store::{
        Store, StoreError, StoreResult,
        jobs::job::{self, JobRow},
    },
    usecases::{UseCaseError, UseCaseResult, new_id},
};

/// Time for which a job outlives the replica at which somebody waits for it, in milliseconds.
pub(crate) const KEEP_MS: i64 = 60 * 1000;
/// Pause after a reading that failed.
const RETRY_PAUSE: Duration = Duration::from_millis(250);
/// Most jobs at a time.
const MAX_JOBS: i64 = 256;

/// All jobs, by their ids, as they were read last.
type Jobs = Arc<HashMap<String, JobRow>>;

/// The place at which jobs are left and taken.
pub struct JobExchange {
    store: Store,
    clock: Clock,
    sealer: Arc<Sealer>,
    jobs: watch::Sender<Jobs>,
    /// The ids of those that no node has claimed. Apart from the others, so that reports wake no watcher.
    offered: watch::Sender<BTreeSet<String>>,
}

impl JobExchange {
    /// An exchange that has read nothing yet: see [`JobExchange::follow`].
    pub fn new(store: Store, clock: Clock, sealer: Arc<Sealer>) -> Self {
        Self { store, clock, sealer, jobs: watch::Sender::default(), offered: watch::Sender::default() }
    }

    /// Offers a job to all nodes.
    pub(crate) async fn post(&self, job: Job) -> UseCaseResult<JobHandle> {
        let id = new_id();
        let written = stored::write(&job).ok_or_else(|| unreadable(&id))?;
        let sealed = self.sealer.seal(&purpose(&id), written.expose_secret().as_bytes())?;
        // Made first: a call that is given up from here on leaves no job behind.
        let handle = JobHandle::new(&id, self.store.clone(), self.clock.clone(), self.jobs.subscribe());
        let now_ms = self.clock.now_ms();
        let mut tx = self.store.write().await?;
        job::prune(&mut tx, now_ms).await?;
        if job::count(&mut tx).await? >= MAX_JOBS {
            return Err(JobError::TooMany.into());
        }
        job::insert(&mut tx, &id, &sealed, now_ms.saturating_add(KEEP_MS)).await?;
        tx.jobs_changed().await?;
        tx.commit().await?;
        Ok(handle)
    }

    /// Gives a job to the first node that asks; `None` if another has it or nobody waits for it any more.
    pub async fn claim(&self, id: &str) -> UseCaseResult<Option<Job>> {
        let mut tx = self.store.write().await?;
        let Some(sealed) = job::claim(&mut tx, id, self.clock.now_ms()).await? else { return Ok(None) };
        tx.jobs_changed().await?;
        tx.commit().await?;
        let written = self.sealer.open_sealed(&purpose(id), &sealed)?;
        stored::read(written.expose_secret()).map(Some).ok_or_else(|| unreadable(id))
    }

    /// Takes a report. False if nobody waits for it any more, or it has ended.
    pub async fn report(&self, id: &str, report: &Report) -> UseCaseResult<bool> {
        let text = serde_json::to_string(report).map_err(|_| unreadable(id))?;
        let mut tx = if report.is_last() { self.store.write().await? } else { self.store.write_soon().await? };
        if !job::report(&mut tx, id, &text, report.is_last(), self.clock.now_ms()).await? {
            return Ok(false);
        }
        tx.jobs_changed().await?;
        tx.commit().await?;
        Ok(true)
    }

    /// For a new watcher: what nobody has claimed, now and whenever that changes.
    pub fn offers(&self) -> Offers {
        let mut offered = self.offered.subscribe();
        offered.mark_changed();
        Offers { offered, told: BTreeSet::new() }
    }

    /// Reads the jobs whenever they have changed, until `stop`.
    pub(crate) async fn follow(&self, stop: &CancellationToken) {
        let mut changes = self.store.job_changes();
        let mut failing = false;
        loop {
            // Marked before reading: what changes meanwhile wakes the next round.
            changes.borrow_and_update();
            let read = self.store.unless_lost(self.read()).await.and_then(|read| read);
            if let Err(error) = &read
                && !failing
            {
                warn!(%error, "cannot read the jobs of nodes; trying again");
            }
            failing = read.is_err();
            tokio::select! {
                () = stop.cancelled() => return,
                _ = changes.changed() => {}
                () = sleep(RETRY_PAUSE), if failing => {}
            }
        }
    }

    async fn read(&self) -> StoreResult<()> {
        let jobs = job::all(&mut *self.store.read().await?).await?;
        let offered = jobs.iter().filter(|job| job.is_offered).map(|job| job.id.clone()).collect();
        self.jobs.send_replace(Arc::new(jobs.into_iter().map(|job| (job.id.clone(), job)).collect()));
        self.offered.send_if_modified(|known| {
            let is_news = *known != offered;
            *known = offered;
            is_news
        });
        Ok(())
    }
}

/// The jobs offered to one watcher, each of them once.
pub struct Offers {
    offered: watch::Receiver<BTreeSet<String>>,
    told: BTreeSet<String>,
}

impl Offers {
    /// Waits for jobs that this watcher was not offered yet, and returns their ids.
    pub async fn next(&mut self) -> Vec<String> {
        loop {
            if self.offered.changed().await.is_err() {
                // The replica is being taken apart.
                return std::future::pending().await;
            }
            let offered = self.offered.borrow_and_update().clone();
            let fresh: Vec<_> = offered.difference(&self.told).cloned().collect();
            self.told = offered;
            if !fresh.is_empty() {
                return fresh;
            }
        }
    }
}

fn purpose(id: &str) -> String {
    format!("job {id}")
}

fn unreadable(id: &str) -> UseCaseError {
    UseCaseError::Store(StoreError::Corrupt { what: "job", value: id.to_owned() })
}
