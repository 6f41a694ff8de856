//! `roadstead audit`: changes with their authors, and refused sign-ins.

use std::time::SystemTime;

use clap::{Args, Subcommand};
use roadstead_proto::v1::{AuditEvent, AuditOutcome, ListEventsRequest};

use crate::{
    connect::{AdminFlags, CallError, Session},
    failure::Failure,
    output::{Table, human},
    value_parsers::time,
};

/// Read the audit: changes with their authors, and refused sign-ins
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  roadstead audit list --since 24h
  roadstead audit list --group acme --since 2026-11-01 \\
      --until 2026-12-01 --limit 1000 -o json")]
pub struct AuditCommand {
    #[command(subcommand)]
    action: Action,
    #[command(flatten)]
    admin: AdminFlags,
}

#[derive(Debug, Subcommand)]
enum Action {
    List(List),
}

/// List events, newest first
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  roadstead audit list --since 24h
  roadstead audit list --group acme --limit 20")]
struct List {
    /// Only events of this group and its subgroups [default: all events; for administrators]
    #[arg(long, value_name = "PATH")]
    group: Option<String>,
    /// Only events since this time: a time span before now (24h, 7d), or a time in UTC (2026-11-22T21:30:00Z, 2026-11-22)
    #[arg(long, value_name = "TIME", value_parser = time)]
    since: Option<SystemTime>,
    /// Only events before this time
    #[arg(long, value_name = "TIME", value_parser = time)]
    until: Option<SystemTime>,
    /// Maximum number of events
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    limit: u32,
}

impl AuditCommand {
    /// Calls the control plane and prints its answer.
    pub async fn run(self) -> Result<(), Failure> {
        let Action::List(list) = self.action;
        self.admin.call(async |session| list.run(session).await).await
    }
}

impl List {
    async fn run(self, session: &Session) -> Result<(), CallError> {
        let request = ListEventsRequest {
            group_path: self.group.unwrap_or_default(),
            since: self.since.map(Into::into),
            until: self.until.map(Into::into),
            ..Default::default()
        };
        let limit = usize::try_from(self.limit).unwrap_or(usize::MAX);
        let (events, is_cut) = session.first_items(request, limit).await?;
        session.output.list(&events, "No events.", table)?;
        if is_cut && session.output.is_for_people() {
            eprintln!("There are older events; --limit shows more.");
        }
        Ok(())
    }
}

fn outcome(event: &AuditEvent) -> String {
    let outcome = match event.outcome() {
        AuditOutcome::Done => "done",
        AuditOutcome::Refused => "refused",
        AuditOutcome::Failed => "failed",
        AuditOutcome::Unspecified => "-",
    };
    if event.count > 1 { format!("{outcome} ×{}", event.count) } else { outcome.to_owned() }
}

fn table(events: &[AuditEvent]) -> Table {
    Table::new(["TIME", "ACTOR", "+ADDRESS", "ACTION", "SUBJECT", "+GROUP", "OUTCOME", "+DETAIL"], events, |event| {
        [
            human::absolute(event.at.as_ref(), "-"),
            event.actor.clone(),
            human::or_dash(&event.client_address),
            event.action.clone(),
            human::or_dash(&event.subject),
            human::or_dash(&event.group_path),
            outcome(event),
            event.detail.clone(),
        ]
    })
}

#[cfg(test)]
mod tests;
