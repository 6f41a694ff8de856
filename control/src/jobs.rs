//! Jobs: things that only a node can do (ask an upstream, fetch an image), which somebody here waits for.
//!
//! A job is offered to every node that watches; the first to claim it does it and reports until it has ended. It lives
//! only as long as somebody waits: dropping the [`JobHandle`] gives it up, and the node learns so from its next report.
//!
//! This is one replica's book of it. With a shared database, the plane's `job_exchange` writes jobs there, and keeps this
//! book for local waiters.

pub mod stored;

use roadstead_proto::RepositoryRef;

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use tokio::{
    sync::{broadcast, watch},
    time::timeout,
};

/// Longest wait of a job for a node to claim it.
const CLAIM_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest silence of a node: it reports every five seconds, and two such reports may be lost.
const REPORT_TIMEOUT: Duration = Duration::from_secs(15);
/// Offers that a watcher may be behind.
const OFFERS_AHEAD: usize = 64;
/// Most jobs at a time.
const MAX_WAITING: usize = 256;

/// The task.
#[derive(Clone, Debug)]
pub enum Job {
    /// Try credentials at an upstream.
    VerifyCredential {
        /// The upstream's host.
        upstream: String,
        /// User name.
        username: String,
        /// Password or token.
        password: SecretString,
    },
    /// Fetch an image into the cache.
    Prefetch {
        /// The group and repository.
        repository: RepositoryRef,
        /// Tag or digest.
        reference: String,
        /// Only these; empty means all.
        platforms: Vec<String>,
    },
    /// Look whether a group's content is in the store.
    Check {
        /// The group's id.
        group_id: String,
        /// Read and hash all bytes.
        deep: bool,
    },
}

/// The progress of a prefetch.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub struct Progress {
    /// Bytes of the image, so far as they are known.
    pub total_bytes: i64,
    /// Of those, here now.
    pub cached_bytes: i64,
    /// Of those, fetched by this job.
    pub fetched_bytes: i64,
    /// Manifests and blobs that are here now.
    pub objects: i64,
    /// The digest of the tag; empty until it is known.
    pub digest: String,
}

/// The progress of a check. Corruption that it found is reported before this counts it as checked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub struct CheckProgress {
    /// Contents to be checked.
    pub total: i64,
    /// Contents checked.
    pub checked: i64,
    /// Bytes read.
    pub read_bytes: i64,
}

/// The report of a node.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub enum Report {
    /// It goes on.
    Progress(Progress),
    /// An image is fetched.
    Done(Progress),
    /// A check goes on.
    Checking(CheckProgress),
    /// A check is through.
    Checked(CheckProgress),
    /// Credentials are good.
    CredentialGood,
    /// It failed.
    Failed(JobError),
}

impl Report {
    /// True if it is the last one.
    pub fn is_last(&self) -> bool {
        !matches!(self, Self::Progress(_) | Self::Checking(_))
    }
}

/// The reason for which a job failed.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, thiserror::Error)]
pub enum JobError {
    /// No node was connected that could do it.
    #[error("no node is connected that could do this; start one, or try again in a moment")]
    NoNode,
    /// A node took it on and fell silent.
    #[error("the node that took this on fell silent; try again")]
    Silent,
    /// Too many wait already.
    #[error("too many such requests are under way; try again in a moment")]
    TooMany,
    /// Upstream refuses.
    #[error("{0}")]
    Refused(String),
    /// Upstream cannot be asked, or the node could not do it.
    #[error("{0}")]
    Unavailable(String),
    /// The image does not exist.
    #[error("{0}")]
    NotFound(String),
    /// The pull limit does not allow it now.
    #[error("{0}")]
    Limit(String),
}

/// The state of a job. Only the last matters: whoever waits is told that.
#[derive(Clone, Debug)]
enum State {
    Offered,
    Claimed,
    Told(Report),
}

struct Posted {
    /// Taken by the node that claims it; `None` from the start where the database has it.
    job: Option<Job>,
    /// The number of reports in the database when the last one was delivered.
    told: i64,
    state: watch::Sender<State>,
}

type Book = Arc<Mutex<HashMap<String, Posted>>>;

/// All jobs that somebody waits for. Cheap to clone.
#[derive(Clone)]
pub struct Jobs {
    book: Book,
    offers: broadcast::Sender<String>,
    elsewhere: Arc<Mutex<Elsewhere>>,
}

/// The exchange of a job with the database.
#[derive(Default)]
struct Elsewhere {
    /// Jobs that no node has claimed.
    offered: BTreeSet<String>,
    /// A node has just claimed these, which a look that began before does not know.
    taken: BTreeSet<String>,
    /// Jobs that no caller waits for any more.
    given_up: Vec<String>,
}

