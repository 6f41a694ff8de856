//! Output of commands: data on stdout, as a table for people or as JSON for programs; messages on stderr.
//!
//! JSON is the RPC's answer, with proto field names, fields with default values, and 64-bit integers as numbers.

pub mod human;
mod json;
mod progress;
mod table;

use std::{
    fmt,
    io::{self, ErrorKind, Write},
};

use prost::Name;

use crate::failure::Failure;

pub use progress::Progress;
pub use table::{Details, Table, plain};

/// Format of the output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// Aligned columns for people
    Table,
    /// The RPC's answer; a list command prints the array of its items
    Json,
}

impl Format {
    /// Prints one answer, for people as `people` returns it.
    pub fn answer<M: Name>(self, answer: &M, people: impl FnOnce() -> Details) -> Result<(), Failure> {
        match self {
            Self::Json => print(&json::answer(answer)?),
            Self::Table => print(&people().to_string()),
        }
    }

    /// Prints the answer of a call that has no result for people, who get the message `people` on stderr.
    pub fn done<M: Name>(self, answer: &M, people: impl fmt::Display) -> Result<(), Failure> {
        match self {
            Self::Json => print(&json::answer(answer)?),
            Self::Table => {
                eprintln!("{people}");
                Ok(())
            }
        }
    }

    /// Prints a list; `none` tells people on stderr that it is empty.
    pub fn list<M: Name>(self, items: &[M], none: &str, people: impl FnOnce(&[M]) -> Table) -> Result<(), Failure> {
        match self {
            Self::Json => print(&json::items(items)?),
            Self::Table if items.is_empty() => {
                eprintln!("{none}");
                Ok(())
            }
            Self::Table => print(&people(items).to_string()),
        }
    }
}

/// Writes to stdout. A reader that closes the pipe early (`| head`) does not cause an error.
pub fn print(text: &str) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    let end = if text.ends_with('\n') { "" } else { "\n" };
    match write!(stdout, "{text}{end}").and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(Failure::failed(format_args!("cannot write to stdout: {error}")))
        }
        _ => Ok(()),
    }
}
