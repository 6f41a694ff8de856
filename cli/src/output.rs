//! Output of commands: data on stdout, as a table for people or as JSON for programs; messages on stderr.
//!
//! JSON is the RPC's answer, with proto field names, fields with default values, and 64-bit integers as numbers.

pub mod human;
mod json;
mod paged_list;
mod progress;
mod table;

use std::{
    fmt,
    io::{self, ErrorKind, Write},
};

use prost::Name;

use crate::failure::Failure;

pub use paged_list::PagedList;
pub use progress::Progress;
pub use table::{Details, Table, plain};

/// The flag for the output format, which may stand before and after the name of an admin command.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct OutputFlag {
    /// Format of the output
    #[arg(long, short, global = true, env = "ROADSTEAD_OUTPUT", value_enum, default_value = "table")]
    #[arg(value_name = "FORMAT", help_heading = "Connection and output")]
    pub output: Format,
}

/// Format of the output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// Aligned columns for people
    Table,
    /// Aligned columns for people, with more of them in lists
    Wide,
    /// The RPC's answer; a list command prints the array of its items
    Json,
}

impl Format {
    /// True if the output is for people.
    pub fn is_for_people(self) -> bool {
        self != Self::Json
    }

    /// Prints one answer, for people as `people` returns it.
    pub fn answer<M: Name>(self, answer: &M, people: impl FnOnce() -> Details) -> Result<(), Failure> {
        match self {
            Self::Json => print(&json::answer(answer)?),
            Self::Table | Self::Wide => print(&people().to_string()),
        }
    }

    /// Prints the answer of a call that has no result for people, who get the message `people` on stderr.
    pub fn done<M: Name>(self, answer: &M, people: impl fmt::Display) -> Result<(), Failure> {
        match self {
            Self::Json => print(&json::answer(answer)?),
            Self::Table | Self::Wide => {
                eprintln!("{people}");
                Ok(())
            }
        }
    }

    /// Prints a list; `none` tells people on stderr that it is empty.
    pub fn list<M: Name>(self, items: &[M], none: &str, people: impl FnOnce(&[M]) -> Table) -> Result<(), Failure> {
        match self {
            Self::Json => print(&json::items(items)?),
            Self::Table | Self::Wide if items.is_empty() => {
                eprintln!("{none}");
                Ok(())
            }
            Self::Table => print(&people(items).to_string()),
            Self::Wide => print(&people(items).wide().to_string()),
        }
    }
}

/// Writes to stdout, with a line's end. A reader that closes the pipe early (`| head`) does not cause an error.
pub fn print(text: &str) -> Result<(), Failure> {
    let end = if text.ends_with('\n') { "" } else { "\n" };
    write_out(&format!("{text}{end}"))
}

fn write_out(text: &str) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(Failure::failed(format_args!("cannot write to stdout: {error}")))
        }
        _ => Ok(()),
    }
}
