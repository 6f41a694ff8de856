//! Does what the control plane wants some node to do: tries credentials, fetches images ahead of pulls, checks what is stored.
//!
//! A job that nobody waits for any more is given up; one that this node stops in the middle of is reported as failed, so
//! that whoever waits hears of it.

use std::{sync::Arc, time::Duration};

use roadstead_proto::UpstreamHost;
use tokio::{
    sync::Semaphore,
    time::{MissedTickBehavior, interval, sleep},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{debug, info, warn};

use crate::{
    control::{Check, Credential, Job, JobFailure, JobReport, NodeClient, Offers, Policy, Prefetch},
    maintenance::check::{Checked, Checker},
    pull::{Prefetcher, Reached},
    upstream::{UpstreamClient, UpstreamError},
};

/// Most prefetches at a time on one node; each fetches a few blobs at once.
const MAX_PREFETCHES: usize = 4;
/// Time for which a busy node leaves an offer to others.
const POLITE_PAUSE: Duration = Duration::from_millis(500);
/// Interval of progress reports; the control plane gives up jobs that it has not heard of for some seconds.
const REPORT_EVERY: Duration = Duration::from_secs(1);
/// Interval at which the last report of a job is repeated if it cannot be delivered.
const LAST_WORDS: u32 = 5;

/// The source of jobs, and the receiver of their reports.
pub struct JobBoard {
    /// Offers of jobs.
    pub offers: Arc<Offers>,
    /// Claims and reports them.
    pub client: Arc<NodeClient>,
    /// The upstreams there are.
    pub policy: Arc<Policy>,
}

/// The dependencies of jobs.
pub struct Jobs {
    board: JobBoard,
    prefetcher: Prefetcher,
    upstream: Arc<UpstreamClient>,
    checker: Checker,
    turns: Semaphore,
    stop: CancellationToken,
}

impl Jobs {
    /// Does jobs until `stop`.
    pub fn new(
        board: JobBoard,
        prefetcher: Prefetcher,
        upstream: Arc<UpstreamClient>,
        checker: Checker,
        stop: CancellationToken,
    ) -> Arc<Self> {
        Arc::new(Self { board, prefetcher, upstream, checker, turns: Semaphore::new(MAX_PREFETCHES), stop })
    }

    /// Takes on what is offered until the stop; returns when every job has had its last word.
    pub async fn run(self: Arc<Self>) {
        let under_way = TaskTracker::new();
        while let Some(id) = self.stop.run_until_cancelled(self.board.offers.next()).await {
            let jobs = Arc::clone(&self);
            under_way.spawn(async move { jobs.take_on(&id).await });
        }
        under_way.close();
        under_way.wait().await;
    }

    async fn take_on(&self, id: &str) {
        if self.turns.available_permits() == 0 {
            sleep(POLITE_PAUSE).await;
        }
        let job = match self.board.client.claim_job(id).await {
            Ok(Some(job)) => job,
            Ok(None) => return debug!(job.id = id, "somebody else has the job"),
            Err(error) => return warn!(job.id = id, %error, "a job could not be claimed"),
        };
        let stopped = || JobReport::Failed(JobFailure::Unavailable, "the node is stopping; try again".to_owned());
        let done = match &job {
            Job::VerifyCredential { upstream, credential } => {
                self.stop.run_until_cancelled(self.verify(upstream, credential)).await.unwrap_or_else(stopped)
            }
            Job::Prefetch(prefetch) => {
                let work = self.prefetch(id, prefetch);
                match self.stop.run_until_cancelled(work).await.unwrap_or_else(|| Some(stopped())) {
                    Some(done) => done,
                    None => return nobody_waits(id),
                }
            }
            Job::Check(check) => {
                let work = self.check(id, check);
                match self.stop.run_until_cancelled(work).await.unwrap_or_else(|| Some(stopped())) {
                    Some(done) => done,
                    None => return nobody_waits(id),
                }
            }
        };
        self.last_word(id, &done).await;
    }

    async fn verify(&self, upstream: &UpstreamHost, credential: &Arc<Credential>) -> JobReport {
        let Some(policy) = self.board.policy.current().upstream(upstream).cloned() else {
            return JobReport::Failed(JobFailure::NotFound, format!("there is no upstream {upstream}"));
        };
        let error = match self.upstream.verify_credential(&policy, Arc::clone(credential)).await {
            Ok(()) => return JobReport::CredentialGood,
            Err(error) => error,
        };
        let reason = match &error {
            error if error.is_refusal() => JobFailure::Refused,
            UpstreamError::RateLimited { .. } => JobFailure::Limit,
            _ => JobFailure::Unavailable,
        };
        JobReport::Failed(reason, error.to_string())
    }

    /// `None` if nobody waits for it any more.
    async fn prefetch(&self, id: &str, prefetch: &Prefetch) -> Option<JobReport> {
        let reached = Reached::default();
        let work = async {
            // Never closed.
            let _turn = self.turns.acquire().await;
            self.prefetcher.prefetch(prefetch, &reached).await
        };
        let progress = || JobReport::Progress(reached.now());
        let done = self.while_telling(id, work, progress).await?;
        let reached = reached.now();
        Some(match done {
            Ok(()) => {
                info!(at = %prefetch.repository, reference = %prefetch.reference, size_bytes = reached.total_bytes, fetched_bytes = reached.fetched_bytes, "image prefetched");
                JobReport::Done(reached)
            }
            Err(failed) => {
                warn!(at = %prefetch.repository, reference = %prefetch.reference, error = failed.message, "an image could not be prefetched");
                JobReport::Failed(failed.reason, failed.message)
            }
        })
    }

    /// `None` if nobody waits for it any more.
    async fn check(&self, id: &str, check: &Check) -> Option<JobReport> {
        let checked = Checked::default();
        let progress = || JobReport::Checking(checked.now());
        Some(match self.while_telling(id, self.checker.check(check, &checked), progress).await? {
            Ok(()) => JobReport::Checked(checked.now()),
            Err(error) => {
                warn!(group.id = %check.group, %error, "a group's content could not be checked");
                JobReport::Failed(JobFailure::Unavailable, error.to_string())
            }
        })
    }

    /// Does `work`, and tells how far it is now and then; `None` if nobody waits for it any more.
    async fn while_telling<T>(
        &self,
        id: &str,
        work: impl Future<Output = T>,
        progress: impl Fn() -> JobReport,
    ) -> Option<T> {
        let telling = async {
            let mut ticks = interval(REPORT_EVERY);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                ticks.tick().await;
                let told = progress();
                // Corruption to what counts as checked is known before that is told.
                if let Err(error) = self.checker.corruption.report().await {
                    debug!(job.id = id, %error, "damage cannot be reported now");
                }
                match self.board.client.report_job(id, &told).await {
                    Ok(true) => {}
                    Ok(false) => return,
                    Err(error) => debug!(job.id = id, %error, "progress could not be told"),
                }
            }
        };
        tokio::select! {
            done = work => Some(done),
            () = telling => None,
        }
    }

    async fn last_word(&self, id: &str, report: &JobReport) {
        for attempt in 1..=LAST_WORDS {
            match self.board.client.report_job(id, report).await {
                Ok(_) => return,
                // A stop does not wait for a control plane that is away.
                Err(error) if error.retryable() && attempt < LAST_WORDS && !self.stop.is_cancelled() => {
                    sleep(REPORT_EVERY).await;
                }
                Err(error) => return warn!(job.id = id, %error, "what came of a job could not be told"),
            }
        }
    }
}

fn nobody_waits(id: &str) {
    info!(job.id = id, "nobody waits for the job any more; given up");
}