impl Default for Jobs {
    fn default() -> Self {
        Self { book: Book::default(), offers: broadcast::Sender::new(OFFERS_AHEAD), elsewhere: Arc::default() }
    }
}

fn lock(elsewhere: &Mutex<Elsewhere>) -> MutexGuard<'_, Elsewhere> {
    elsewhere.lock().unwrap_or_else(PoisonError::into_inner)
}

fn open(book: &Book) -> MutexGuard<'_, HashMap<String, Posted>> {
    // Nobody panics while holding it, and what it holds is whole between any two statements.
    book.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Jobs {
    /// Offers a job to all nodes.
    pub fn post(&self, job: Job) -> Result<JobHandle, JobError> {
        if self.offers.receiver_count() == 0 {
            return Err(JobError::NoNode);
        }
        let waiting = self.enter(Some(job), None)?;
        // Fails only if the last watcher left this moment; then nobody claims it.
        let _ = self.offers.send(waiting.id.clone());
        Ok(waiting)
    }

    fn enter(&self, job: Option<Job>, elsewhere: Option<Arc<Mutex<Elsewhere>>>) -> Result<JobHandle, JobError> {
        let id = uuid::Uuid::now_v7().to_string();
        let (state, changes) = watch::channel(State::Offered);
        let mut book = open(&self.book);
        if book.len() >= MAX_WAITING {
            return Err(JobError::TooMany);
        }
        book.insert(id.clone(), Posted { job, told: 0, state });
        Ok(JobHandle { id, book: self.book.clone(), elsewhere, changes, claimed: false })
    }

    /// Waits for a job that the database will have.
    pub fn expect(&self) -> Result<JobHandle, JobError> {
        self.enter(None, Some(self.elsewhere.clone()))
    }

    /// True if somebody waits for it here.
    pub fn expects(&self, id: &str) -> bool {
        open(&self.book).contains_key(id)
    }

    /// Offers what the database has to the nodes that watch here.
    pub fn offer(&self, id: &str) {
        if lock(&self.elsewhere).offered.insert(id.to_owned()) {
            let _ = self.offers.send(id.to_owned());
        }
    }

    /// All that the database offers: what is new of it is offered here too.
    pub fn offered<'a>(&self, ids: impl Iterator<Item = &'a str>) {
        let ids: BTreeSet<String> = ids.map(ToOwned::to_owned).collect();
        let mut elsewhere = lock(&self.elsewhere);
        elsewhere.taken.retain(|id| ids.contains(id));
        let now: BTreeSet<String> = ids.difference(&elsewhere.taken).cloned().collect();
        for id in now.difference(&elsewhere.offered) {
            let _ = self.offers.send(id.clone());
        }
        elsewhere.offered = now;
    }

    /// Notes that a node has claimed what the database has.
    pub fn claimed(&self, id: &str) {
        let mut elsewhere = lock(&self.elsewhere);
        elsewhere.offered.remove(id);
        elsewhere.taken.insert(id.to_owned());
        drop(elsewhere);
        if let Some(posted) = open(&self.book).get(id) {
            posted.state.send_if_modified(|state| {
                let is_news = matches!(state, State::Offered);
                if is_news {
                    *state = State::Claimed;
                }
                is_news
            });
        }
    }

    /// Tells whoever waits here the report with that number, unless it was told already.
    pub fn told(&self, id: &str, told: i64, report: Report) {
        let mut book = open(&self.book);
        let Some(posted) = book.get_mut(id).filter(|posted| posted.told < told) else { return };
        posted.told = told;
        let ended = report.is_last();
        posted.state.send_replace(State::Told(report));
        if ended {
            book.remove(id);
        }
    }

    /// Takes the jobs that the database has and nobody here waits for any more.
    pub fn given_up(&self) -> Vec<String> {
        std::mem::take(&mut lock(&self.elsewhere).given_up)
    }

    /// For a new watcher: what nobody has claimed yet, and every offer from now on.
    pub fn offers(&self) -> (Vec<String>, broadcast::Receiver<String>) {
        let offers = self.offers.subscribe();
        let elsewhere: Vec<_> = lock(&self.elsewhere).offered.iter().cloned().collect();
        let book = open(&self.book);
        let unclaimed = book.iter().filter(|(_, posted)| posted.job.is_some()).map(|(id, _)| id.clone());
        (unclaimed.chain(elsewhere).collect(), offers)
    }

    /// Gives a job to the first who asks; `None` if another has it or nobody waits for it any more.
    pub fn claim(&self, id: &str) -> Option<Job> {
        let mut book = open(&self.book);
        let posted = book.get_mut(id)?;
        let job = posted.job.take()?;
        posted.state.send_replace(State::Claimed);
        Some(job)
    }

    /// Takes a report. False if nobody waits for it any more, or it has ended.
    pub fn report(&self, id: &str, report: Report) -> bool {
        let mut book = open(&self.book);
        let Some(posted) = book.get(id).filter(|posted| posted.job.is_none()) else { return false };
        let ended = report.is_last();
        posted.state.send_replace(State::Told(report));
        if ended {
            book.remove(id);
        }
        true
    }
}

