//! Prefetch schedules: kept, and run when they are due, a few at once, by whichever replica comes first.

use std::time::Duration;

use futures_util::{StreamExt as _, stream::FuturesUnordered};
use roadstead_proto::{GroupPath, ImageName, Tag};
use tokio::time::{MissedTickBehavior, interval, sleep};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::{
    rules::{
        access::{Action, Actor},
        jobs::schedule::{MAX_EVERY_MS, MIN_EVERY_MS, Schedule},
        limits::Limit,
        request::RequestId,
    },
    store::{audit, jobs::schedule},
    usecases::{
        Page, UseCaseError, UseCaseResult, access, group_at, group_with,
        groups::image::repository_of,
        jobs::{
            JobRequests,
            job::{check_platforms, may_prefetch},
        },
        new_id, request,
    },
};

/// Interval of the search for due schedules.
const LOOK: Duration = Duration::from_secs(5);
/// Maximum number of concurrent runs: enough that a long one does not delay other groups, few enough to leave pulls their
/// share.
const AT_ONCE: usize = 4;
/// Most characters of an error that are kept.
const MAX_ERROR_CHARS: usize = 500;

/// A schedule to create.
pub struct NewSchedule {
    /// The image to fetch.
    pub image: ImageName,
    /// Its tag.
    pub tag: Tag,
    /// Only these platforms; empty means all.
    pub platforms: Vec<String>,
    /// The interval, in milliseconds.
    pub every_ms: i64,
}

impl JobRequests {
    /// Adds a schedule; it runs at once for the first time.
    pub async fn create_schedule(
        &self,
        actor: &Actor,
        path: &GroupPath,
        new: NewSchedule,
        request: Option<&RequestId>,
    ) -> UseCaseResult<Schedule> {
        let NewSchedule { image, tag, platforms, every_ms } = new;
        check_platforms(&platforms)?;
        if !(MIN_EVERY_MS..=MAX_EVERY_MS).contains(&every_ms) {
            return Err(UseCaseError::invalid("every", "must be between five minutes and 30 days"));
        }
        let now_ms = self.clock.now_ms();
        let mut tx = self.store.write().await?;
        if let Some(earlier) = request::created_before(&mut tx, request, now_ms).await? {
            return schedule::by_id(&mut tx, &earlier.object).await?.ok_or_else(|| no_schedule(&earlier.object));
        }
        let group = group_at(&mut tx, path).await?;
        let repository = repository_of(&group, &image)?;
        may_prefetch(&group, &repository)?;
        let schedule = Schedule {
            id: new_id(),
            group: group.path,
            repository,
            tag,
            platforms,
            every_ms,
            due_at_ms: now_ms,
            last_run_at_ms: None,
            last_error: String::new(),
        };
        schedule::insert(&mut tx, &schedule, now_ms).await?;
        let have = schedule::count(&mut tx, &schedule.repository.group.to_string()).await?;
        self.limits.check(Limit::Schedules, format!("group {path}"), 0, have)?;
        request::record(&mut tx, request, &schedule.id, "", now_ms).await?;
        audit::record(&mut tx, &record(actor, "prefetch_schedule.create", &schedule), now_ms).await?;
        tx.commit().await?;
        self.schedules_changed.notify_one();
        Ok(schedule)
    }

    /// A group's schedules after the id `after`.
    pub async fn schedules(&self, path: &GroupPath, after: &str, limit: i64) -> UseCaseResult<Page<Schedule>> {
        let mut tx = self.store.read().await?;
        let group = group_at(&mut tx, path).await?;
        Ok(Page::cut(schedule::page(&mut tx, &group.id, after, limit + 1).await?, limit))
    }

    /// Reads the schedule with this id, if the caller may do this to its group. One of another group looks like one that does not
    /// exist.
    pub async fn schedule(&self, actor: &Actor, action: Action, id: &str) -> UseCaseResult<Schedule> {
        let found = schedule::by_id(&mut *self.store.read().await?, id).await?.ok_or_else(|| no_schedule(id))?;
        match access::authorize(&self.store, actor, action, &found.group).await {
            Err(UseCaseError::Denied(_)) => Err(no_schedule(id)),
            other => other.map(|()| found),
        }
    }

