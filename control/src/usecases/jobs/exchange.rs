//! Jobs between replicas: asked of one, done by a node that watches or calls another.
//!
//! A shared database alone records the holder of a job and its reports: the job is stored, sealed, before it is offered,
//! whichever replica a node claims it at or reports to. The replica where somebody waits looks for reports a few times a
//! second, and keeps the job for as long as somebody does. A file of SQLite's belongs to one process, which needs to write
//! nothing down.

use secrecy::ExposeSecret as _;

use crate::{
    jobs::{Job, JobHandle, Report, stored},
    store::{StoreError, jobs::job},
    usecases::{UseCaseError, UseCaseResult, jobs::JobRequests},
};

/// Time for which a job outlives the replica at which somebody waits for it, in milliseconds. More than clocks differ.
const KEEP_MS: i64 = 150 * 1000;

impl JobRequests {
    /// Offers a job to all nodes.
    pub(crate) async fn post_job(&self, job: Job) -> UseCaseResult<JobHandle> {
        if !self.store.is_shared() {
            return Ok(self.jobs.post(job)?);
        }
        let waiting = self.jobs.expect()?;
        let written = stored::write(&job).ok_or_else(|| unreadable(waiting.id()))?;
        let sealed = self.sealer.seal(&purpose(waiting.id()), written.expose_secret().as_bytes())?;
        let mut tx = self.store.write().await?;
        job::insert(&mut tx, waiting.id(), &sealed, self.clock.now_ms() + KEEP_MS).await?;
        tx.commit().await?;
        self.jobs.offer(waiting.id());
        Ok(waiting)
    }

    /// Gives a job to the first node that asks; `None` if another has it or nobody waits for it any more.
    pub async fn claim_job(&self, id: &str) -> UseCaseResult<Option<Job>> {
        if !self.store.is_shared() {
            return Ok(self.jobs.claim(id));
        }
        let mut tx = self.store.write().await?;
        let claimed = job::claim(&mut tx, id).await?;
        tx.commit().await?;
        self.jobs.claimed(id);
        let Some(sealed) = claimed else { return Ok(None) };
        let written = self.sealer.open_sealed(&purpose(id), &sealed)?;
        stored::read(written.expose_secret()).map(Some).ok_or_else(|| unreadable(id))
    }

    /// Takes a report. False if nobody waits for it any more, or it has ended.
    pub async fn report_job(&self, id: &str, report: Report) -> UseCaseResult<bool> {
        if !self.store.is_shared() {
            return Ok(self.jobs.report(id, report));
        }
        let text = serde_json::to_string(&report).map_err(|_| unreadable(id))?;
        let mut tx = self.store.write().await?;
        let told = job::report(&mut tx, id, &text, report.is_last()).await?;
        tx.commit().await?;
        if let Some(told) = told {
            // Whoever waits here need not wait for the next look.
            self.jobs.told(id, told, report);
        }
        Ok(told.is_some())
    }

    /// Looks what other replicas offer and were told, and says which jobs somebody here still waits for.
    pub(crate) async fn exchange_jobs(&self) -> UseCaseResult<()> {
        if !self.store.is_shared() {
            return Ok(());
        }
        let now_ms = self.clock.now_ms();
        let all = job::all(&mut *self.store.read().await?).await?;
        self.jobs.offered(all.iter().filter(|job| job.is_offered).map(|job| job.id.as_str()));
        let (mut kept, mut gone) = (Vec::new(), false);
        for job in &all {
            if self.jobs.expects(&job.id) {
                if job.told > 0 {
                    let report = serde_json::from_str(&job.report).map_err(|_| unreadable(&job.id))?;
                    self.jobs.told(&job.id, job.told, report);
                } else if !job.is_offered {
                    self.jobs.claimed(&job.id);
                }
                if job.kept_until_ms < now_ms + KEEP_MS / 2 {
                    kept.push(&job.id);
                }
            } else {
                gone |= job.kept_until_ms < now_ms;
            }
        }
        let given_up = self.jobs.given_up();
        if kept.is_empty() && given_up.is_empty() && !gone {
            return Ok(());
        }
        let mut tx = self.store.write().await?;
        for id in kept {
            job::keep(&mut tx, id, now_ms + KEEP_MS).await?;
        }
        for id in &given_up {
            job::delete(&mut tx, id).await?;
        }
        job::prune(&mut tx, now_ms).await?;
        Ok(tx.commit().await?)
    }
}

fn purpose(id: &str) -> String {
    format!("job {id}")
}

fn unreadable(id: &str) -> UseCaseError {
    UseCaseError::Store(StoreError::Corrupt { what: "job", value: id.to_owned() })
}
