//! A list that is printed page by page, as if it were one.

use prost::Name;

use super::{Format, Table, json, write_out};
use crate::failure::Failure;

/// The list so far.
pub struct PagedList {
    format: Format,
    widths: Vec<usize>,
    is_first: bool,
}

impl PagedList {
    /// Returns a list of which nothing is printed yet.
    pub const fn new(format: Format) -> Self {
        Self { format, widths: Vec::new(), is_first: true }
    }

    /// Prints the next items.
    pub fn page<M: Name>(&mut self, items: &[M], people: impl FnOnce(&[M]) -> Table) -> Result<(), Failure> {
        if items.is_empty() {
            return Ok(());
        }
        let is_first = std::mem::take(&mut self.is_first);
        match self.format {
            Format::Json => {
                let array = json::items(items)?;
                // Without the brackets: the items, indented.
                let items = array.strip_prefix('[').and_then(|rest| rest.strip_suffix("\n]")).unwrap_or(&array);
                write_out(&format!("{}{items}", if is_first { '[' } else { ',' }))
            }
            Format::Table => write_out(&people(items).page(&mut self.widths, is_first)),
            Format::Wide => write_out(&people(items).wide().page(&mut self.widths, is_first)),
        }
    }

    /// Ends the list; `empty` tells people on stderr that nothing was in it.
    pub fn end(self, empty: &str) -> Result<(), Failure> {
        match (self.format, self.is_first) {
            (Format::Json, true) => write_out("[]\n"),
            (Format::Json, false) => write_out("\n]\n"),
            (Format::Table | Format::Wide, true) => {
                eprintln!("{empty}");
                Ok(())
            }
            (Format::Table | Format::Wide, false) => Ok(()),
        }
    }
}
