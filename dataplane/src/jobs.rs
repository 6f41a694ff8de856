//! Does what the control plane wants some node to do: tries credentials, fetches images ahead of pulls, checks what is stored.
//!
//! An errand that nobody waits for any more is given up; one that this node stops in the middle of is reported as failed, so
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
    control::{Check, ControlClient, Credential, Errand, ErrandFailure, ErrandReport, Prefetch},
    maintenance::check::{Checked, Checker},
    pull::{Prefetcher, Reached},
    upstream::{UpstreamClient, UpstreamError},
};

/// Most prefetches at a time on one node; each fetches a few blobs at once.
const MAX_PREFETCHES: usize = 4;
/// How long a node that has enough to do leaves an offer to others.
const POLITE_PAUSE: Duration = Duration::from_millis(500);
/// How often progress is told; the control plane gives up errands that it has not heard of for some seconds.
const REPORT_EVERY: Duration = Duration::from_secs(1);
/// How often the last word of an errand is repeated if it cannot be delivered.
const LAST_WORDS: u32 = 5;

/// What errands are done with.
pub struct Errands {
    control: Arc<ControlClient>,
    prefetcher: Prefetcher,
    upstream: Arc<UpstreamClient>,
    checker: Checker,
    turns: Semaphore,
    stop: CancellationToken,
}

impl Errands {
    /// Does errands until `stop`.
    pub fn new(
        control: Arc<ControlClient>,
        prefetcher: Prefetcher,
        upstream: Arc<UpstreamClient>,
        checker: Checker,
        stop: CancellationToken,
    ) -> Arc<Self> {
        Arc::new(Self { control, prefetcher, upstream, checker, turns: Semaphore::new(MAX_PREFETCHES), stop })
    }

    /// Takes on what is offered until the stop; returns when every errand has had its last word.
    pub async fn run(self: Arc<Self>) {
        let under_way = TaskTracker::new();
        while let Some(id) = self.stop.run_until_cancelled(self.control.next_offer()).await {
            let errands = Arc::clone(&self);
            under_way.spawn(async move { errands.take_on(&id).await });
        }
        under_way.close();
        under_way.wait().await;
    }

    async fn take_on(&self, id: &str) {
        if self.turns.available_permits() == 0 {
            sleep(POLITE_PAUSE).await;
        }
        let errand = match self.control.claim_errand(id).await {
            Ok(Some(errand)) => errand,
            Ok(None) => return debug!(errand.id = id, "somebody else has the errand"),
            Err(error) => return warn!(errand.id = id, %error, "an errand could not be claimed"),
        };
        let stopped = || ErrandReport::Failed(ErrandFailure::Unavailable, "the node is stopping; try again".to_owned());
        let done = match &errand {
            Errand::VerifyCredential { upstream, credential } => {
                self.stop.run_until_cancelled(self.verify(upstream, credential)).await.unwrap_or_else(stopped)
            }
            Errand::Prefetch(prefetch) => {
                let work = self.prefetch(id, prefetch);
                match self.stop.run_until_cancelled(work).await.unwrap_or_else(|| Some(stopped())) {
                    Some(done) => done,
                    None => return nobody_waits(id),
                }
            }
            Errand::Check(check) => {
                let work = self.check(id, check);
                match self.stop.run_until_cancelled(work).await.unwrap_or_else(|| Some(stopped())) {
                    Some(done) => done,
                    None => return nobody_waits(id),
                }
            }
        };
        self.last_word(id, &done).await;
    }

    async fn verify(&self, upstream: &UpstreamHost, credential: &Arc<Credential>) -> ErrandReport {
        let Some(policy) = self.control.policy().upstream(upstream).cloned() else {
            return ErrandReport::Failed(ErrandFailure::NotFound, format!("there is no upstream {upstream}"));
        };
        let error = match self.upstream.verify_credential(&policy, Arc::clone(credential)).await {
            Ok(()) => return ErrandReport::CredentialGood,
            Err(error) => error,
        };
        let reason = match &error {
            error if error.is_refusal() => ErrandFailure::Refused,
            UpstreamError::RateLimited { .. } => ErrandFailure::Limit,
            _ => ErrandFailure::Unavailable,
        };
        ErrandReport::Failed(reason, error.to_string())
    }

    /// `None` if nobody waits for it any more.
    async fn prefetch(&self, id: &str, prefetch: &Prefetch) -> Option<ErrandReport> {
        let reached = Reached::default();
        let work = async {
            // Never closed.
            let _turn = self.turns.acquire().await;
            self.prefetcher.prefetch(prefetch, &reached).await
        };
        let progress = || ErrandReport::Progress(reached.now());
        let done = self.while_telling(id, work, progress).await?;
        let reached = reached.now();
        Some(match done {
            Ok(()) => {
                info!(at = %prefetch.repository, reference = %prefetch.reference, size_bytes = reached.total_bytes, fetched_bytes = reached.fetched_bytes, "image prefetched");
                ErrandReport::Done(reached)
            }
            Err(failed) => {
                warn!(at = %prefetch.repository, reference = %prefetch.reference, error = failed.message, "an image could not be prefetched");
                ErrandReport::Failed(failed.reason, failed.message)
            }
        })
    }

    /// `None` if nobody waits for it any more.
    async fn check(&self, id: &str, check: &Check) -> Option<ErrandReport> {
        let checked = Checked::default();
        let progress = || ErrandReport::Checking(checked.now());
        Some(match self.while_telling(id, self.checker.check(check, &checked), progress).await? {
            Ok(()) => ErrandReport::Checked(checked.now()),
            Err(error) => {
                warn!(group.id = %check.group, %error, "a group's content could not be checked");
                ErrandReport::Failed(ErrandFailure::Unavailable, error.to_string())
            }
        })
    }

    /// Does `work`, and tells how far it is now and then; `None` if nobody waits for it any more.
    async fn while_telling<T>(
        &self,
        id: &str,
        work: impl Future<Output = T>,
        progress: impl Fn() -> ErrandReport,
    ) -> Option<T> {
        let telling = async {
            let mut ticks = interval(REPORT_EVERY);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                ticks.tick().await;
                let told = progress();
                // Damage to what counts as checked is known before that is told.
                if let Err(error) = self.checker.corruption.report().await {
                    debug!(errand.id = id, %error, "damage cannot be reported now");
                }
                match self.control.report_errand(id, &told).await {
                    Ok(true) => {}
                    Ok(false) => return,
                    Err(error) => debug!(errand.id = id, %error, "progress could not be told"),
                }
            }
        };
        tokio::select! {
            done = work => Some(done),
            () = telling => None,
        }
    }

    async fn last_word(&self, id: &str, report: &ErrandReport) {
        for attempt in 1..=LAST_WORDS {
            match self.control.report_errand(id, report).await {
                Ok(_) => return,
                // A stop does not wait for a control plane that is away.
                Err(error) if error.retryable() && attempt < LAST_WORDS && !self.stop.is_cancelled() => {
                    sleep(REPORT_EVERY).await;
                }
                Err(error) => return warn!(errand.id = id, %error, "what came of an errand could not be told"),
            }
        }
    }
}

fn nobody_waits(id: &str) {
    info!(errand.id = id, "nobody waits for the errand any more; given up");
}
