//! `roadstead database`: operations on the control plane's whole database.

use std::time::{SystemTime, UNIX_EPOCH};

use clap::{Args, Subcommand};
use roadstead_control::{StoreSettings, copy_database};
use secrecy::{ExposeSecret, SecretString};

use crate::{
    failure::Failure,
    output::{self, human},
};

/// Copy the control plane's database
#[derive(Debug, Args)]
pub struct DatabaseCommand {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    Copy(CopyFlags),
}

/// Copy the control plane's database to an empty one, of the same kind or the other
///
/// Stop all servers that use the source first: what they change later is not copied. The copy is checked row by row and is
/// complete, or the target stays empty. Then start the servers with the new --database-url and the same secret key: groups, people, tokens
/// and registry tokens go on working.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  roadstead database copy --from sqlite:///var/lib/roadstead/control.db \\
      --to postgres://roadstead@db/roadstead
  roadstead database copy --from postgres://roadstead@db/roadstead \\
      --to sqlite://control.db

A password belongs in ~/.pgpass or PGPASSWORD rather than in the URL: others on the machine can read arguments.")]
struct CopyFlags {
    /// Database to read: sqlite://PATH or postgres://USER@HOST/DATABASE
    #[arg(long, value_name = "URL")]
    from: SecretString,
    /// Database to write; it must be empty
    #[arg(long, value_name = "URL")]
    to: SecretString,
}

impl DatabaseCommand {
    /// Runs the command.
    pub async fn run(self) -> Result<(), Failure> {
        match self.action {
            Action::Copy(flags) => flags.run().await,
        }
    }
}

impl CopyFlags {
    async fn run(self) -> Result<(), Failure> {
        let settings = |url: &SecretString| StoreSettings::new(url.expose_secret());
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
        let now_ms = i64::try_from(now).unwrap_or(i64::MAX);
        let rows = |rows: u64| human::count(i64::try_from(rows).unwrap_or(i64::MAX), "row");
        let tell = |table: &roadstead_control::CopiedTable| eprintln!("{}: {}", table.name, rows(table.rows));
        let copied = copy_database(&settings(&self.from), &settings(&self.to), now_ms, tell).await;
        let tables = copied.map_err(|error| Failure::of(error.is_usage(), error))?;
        let total = tables.iter().map(|table| table.rows).sum();
        output::print(&format!("copied {} in {} tables\n", rows(total), tables.len()))
    }
}
