//! `roadstead cache schedule`: schedules of prefetches.

use std::time::SystemTime;

use clap::{Args, Subcommand};
use roadstead_proto::v1::{
    DeletePrefetchScheduleRequest, GetPrefetchScheduleRequest, ListPrefetchSchedulesRequest, PrefetchSchedule,
    cache_service_client::CacheServiceClient,
};

use crate::{
    connect::{CallError, Session},
    output::{Details, Table, human},
};

/// Show and delete schedules of prefetches; `cache prefetch --every` creates them
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  roadstead cache schedule list acme
  roadstead cache schedule delete 01920c3e-0000-7000-8000-000000000000")]
pub struct ScheduleCommand {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List a group's schedules, with how their last runs ended
    #[command(after_help = "Example:\n  roadstead cache schedule list acme")]
    List {
        /// Path of the group
        path: String,
    },
    /// Show a schedule
    #[command(after_help = "Example:\n  roadstead cache schedule get 01920c3e-0000-7000-8000-000000000000")]
    Get {
        /// Id of the schedule (see `cache schedule list`)
        id: String,
    },
    /// Delete a schedule; cached content stays
    #[command(after_help = "Example:\n  roadstead cache schedule delete 01920c3e-0000-7000-8000-000000000000")]
    Delete {
        /// Id of the schedule (see `cache schedule list`)
        id: String,
    },
}

impl ScheduleCommand {
    /// Calls the control plane and prints its answer.
    pub async fn run(self, session: &Session) -> Result<(), CallError> {
        match self.action {
            Action::List { path } => {
                let request = ListPrefetchSchedulesRequest { group_path: path, ..Default::default() };
                session.print_list(request, "No schedules.", table).await?;
            }
            Action::Get { id } => {
                let mut cache = CacheServiceClient::new(session.channel());
                let answer = cache.get_prefetch_schedule(GetPrefetchScheduleRequest { id }).await?.into_inner();
                session.output.answer(&answer, || details(answer.schedule.as_ref()))?;
            }
            Action::Delete { id } => {
                let request = DeletePrefetchScheduleRequest { id: id.clone() };
                let mut cache = CacheServiceClient::new(session.channel());
                let answer = cache.delete_prefetch_schedule(request).await?.into_inner();
                session.output.done(&answer, format_args!("Deleted schedule {id}."))?;
            }
        }
        Ok(())
    }
}

fn platforms(schedule: &PrefetchSchedule) -> String {
    if schedule.platforms.is_empty() { "all".to_owned() } else { schedule.platforms.join(",") }
}

fn last_result(schedule: &PrefetchSchedule) -> String {
    match (&schedule.last_run_at, schedule.last_error.as_str()) {
        (None, _) => "-".to_owned(),
        (Some(_), "") => "done".to_owned(),
        (Some(_), error) => error.to_owned(),
    }
}

/// Describes a schedule.
pub fn details(schedule: Option<&PrefetchSchedule>) -> Details {
    let Some(schedule) = schedule else { return Details::default() };
    Details::default()
        .with("ID", &schedule.id)
        .with("Group", &schedule.group_path)
        .with("Image", &schedule.image)
        .with("Platforms", platforms(schedule))
        .with("Every", human::duration(schedule.every.as_ref(), "-"))
}

fn table(schedules: &[PrefetchSchedule], now: SystemTime) -> Table {
    Table::new(["ID", "IMAGE", "+PLATFORMS", "EVERY", "+LAST RUN", "RESULT"], schedules, |schedule| {
        [
            schedule.id.clone(),
            schedule.image.clone(),
            platforms(schedule),
            human::duration(schedule.every.as_ref(), "-"),
            human::relative(schedule.last_run_at.as_ref(), now, "never"),
            last_result(schedule),
        ]
    })
}

#[cfg(test)]
mod tests;