/// Waits for a job. Dropping it gives the job up.
pub struct JobHandle {
    id: String,
    book: Book,
    /// To be told where the database has the job.
    elsewhere: Option<Arc<Mutex<Elsewhere>>>,
    changes: watch::Receiver<State>,
    claimed: bool,
}

impl JobHandle {
    /// The job's id.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Returns the node's next report; of several, the last.
    pub async fn next(&mut self) -> Result<Report, JobError> {
        loop {
            let (patience, silent) =
                if self.claimed { (REPORT_TIMEOUT, JobError::Silent) } else { (CLAIM_TIMEOUT, JobError::NoNode) };
            match timeout(patience, self.changes.changed()).await {
                Err(_) => return Err(silent),
                // The book lets go of a job only after its last report, which was then read already.
                Ok(Err(_)) => return Err(JobError::Silent),
                Ok(Ok(())) => {}
            }
            let state = self.changes.borrow_and_update().clone();
            self.claimed = true;
            if let State::Told(report) = state {
                return Ok(report);
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
}

impl Drop for JobHandle {
    fn drop(&mut self) {
        open(&self.book).remove(&self.id);
        if let Some(elsewhere) = &self.elsewhere {
            lock(elsewhere).given_up.push(std::mem::take(&mut self.id));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job() -> Job {
        Job::VerifyCredential { upstream: "a.io".into(), username: "me".into(), password: "secret".into() }
    }

    fn progress(fetched_bytes: i64) -> Progress {
        Progress { fetched_bytes, ..Progress::default() }
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_node_nobody_waits_and_with_idle_ones_five_seconds() {
        let jobs = Jobs::default();
        assert_eq!(jobs.post(job()).err(), Some(JobError::NoNode));
        let (_, _offers) = jobs.offers();
        let started = tokio::time::Instant::now();
        let waiting = jobs.post(job()).unwrap();
        assert_eq!(waiting.end().await, Err(JobError::NoNode));
        assert_eq!(started.elapsed(), CLAIM_TIMEOUT);
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_claims_and_the_last_report_ends_it() {
        let jobs = Jobs::default();
        let (_, mut offers) = jobs.offers();
        let mut waiting = jobs.post(job()).unwrap();
        let id = offers.recv().await.unwrap();
        assert_eq!(jobs.offers().0, std::slice::from_ref(&id), "who comes later is offered it too");
        assert!(!jobs.report(&id, Report::CredentialGood), "nobody claimed it");
        assert!(jobs.claim(&id).is_some());
        assert!(jobs.claim(&id).is_none() && jobs.offers().0.is_empty());
        assert!(jobs.report(&id, Report::Progress(progress(1))));
        assert!(jobs.report(&id, Report::Progress(progress(2))));
        assert_eq!(waiting.next().await, Ok(Report::Progress(progress(2))), "the last counts");
        assert!(jobs.report(&id, Report::Done(progress(3))));
        assert!(!jobs.report(&id, Report::Progress(progress(4))));
        assert_eq!(waiting.next().await, Ok(Report::Done(progress(3))));
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_node_is_not_waited_for_and_reports_keep_it_alive() {
        let jobs = Jobs::default();
        let (_, mut offers) = jobs.offers();
        let mut waiting = jobs.post(job()).unwrap();
        let id = offers.recv().await.unwrap();
        jobs.claim(&id).unwrap();
        for _ in 0..3 {
            tokio::time::advance(Duration::from_secs(14)).await;
            assert!(jobs.report(&id, Report::Progress(progress(1))));
            assert!(waiting.next().await.is_ok());
        }
        assert_eq!(waiting.end().await, Err(JobError::Silent));
        assert!(!jobs.report(&id, Report::CredentialGood), "it was given up");
    }

    #[tokio::test(start_paused = true)]
    async fn who_leaves_gives_the_job_up() {
        let jobs = Jobs::default();
        let (_, mut offers) = jobs.offers();
        let waiting = jobs.post(job()).unwrap();
        let id = offers.recv().await.unwrap();
        jobs.claim(&id).unwrap();
        drop(waiting);
        assert!(!jobs.report(&id, Report::Progress(progress(1))));
        assert!(open(&jobs.book).is_empty());
    }

    #[tokio::test]
    async fn a_job_shows_no_password() {
        assert!(!format!("{:?}", job()).contains("secret"));
    }
}