    /// Deletes a schedule.
    pub async fn delete_schedule(&self, actor: &Actor, id: &str) -> UseCaseResult<()> {
        self.schedule(actor, Action::ChangeGroup, id).await?;
        let mut tx = self.store.write().await?;
        let schedule = schedule::by_id(&mut tx, id).await?.ok_or_else(|| no_schedule(id))?;
        schedule::delete(&mut tx, id).await?;
        audit::record(&mut tx, &record(actor, "prefetch_schedule.delete", &schedule), self.clock.now_ms()).await?;
        Ok(tx.commit().await?)
    }

    /// Runs schedules as they are due, until `stop`; a run under way is given up then.
    pub(crate) async fn run_schedules(&self, stop: &CancellationToken) {
        let mut looks = interval(LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = looks.tick() => {}
                () = self.schedules_changed.notified() => {}
            }
            tokio::select! {
                () = stop.cancelled() => return,
                done = self.run_due_schedules() => if let Err(error) = done {
                    warn!(%error, "cannot run schedules; trying again");
                }
            }
        }
    }

    /// Runs what is due and becomes due meanwhile, until nothing runs any more.
    async fn run_due_schedules(&self) -> UseCaseResult<()> {
        let mut running = FuturesUnordered::new();
        loop {
            while running.len() < AT_ONCE {
                match self.begin_due_schedule().await {
                    Ok(Some(schedule)) => running.push(self.run_and_note(schedule)),
                    Ok(None) => break,
                    Err(error) if running.is_empty() => return Err(error),
                    // What runs goes on.
                    Err(error) => {
                        warn!(%error, "cannot look for schedules that are due; trying again");
                        break;
                    }
                }
            }
            tokio::select! {
                ended = running.next() => if ended.is_none() {
                    return Ok(());
                },
                // A long run holds up no other that becomes due.
                () = sleep(LOOK) => {}
            }
        }
    }

    /// A schedule that is due, and is now this replica's to run.
    async fn begin_due_schedule(&self) -> UseCaseResult<Option<Schedule>> {
        loop {
            let now_ms = self.clock.now_ms();
            let Some(schedule) = schedule::due(&mut *self.store.read().await?, now_ms).await? else { return Ok(None) };
            let mut tx = self.store.write().await?;
            let ours = schedule::begin(&mut tx, &schedule, now_ms).await?;
            tx.commit().await?;
            if ours {
                return Ok(Some(schedule));
            }
        }
    }

    async fn run_and_note(&self, schedule: Schedule) {
        let image = format!("{}:{}", schedule.repository, schedule.tag);
        let error = match self.run_schedule(&schedule).await {
            Ok(()) => {
                info!(group.path = %schedule.group, image, "fetched an image by schedule");
                String::new()
            }
            Err(error) => {
                info!(group.path = %schedule.group, image, %error, "could not fetch an image by schedule");
                error.to_string().chars().take(MAX_ERROR_CHARS).collect()
            }
        };
        if let Err(error) = self.note_run(&schedule.id, &error).await {
            warn!(group.path = %schedule.group, image, %error, "how a scheduled fetch ended could not be recorded");
        }
    }

    async fn note_run(&self, id: &str, error: &str) -> UseCaseResult<()> {
        let mut tx = self.store.write().await?;
        schedule::end(&mut tx, id, error, self.clock.now_ms()).await?;
        Ok(tx.commit().await?)
    }

    async fn run_schedule(&self, schedule: &Schedule) -> UseCaseResult<()> {
        let group = group_with(&mut *self.store.read().await?, schedule.repository.group.as_str()).await?;
        let (repository, tag) = (schedule.repository.clone(), schedule.tag.to_string());
        let waiting = self.start_prefetch(&group, repository, tag, schedule.platforms.clone()).await?;
        Ok(waiting.end().await?)
    }
}

/// The refusal for a missing schedule.
fn no_schedule(id: &str) -> UseCaseError {
    UseCaseError::NotFound { what: "prefetch schedule", name: id.to_owned(), hint: "it may be deleted already" }
}

fn record(actor: &Actor, action: &'static str, schedule: &Schedule) -> crate::rules::audit::Entry {
    let seconds = schedule.every_ms / 1000;
    actor
        .did(action, format!("{}:{}", schedule.repository, schedule.tag))
        .of_group(&schedule.group)
        .detail(format!("schedule {}, every {seconds} seconds", schedule.id))
}
