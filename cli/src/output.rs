//! What commands print: data on stdout, as a table for people or as JSON for programs; talk on stderr.
//!
//! JSON is the RPC's own answer: proto field names, fields with default values included, 64-bit integers as numbers.

pub mod human;
mod json;
mod table;

use std::{
    fmt,
    io::{self, ErrorKind, Write},
};

use prost::Name;

use crate::failure::Failure;

pub use table::{Details, Table, plain};

/// How to print.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// Aligned columns for people.
    Table,
    /// The RPC's own answer; a list command prints the array of its items.
    Json,
}

impl Format {
    /// Prints one answer; `people` is what it looks like outside JSON.
    pub fn answer<M: Name>(self, answer: &M, people: impl FnOnce() -> Details) -> Result<(), Failure> {
        match self {
            Self::Json => print(&json::answer(answer)?),
            Self::Table => print(&people().to_string()),
        }
    }

    /// Prints an answer that leaves people nothing to read but that it is done; they are told so on stderr.
    pub fn done<M: Name>(self, answer: &M, people: impl fmt::Display) -> Result<(), Failure> {
        match self {
            Self::Json => print(&json::answer(answer)?),
            Self::Table => {
                eprintln!("{people}");
                Ok(())
            }
        }
    }

    /// Prints a list; `none` tells people (on stderr) that there is nothing in it.
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

/// Writes to stdout. A reader that has seen enough (`| head`) is no error.
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
